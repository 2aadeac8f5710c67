"""Models of the hub are found where they were loaded from, else they are unproved; plans and data as recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record.conftest import make_spec
from trackyard.digest import digest_bytes
from trackyard.record.lineage.document import DataFact, ModelFact, PlanFact
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.materials import model_link, plan_link, snapshot_link

CODE = Link(kind="code", name="code", fix="", absent="not asked")
COMMIT = "5" * 40


def fact(**changes: object) -> ModelFact:
    values = {
        "id": "org/base", "revision": COMMIT, "licence": None, "named": "revision", "path": None,
        "files": {"model.safetensors": digest_bytes(b"w")}, "making": None, "restore": "hf download org/base",
    }  # fmt: skip
    return ModelFact.model_validate({**values, **changes})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot of the model in a hub's cache of its own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--base" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"w")
    return snapshot


def test_a_model_of_the_hub_is_found_in_the_cache(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(model={"model": "org/base", "revision": COMMIT})
    link = model_link("start", fact(), spec, tmp_path, "", CODE)
    assert [(file.path, file.digest) for file in link.files] == [(cache / "model.safetensors", digest_bytes(b"w"))]
    assert link.absent is None
    assert {claim.expected == claim.found for claim in link.claims} == {True}
    (cache / "model.safetensors").unlink()
    gone = model_link("start", fact(), spec, tmp_path, "", CODE)
    assert (gone.files, gone.absent) == ((), f"model.safetensors of org/base at {COMMIT} is not in the hub's cache")


def test_a_model_that_the_specification_does_not_name_is_wrong(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(model={"model": "org/other", "revision": "6" * 40})
    found = {claim.what: claim.found for claim in model_link("start", fact(), spec, tmp_path, "", CODE).claims}
    assert found == {"id in the specification": "none", "revision in the specification": "none"}
    for files in ({"model.safetensors": "1" * 64}, {"pytorch_model.bin": "1" * 64}):
        link = model_link("start", fact(named="files", files=files), spec, tmp_path, "", CODE)
        assert [claim.found for claim in link.claims] == ["none"]
    # What a name of the hub means changes with every commit to it.
    spec = make_spec(model={"model": "org/base", "revision": None})
    link = model_link("start", fact(revision=None), spec, tmp_path, "", CODE)
    assert [claim.found for claim in link.claims] == ["org/base", "none"]


def test_what_is_made_from_a_seed_is_proved_with_the_code(tmp_path: Path) -> None:
    spec = make_spec(model={"start": "random"})
    link = model_link("start", fact(named="making", files={}, making={"start": "random"}), spec, tmp_path, "", CODE)
    assert link.inputs == (CODE,)
    assert link.files == ()
    assert link.facts["made"] == "from seed 7 by the code of the run, and proved with it"
    assert [claim.expected == claim.found for claim in link.claims] == [True]


def test_what_is_gone_is_absent_and_names_its_place(tmp_path: Path) -> None:
    plan = plan_link(PlanFact(fingerprint="f" * 64, path="plan", files={"plan.json": "0" * 64}), tmp_path, "")
    data = DataFact(
        kind="rows", fingerprint="f", path="data", files={"manifest.json": "0" * 64}, source={}, licence="x",
        restore="bring it",
    )  # fmt: skip
    snapshot = snapshot_link("a", data, tmp_path, "parent: ")
    model = model_link("m", fact(path="model", named="files"), make_spec(), tmp_path, "", CODE)
    for link, name in ((plan, "plan"), (snapshot, "data"), (model, "model")):
        assert str(link.absent).endswith(f"is not at {tmp_path / name}")
        assert link.files == ()
    assert (snapshot.name, snapshot.fix) == ("parent: snapshot a", "bring it")
