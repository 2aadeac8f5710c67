"""A published folder is whole, proved, and brings a lineage that speaks of just what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.digest import digest_bytes, digest_file, digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.publish.card import CardFacts
from trackyard.publish.checksums import CHECKSUMS, require_unchanged
from trackyard.publish.push import plan_push
from trackyard.recipes.publishing.exporting import card_of, export
from trackyard.recipes.publishing.publication import Publication
from trackyard.recipes.publishing.record import Recorded
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.document import LINEAGE, SCHEMA, Lineage, read_lineage
from trackyard.record.lineage.origins import NO_PLAN
from trackyard.record.rundir import open_or_create
from trackyard.record.spool import Spool
from trackyard.schema import write_document

WEIGHTS, BASE = b"weights" * 100, b"base weights"
BYTES = {"plan.json": "b" * 64, "manifest.json": "c" * 64}
SPEC = RunSpec(
    track="molmo2", stage="stage1", parameters={}, plan="f" * 64, model={"id": "owner/base"},
    snapshots={"rows": "a" * 64}, parent=None, code=CodeIdentity(commit="c" * 40, dirty_digest=None), image=None,
    seed=0,
)  # fmt: skip
FACTS = CardFacts(
    title="A model", what="Made for a test.", task="text-generation", library="transformers", tags=(), use="no way",
    metrics=(), data=(), bases=(), training=(), limits=(), cost=(), lineage=(), verify="trackyard lineage verify x",
)  # fmt: skip


def write(folder: Path, spec: RunSpec = SPEC) -> None:
    """lineage.json of an export, as a stage writes it."""
    lineage = Lineage.model_validate(
        {
            "run_id": spec.run_id,
            "spec": spec.body,
            "plan": None if spec.plan == NO_PLAN else {"fingerprint": spec.plan, "path": "../plan", "files": BYTES},
            "snapshots": {
                "rows": {
                    "kind": "rows", "fingerprint": "a" * 64, "path": "../data/rows", "files": BYTES,
                    "licence": "CC0-1.0", "source": {"repo": "owner/rows", "revision": "d" * 40},
                    "restore": "dvc checkout",
                }
            },
            "models": {
                "start": {
                    "id": "owner/base", "revision": "e" * 40, "licence": "Apache-2.0", "named": "files",
                    "path": "../base", "files": {"model.safetensors": digest_bytes(BASE)}, "making": None,
                    "restore": "dvc checkout",
                }
            },
            "parent": None,
            "files": {path.name: digest_file(path) for path in folder.iterdir() if path.name != LINEAGE},
        }
    )  # fmt: skip
    body = lineage.model_dump(mode="json")
    write_document(folder / LINEAGE, SCHEMA, {"digest": digest_json(body), "lineage": body})


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder that a stage put out, in a repository."""
    folder = tmp_path / "root" / "artifacts" / "export"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_text("{}\n")
    write(folder)
    return folder


def publication(made: Path, **changes: object) -> Publication:
    recorded = Recorded.of(made, made.parents[1], again="dvc repro stage1")
    files = {name: made / name for name in ("model.safetensors", "config.json")}
    found = Publication(name="molmo2/stage1", recorded=recorded, facts=FACTS, files=files, texts={"use.py": "1\n"})
    return replace(found, **changes)  # type: ignore[arg-type]


