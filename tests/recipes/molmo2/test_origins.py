"""The chain of a real second stage, back to rows, plan, code and the first stage; each damage stops by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.record.lineage.small_world import git
from tests.system.repository import mini_rows, write_rows
from trackyard.errors import DataError
from trackyard.parameters import read_yaml
from trackyard.recipes.molmo2.parameters import Molmo2Parameters
from trackyard.recipes.molmo2.stage import run_stage
from trackyard.recipes.molmo2.start import export_directory
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
SETS = ("pixmo-cap", "pixmo-count", "pixmo-points", "tulu")
SCORED = "pixmo-count"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which two stages of four steps were run on four data sets of the mini snapshot.

    The first draws nothing of the one that both are scored on.
    """
    root = tmp_path_factory.mktemp("molmo2")
    for name in SETS:
        train, validation = mini_rows(name, "train", 120), mini_rows(name, "validation", 12)
        write_rows(root / "data" / "mini" / name, name, train=train, validation=validation)
    shutil.copytree(ROOT / "catalog", root / "catalog")
    (root / "src").mkdir()
    (root / "src" / "code.py").write_text("code = 1\n")
    (root / ".gitignore").write_text("data\nruns\nartifacts\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    values = read_yaml(ROOT / "params.yaml")["molmo2"]
    for stage in ("stage1", "stage2"):
        values[stage] |= {"steps": 4, "save_every": 2, "mixture": {"kind": "sqrt"}}
    drawn = {"pixmo-cap": 0.5, "pixmo-points": 0.25, "tulu": 0.25}
    values["stage1"]["mixture"] = {"kind": "fixed", "ratios": {"drawn": drawn}}
    values["validation"] |= {"limit": 4, "datasets": {"counting": ["pixmo-count"]}, "new_tokens": {"counting": 4}}
    parameters = Molmo2Parameters.model_validate(values)
    for stage in ("stage1", "stage2"):
        run_stage(parameters, stage, root, parameter_file=ROOT / "params.yaml", say=lambda _: None)
    return root


def test_the_chain_is_proved_end_to_end(repository: Path) -> None:
    export = export_directory(repository, "stage2")
    chain = run_chain(export, repository)
    own = ["run", "plan", *(f"snapshot {name}" for name in SETS), "code"]
    before = [f"{name}/validation" if name == f"snapshot {SCORED}" else name for name in own]
    expected = ["files", *own, "parent: files", *(f"parent: {name}" for name in before), "parent: model start"]
    assert sorted(link.name for link in chain.walk()) == sorted(expected)
    proof = prove(chain)
    assert len(proof.proved) == len(expected)
    assert proof.trusted == []
    directory = repository / "runs" / "molmo2" / "stage2" / read_lineage(export).run_id
    prove(run_chain(directory, repository))
    prove(run_chain(directory / "checkpoints" / "step-00000002", repository))


def test_each_damage_stops_by_its_name(repository: Path) -> None:
    export = export_directory(repository, "stage2")
    lineage = read_lineage(export)
    directory = repository / "runs" / "molmo2" / "stage2" / lineage.run_id
    checkpoint = directory / "checkpoints" / "step-00000004"
    assert lineage.plan is not None
    for link, start, path in (
        ("snapshot tulu", export, next((repository / "data/mini/tulu/train").iterdir())),
        ("plan", export, repository / lineage.plan.path / "rows.npy"),
        ("checkpoint", checkpoint, next(checkpoint.glob("*.safetensors"))),
        ("files", directory, directory / "final" / "model.safetensors"),
        ("code", export, repository / "src" / "code.py"),
        ("parent: files", export, export_directory(repository, "stage1") / "model.safetensors"),
    ):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(DataError, match=f"link '{link}' is wrong"):
            prove(run_chain(start, repository))
        path.write_bytes(before)
    moved = export_directory(repository, "stage1").rename(repository / "renamed")
    with pytest.raises(DataError, match=r"stopped: 1 of .*: parent: files \(the export of run"):
        prove(run_chain(export, repository))
    moved.rename(export_directory(repository, "stage1"))
    prove(run_chain(export, repository))
