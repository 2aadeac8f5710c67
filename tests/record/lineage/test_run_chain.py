"""A fresh chain is proved end to end; whatever is changed afterwards, the link that is wrong is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.record.lineage.small_world import WEIGHTS, World, git, make_world, put_out
from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.record.image import IMAGE_FILE_VARIABLE
from trackyard.record.image_lock import IMAGE_LOCK
from trackyard.record.lineage.document import LINEAGE, write_lineage
from trackyard.record.lineage.origins import Parent
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)
    return make_world(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """For tests that undo what they do."""
    return make_world(tmp_path_factory.mktemp("shared"))


NAMES = ["run", "plan", "snapshot charts", "snapshot text", "snapshot web", "code", "image"]


def test_an_export_is_proved_end_to_end(world: World) -> None:
    chain = run_chain(world.export, world.root)
    above = ["files", "run", "plan", *NAMES[2:5], "model base", "model made", "code", "image"]
    assert sorted(link.name for link in chain.walk()) == sorted(["files", *NAMES, *(f"parent: {n}" for n in above)])
    facts = {link.name: link.facts for link in chain.walk()}
    assert facts["snapshot charts"]["licence"] == "CC-BY-4.0"
    assert facts["snapshot charts"]["source"] == "hub=x revision=1"
    assert facts["snapshot web"]["licence"] == "not stated"
    assert facts["parent: model base"]["revision"] == "1" * 40
    assert facts["run"]["parent"] == facts["parent: run"]["run"]
    proof = prove(chain)
    assert len(proof.proved) == len(facts)
    assert proof.trusted == []
    # Both runs read the same data and image, of which each file is read once: 2 + 4 + 2 and 1.
    # Exports 2 + 2 files, plans 2 + 1, the model of the hub 2.
    assert (proof.hashed, proof.bytes) == (18, sum(map(_size, _files(world))))


def _files(world: World) -> list[Path]:
    folders = [world.export, world.parent, *(world.root / name for name in ("data", "models", "containers"))]
    plans = [world.second.plan, world.first.plan]
    found = [path for folder in [*folders, *plans] if folder for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if path.name not in (LINEAGE, IMAGE_LOCK.name)]


def _size(path: Path) -> int:
    return path.stat().st_size


def test_a_run_and_its_checkpoint_are_proved(world: World) -> None:
    run, checkpoint = (run_chain(path, world.root) for path in (world.run.path, world.checkpoint))
    assert (run.kind, run.name) == ("made", "files")
    assert (checkpoint.kind, checkpoint.name) == ("checkpoint", "checkpoint")
    assert [link.name for link in run.walk()][1:] == [link.name for link in checkpoint.walk()][1:]
    prove(run)
    prove(checkpoint)


def test_a_run_that_has_made_nothing_yet_begins_its_chain(world: World) -> None:
    write_lineage(world.run.path, world.second, files=None)
    chain = run_chain(world.run.path, world.root)
    assert (chain.kind, chain.name) == ("run", "run")
    prove(chain)
    prove(run_chain(world.checkpoint, world.root))


def test_names_can_be_told_from_those_of_another_chain(world: World) -> None:
    names = {link.name for link in run_chain(world.export, world.root, before="table: ").walk()}
    assert {"table: files", "table: parent: run"} < names
    assert all(name.startswith("table: ") for name in names)


CHANGES: list[tuple[str, Callable[[World], Path]]] = [
    ("files", lambda world: world.export / WEIGHTS),
    ("plan", lambda world: world.root / "plans/packs/plan.json"),
    ("plan", lambda world: world.root / "plans/packs/rows.npy"),
    ("snapshot charts", lambda world: world.root / "data/charts/manifest.json"),
    ("snapshot charts", lambda world: world.root / "data/charts/train/0.parquet"),
    ("snapshot text", lambda world: world.root / "data/text/manifest.json"),
    ("snapshot text", lambda world: world.root / "data/text/tokens-00000.bin"),
    ("snapshot text", lambda world: world.root / "data/text/index.npy"),
    ("snapshot web", lambda world: world.root / "data/web/samples.parquet"),
    ("snapshot web", lambda world: world.root / "data/web/pictures/0.parquet"),
    ("image", lambda world: world.root / "containers/trackyard.sif"),
    ("parent: files", lambda world: world.parent / WEIGHTS),
    ("parent: plan", lambda world: _plan_of(world) / "plan.json"),
    ("parent: model base", lambda world: world.root / "models/base/base.safetensors"),
]


def _plan_of(world: World) -> Path:
    assert world.first.plan is not None
    return world.first.plan


@pytest.mark.parametrize(("link", "which"), CHANGES, ids=[f"{link} {n}" for n, (link, _) in enumerate(CHANGES)])
def test_one_changed_byte_is_the_first_wrong_link(
    shared: World, link: str, which: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(shared.root / "containers" / "trackyard.sif"))
    path = which(shared)
    data = path.read_bytes()
    for changed in (bytes([data[0] ^ 1]) + data[1:], data[:-1] + bytes([data[-1] ^ 128]), data[:-1], data + b"\0"):
        path.write_bytes(changed)
        with pytest.raises(DataError, match=f"link '{link}' is wrong: .*{path.name}") as raised:
            prove(run_chain(shared.export, shared.root))
        assert digest_file(path) in raised.value.what or link == "image"
    path.write_bytes(data)
    prove(run_chain(shared.export, shared.root))
    path.unlink()
    with pytest.raises(DataError, match=f"{link}.*(no such file|is named by|is not at)"):
        prove(run_chain(shared.export, shared.root))
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["rank-0.safetensors", "manifest.json", "COMPLETE"])
def test_an_edited_checkpoint_stops(world: World, name: str) -> None:
    path = world.checkpoint / name
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(DataError, match="link 'checkpoint' is wrong"):
        prove(run_chain(world.checkpoint, world.root))


def test_a_checkpoint_of_another_run_stops(world: World) -> None:
    other = world.root / "runs" / "molmo2" / "stage2" / "other"
    shutil.copytree(world.run.path, other)
    world.rewrite(seed=8)
    write_lineage(other, world.second, files=["result.json"])
    with pytest.raises(DataError, match="link 'checkpoint' is wrong: manifest of a complete checkpoint of the run"):
        prove(run_chain(other / "checkpoints" / "step-00000004", world.root))


def test_a_plan_that_was_swapped_for_another_sound_one_stops(world: World) -> None:
    plan = world.root / "plans" / "packs"
    shutil.rmtree(plan)
    shutil.copytree(_plan_of(world), plan)
    with pytest.raises(DataError, match="link 'plan' is wrong"):
        prove(run_chain(world.export, world.root))


def test_a_parent_that_was_renamed_or_replaced_is_unproved(world: World) -> None:
    moved = world.parent.rename(world.parent.with_name("elsewhere"))
    run_id = world.first.spec.run_id
    with pytest.raises(DataError, match=rf"stopped: 1 of 18 .*parent: files \(the export of run {run_id} is not at"):
        prove(run_chain(world.export, world.root))
    shutil.copytree(world.export, world.parent)
    with pytest.raises(DataError, match=r"stopped: 1 of 18 .*parent: files .* where that of \w+ is now"):
        prove(run_chain(world.export, world.root))
    shutil.rmtree(world.parent)
    moved.rename(world.parent)
    prove(run_chain(world.export, world.root))


def test_code_that_was_changed_after_the_run_stops_until_it_is_restored(world: World) -> None:
    code = world.root / "src" / "train.py"
    code.write_text("steps = 5\n")
    for _ in ("uncommitted", "committed"):
        with pytest.raises(DataError, match="link 'code' is wrong") as raised:
            prove(run_chain(world.export, world.root))
        git(world.root, "add", "-A")
        git(world.root, "commit", "-q", "--allow-empty", "-m", "later")
    proof = prove(run_chain(world.export, world.root), trust={"code"})
    assert [line.split(":")[0] for line in proof.trusted] == ["code", "parent"]
    assert all("its commit is in this checkout" in line for line in proof.trusted)
    # The command that the error names brings the code back.
    command, _, _ = raised.value.fix.partition(", or ")
    git(world.root, *command.split()[1:])
    prove(run_chain(world.export, world.root))


def test_a_missing_image_stops_and_can_be_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    image = world.root / "containers" / "trackyard.sif"
    moved = image.rename(world.root / "elsewhere.sif")
    with pytest.raises(
        DataError, match=r"stopped: 2 of 18 links are unproved: image \(no file of sha256:.*parent: image"
    ):
        prove(run_chain(world.export, world.root))
    assert len(prove(run_chain(world.export, world.root), trust={"image"}).trusted) == 2
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(moved))
    prove(run_chain(world.export, world.root))


def test_a_file_that_nothing_speaks_of_does_not_belong_to_an_export(world: World) -> None:
    (world.run.path / "log.txt").write_text("a run directory holds more")
    prove(run_chain(world.run.path, world.root))
    (world.export / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"link 'files' is wrong: .* found adapter\.safetensors") as raised:
        prove(run_chain(world.export, world.root))
    assert raised.value.fix.startswith(f"move what is too many out of {world.export}; or ")


def test_a_file_in_a_folder_that_a_run_has_made_does_not_belong_there(world: World) -> None:
    final = world.run.path / "final"
    final.mkdir()
    (final / WEIGHTS).write_bytes(b"w")
    write_lineage(world.run.path, world.second, files=["result.json", f"final/{WEIGHTS}"])
    prove(run_chain(world.run.path, world.root))
    (final / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"link 'files' is wrong: .* found final/adapter\.safetensors"):
        prove(run_chain(world.run.path, world.root))


def test_every_generation_of_parents_is_proved(world: World) -> None:
    spec = replace(
        world.second.spec, stage="stage3", parent=world.second.spec.run_id,
        model={"weights": digest_file(world.export / WEIGHTS)},
    )  # fmt: skip
    third = replace(world.second, spec=spec, parent=Parent(directory=world.export, taken=(WEIGHTS,)))
    export = put_out(third, world.root / "artifacts" / "stage3")
    chain = run_chain(export, world.root)
    facts = {link.name: link.facts for link in chain.walk()}
    runs = ["run", "parent: run", "parent: parent: run"]
    assert [facts[name]["stage"] for name in runs] == ["stage3", "stage2", "stage1"]
    prove(chain)
    for link, path in (
        ("parent: files", world.export / WEIGHTS),
        ("parent: parent: files", world.parent / WEIGHTS),
        ("parent: parent: plan", _plan_of(world) / "plan.json"),
        ("parent: parent: model base", world.root / "models/base/config.json"),
    ):
        data = path.read_bytes()
        path.write_bytes(data + b" ")
        with pytest.raises(DataError, match=f"link '{link}' is wrong: "):
            prove(run_chain(export, world.root))
        path.write_bytes(data)


def test_a_copy_anywhere_is_proved_in_the_checkout(world: World, tmp_path: Path) -> None:
    """What comes from a hub, or was copied to start another run from it."""
    copy = tmp_path / "far" / "away" / "copy"
    shutil.copytree(world.export, copy)
    prove(run_chain(copy, world.root))


def test_another_checkout_without_its_data_says_all_that_it_cannot_prove(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "-q", str(world.root), ".")
    with pytest.raises(DataError, match="stopped: 12 of 18 links are unproved") as raised:
        prove(run_chain(world.export, clone))
    for name in ("plan (", "snapshot charts (", "image (", "parent: files (", "parent: plan (", "parent: model base ("):
        assert name in raised.value.what


def _forge(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the document and make its own digest right again."""
    path = directory / LINEAGE
    document = json.loads(path.read_text())
    change(document["lineage"])
    document["digest"] = digest_json(document["lineage"])
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("link", "change"),
    [
        ("run", lambda lineage: lineage["spec"].update(seed=8)),
        ("run", lambda lineage: lineage["spec"]["code"].update(commit="0" * 40)),
        ("run", lambda lineage: lineage.update(run_id="0" * 12)),
        ("run", lambda lineage: lineage["plan"].update(fingerprint="0" * 64)),
        ("run", lambda lineage: lineage.update(plan=None)),
        ("run", lambda lineage: lineage["snapshots"]["charts"].update(fingerprint="0" * 64)),
        ("run", lambda lineage: lineage["snapshots"].pop("charts")),
        ("run", lambda lineage: lineage.update(parent=None)),
        ("run", lambda lineage: lineage["parent"]["taken"].update({WEIGHTS: "0" * 64})),
        ("run", lambda lineage: lineage["parent"]["taken"].update({"sub/config.json": "0" * 64})),
        ("run", lambda lineage: lineage["parent"]["lineage"]["files"].update({"sub/config.json": "0" * 64})),
        ("parent: run", lambda lineage: lineage["parent"]["lineage"]["spec"].update(seed=8)),
        ("parent: run", lambda lineage: _model(lineage, "base")["files"].update({"base.safetensors": "0" * 64})),
        ("parent: model base", lambda lineage: _model(lineage, "base")["files"].update({"two.safetensors": "0" * 64})),
        ("parent: model made", lambda lineage: _model(lineage, "made")["making"].update(seed=8)),
        ("parent: run", lambda lineage: lineage["parent"]["lineage"]["models"].pop("base")),
        ("parent: run", lambda lineage: lineage["parent"]["lineage"].update(models={})),
        ("snapshot charts", lambda lineage: lineage["snapshots"]["charts"].update(licence="MIT")),
        ("snapshot text", lambda lineage: lineage["snapshots"]["text"].update(licence=None)),
        ("snapshot text", lambda lineage: lineage["snapshots"]["text"]["source"].update(kind="hub")),
        ("snapshot web", lambda lineage: lineage["snapshots"]["web"]["files"].update({"samples.parquet": "0" * 64})),
    ],
)
def test_a_forged_document_contradicts_itself(
    shared: World, link: str, change: Callable[[dict[str, Any]], object]
) -> None:
    before = (shared.export / LINEAGE).read_bytes()
    _forge(shared.export, change)
    try:
        with pytest.raises(DataError, match=f"link '{link}' is wrong"):
            prove(run_chain(shared.export, shared.root))
    finally:
        (shared.export / LINEAGE).write_bytes(before)


def _model(lineage: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = lineage["parent"]["lineage"]["models"][name]
    return found


def test_another_specification_in_the_run_directory_stops(world: World) -> None:
    path = world.run.path / "spec.json"
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(DataError, match=r"link 'run' is wrong: spec\.json"):
        prove(run_chain(world.root / "runs/molmo2/stage2" / world.second.spec.run_id, world.root))


def test_what_holds_no_lineage_has_no_chain(world: World) -> None:
    with pytest.raises(DataError, match=r"lineage\.json does not exist"):
        run_chain(world.root / "data" / "charts", world.root)