def test_the_folder_is_whole_and_can_be_pushed(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(publication(made), out) == 7
    names = {path.name for path in out.iterdir()}
    assert names == {
        "model.safetensors", "config.json", "use.py", "README.md", "LICENSES.md", CHECKSUMS, LINEAGE
    }  # fmt: skip
    assert (out / "model.safetensors").read_bytes() == WEIGHTS
    assert (out / "README.md").read_text() == card_of(publication(made))
    lineage, before = read_lineage(out), read_lineage(made)
    assert lineage.files == {name: digest_file(out / name) for name in names - {LINEAGE}}
    assert lineage.model_copy(update={"files": before.files}) == before
    licences = (out / "LICENSES.md").read_text()
    assert "CC0-1.0" in licences
    assert "Apache-2.0" in licences
    plan = plan_push(out, "a/b", endpoint="http://x", machine=(str(tmp_path / "root"),))
    require_unchanged(out, {file.name: (file.bytes, file.blake3, file.sha256) for file in plan.files})


def test_bytes_that_the_lineage_does_not_know_are_not_published(made: Path, tmp_path: Path) -> None:
    (made / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"X")
    with pytest.raises(DataError, match=r"model\.safetensors has blake3"):
        export(publication(made), tmp_path / "out")
    (made / "model.safetensors").write_bytes(WEIGHTS)
    (made / "added.json").write_text("{}")
    more = {"added.json": made / "added.json"}
    with pytest.raises(DataError, match="says nothing of it"):
        export(publication(made, files=more), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_files_from_elsewhere_are_those_of_a_base_model(made: Path, tmp_path: Path) -> None:
    base = tmp_path / "root" / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(BASE)
    files = {f"base/{path.name}": path for path in base.iterdir()}
    export(publication(made, files=files), tmp_path / "out")
    assert (tmp_path / "out" / "base" / "model.safetensors").read_bytes() == BASE
    (base / "model.safetensors").write_bytes(BASE + b"!")
    with pytest.raises(DataError, match="says nothing of it"):
        export(publication(made, files=files), tmp_path / "again")
    (base / "model.safetensors").write_bytes(BASE)
    (base / "tokenizer.json").write_text("{}")
    files["base/tokenizer.json"] = base / "tokenizer.json"
    with pytest.raises(DataError, match=r"tokenizer\.json has blake3 .* says nothing of it"):
        export(publication(made, files=files), tmp_path / "again")


def test_nothing_is_written_over(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists") as caught:
        export(publication(made), tmp_path / "out")
    assert "rm " not in caught.value.fix  # what is there may be dear to somebody


def test_an_export_without_lineage_is_not_published(made: Path) -> None:
    (made / LINEAGE).unlink()
    with pytest.raises(DataError, match=r"holds no lineage\.json") as caught:
        publication(made)
    assert caught.value.fix == "dvc repro stage1"


def test_results_of_another_run_are_not_those_of_the_export(made: Path) -> None:
    recorded = Recorded.of(made, made.parents[1], again="-")
    recorded.require_run(SPEC.run_id, again="-")
    with pytest.raises(DataError, match=f"is of run {SPEC.run_id}, the results are of run ba0987654321"):
        recorded.require_run("ba0987654321", again="-")


def test_what_the_record_says(made: Path) -> None:
    recorded = Recorded.of(made, made.parents[1], again="again")
    (data,) = recorded.trained_on({"rows": 0.25})
    assert (data.name, data.licence, data.hub, data.share) == ("rows", "CC0-1.0", "owner/rows", 0.25)
    assert "owner/rows" in data.source
    (base,) = recorded.bases()
    assert (base.role, base.id, base.revision, base.licence) == ("start", "owner/base", "e" * 40, "Apache-2.0")
    assert dict(recorded.links())["run"] == f"`{SPEC.run_id}`"


def test_the_cost_is_that_of_the_run(made: Path) -> None:
    root = made.parents[1]
    with pytest.raises(DataError, match="is not on this machine"):
        Recorded.of(made, root, again="again").cost()
    directory = open_or_create(root / "runs", SPEC)
    with Spool(directory.spool, directory.new_attempt()) as spool:
        spool.machine(1, "CPU", "node")
        spool.metrics({"train/loss": 2.0}, 1)
        spool.status("finished")
    assert dict(Recorded.of(made, root, again="again").cost())["attempts"] == "1"
    untrained = replace(SPEC, plan=NO_PLAN)
    write(made, untrained)
    assert dict(Recorded.of(made, root, again="again").cost()) == {
        "training": "none: no run trained these weights further"
    }


def test_a_secret_reaches_no_text(made: Path, tmp_path: Path) -> None:
    """A page says that a word was taken out; a file that is loaded or run is refused."""
    secret = "hf_" + "AbCd" * 6
    export(publication(made, facts=replace(FACTS, what=f"token {secret}")), tmp_path / "out")
    assert "token [redacted]" in (tmp_path / "out" / "README.md").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir() if secret.encode() in path.read_bytes()] == []
    with pytest.raises(DataError, match=r"x\.py would hold a secret") as caught:
        export(publication(made, texts={"x.py": f"token = '{secret}'"}), tmp_path / "again")
    assert secret not in str(caught.value)
    assert not (tmp_path / "again").exists()
