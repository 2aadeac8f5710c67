"""A table is proved back to data, code and commit through DVC; whatever was changed, the wrong link is named."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.record.lineage.stage_world import TABLE, by_name, declare
from trackyard.errors import ConfigError, DataError
from trackyard.record.lineage.dvc_graph import StageRecord
from trackyard.record.lineage.licences import UNKNOWN, licence_rows
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.stage_chain import stage_chain
from trackyard.record.lineage.stage_inputs import parameter_claims


def chain(root: Path, path: str = TABLE) -> Link:
    return stage_chain(root / path, root)


def test_a_table_is_proved_down_to_data_code_and_commit(made_stages: Path) -> None:
    found = chain(made_stages)
    links = by_name(found)
    arms = ["stage toy:train@left", "stage toy:train@right"]
    assert [link.name for link in links[f"made {TABLE}"].inputs] == ["stage toy:table"]
    assert [link.name for link in links["stage toy:table"].inputs] == arms
    assert {"stage toy:declare", "stage stage1", "stage stage2", "code src/trackyard", "code requirements.lock"} <= set(
        links
    )
    # The data of data.dvc, and the same data as the runs of both exports name them.
    assert {"snapshot data/charts", "snapshot data/text", "snapshot data: other files", "snapshot charts"} <= set(links)
    runs = [link for link in links.values() if link.kind == "run"]
    assert sorted(link.facts["stage"] for link in runs) == ["stage1", "stage2"], "the parent is joined with its export"
    # stage1 read data/charts alone, stage2 all of it.
    assert "snapshot data/text" not in [link.name for link in links["stage stage1"].inputs]
    assert "snapshot data/text" in [link.name for link in links["stage stage2"].inputs]
    proof = prove(found)
    assert len(proof.proved) == len(links)
    assert proof.trusted == []
    files = {file.path for link in links.values() for file in link.files}
    assert made_stages / TABLE / "pages" / "figure.svg" in files
    assert made_stages / "artifacts/toy/metrics.csv" in files


def test_part_of_an_output_and_a_folder_of_several_are_asked_about(made_stages: Path) -> None:
    part = chain(made_stages, f"{TABLE}/pages/figure.svg")
    assert [file.path.name for file in part.files] == ["figure.svg"]
    assert [link.name for link in part.inputs] == ["stage toy:table"]
    assert len(prove(part).proved) == len(list(part.walk()))
    around = chain(made_stages, "artifacts/toy/train")
    assert [link.name for link in around.inputs] == ["stage toy:train@left", "stage toy:train@right"]
    assert len(around.files) == 2
    data = chain(made_stages, "data/charts")
    assert "snapshot data/charts" in [link.name for link in data.inputs]
    prove(data)


def append(path: str, more: bytes = b" ") -> Callable[[Path], None]:
    """One byte more, and the modification time as before: nothing may be found by that."""

    def change(root: Path) -> None:
        before = (root / path).stat()
        with (root / path).open("ab") as file:
            file.write(more)
        os.utime(root / path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def lock(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return change


def dependency(stage: str, path: str) -> Callable[[Path], None]:
    """Another digest of what a stage read, in its lock."""

    def change(root: Path) -> None:
        file = root / "pipelines/toy/dvc.lock"
        document = yaml.safe_load(file.read_text())
        for dep in document["stages"][stage]["deps"]:
            if dep["path"] == path:
                dep["md5"] = "0" * 32 + (".dir" if dep["md5"].endswith(".dir") else "")
        file.write_text(yaml.safe_dump(document))

    return change


def redeclare(root: Path) -> None:
    """The parameter file states another package, and DVC was told to take it as it is."""
    from dvc.repo import Repo

    declare(root / "artifacts/toy/parameters", "0" * 64)
    with contextlib.chdir(root), Repo(str(root)) as repo:
        repo.commit("pipelines/toy/dvc.yaml:declare", force=True)
        for arm in ("left", "right"):
            repo.commit(f"pipelines/toy/dvc.yaml:train@{arm}", force=True)


def extra(root: Path) -> None:
    (root / TABLE / "another.csv").write_text("1")


def link(path: str) -> Callable[[Path], None]:
    """A folder from elsewhere, which DVC does not look into."""

    def change(root: Path) -> None:
        elsewhere = root.parent / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "more.py").write_text("answer = 43\n")
        (root / path).symlink_to(elsewhere)

    return change


CHANGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "the table": (append(f"{TABLE}/table.csv"), f"made {TABLE}", "table.csv"),
    "a file that a stage before put out": (
        append("artifacts/toy/train/left/scores"), "stage toy:train@left", "left/scores",
    ),
    "a file that DVC does not cache": (append("artifacts/toy/metrics.csv"), "stage toy:table", "metrics.csv"),
    "a shard": (append("data/charts/train/0.parquet"), "snapshot data/charts", "0.parquet"),
    "a file beside the data sets": (
        append("data/web/samples.parquet"), "snapshot data: other files", "samples.parquet",
    ),
    "weights of an export": (append("artifacts/stage1/model.safetensors"), "stage stage1", "model.safetensors"),
    "a plan": (append("plans/packs/rows.npy"), "plan ", "rows.npy"),
    "code": (append("src/trackyard/code.py"), "code of the package ", "blake3 of src/trackyard"),
    "a file of the package that is no module": (append("src/trackyard/data.txt"), "code src/trackyard", "md5 of"),
    "the lock of the libraries": (append("requirements.lock"), "code requirements.lock", "requirements.lock"),
    "a parameter": (
        lock("params.yaml", "warmup: 2", "warmup: 5"), "stage toy:declare",
        "params.yaml: toy.optimiser.warmup: expected 2, found 5",
    ),
    "a parameter that Python takes for the same": (
        lock("params.yaml", "warmup: 2", "warmup: 2.0"), "stage toy:declare",
        "params.yaml: toy.optimiser.warmup: expected 2, found 2.0",
    ),
    "a manifest that is no longer one": (
        append("data/charts/manifest.json", b"}"), "snapshot data/charts", "manifest.json",
    ),
    "the command": (lock("dvc.yaml", "cp -r stash/stage2", "cp -R stash/stage2"), "stage stage2", "command"),
    "a file too many": (extra, "stage toy:table", "another.csv"),
    "a folder too many": (link(f"{TABLE}/more"), "stage toy:table", "found more"),
    "a folder of code from elsewhere": (link("src/trackyard/more"), "code src/trackyard", "md5 of"),
    "what the table was made of": (
        dependency("table", "artifacts/toy/train"), "stage toy:table", "put out: expected 00000000000000000000000",
    ),
    "one file that a stage read": (
        dependency("train@left", "artifacts/toy/parameters/train.json"), "stage toy:train@left", "train.json",
    ),
    "the package that a parameter file states": (redeclare, "code of the package 000000000000", "blake3 of"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CHANGES))
def test_each_change_stops_at_the_link_that_is_wrong(case: str, stages: Path) -> None:
    change, name, told = CHANGES[case]
    change(stages)
    with pytest.raises(DataError) as error:
        prove(chain(stages))
    assert f"link '{name}" in error.value.what
    assert told in error.value.what
    assert error.value.fix


def test_parameters_are_compared_as_json_whatever_order_their_keys_have() -> None:
    key = ("params.yaml", "arms")
    recorded = {key: [{"name": "left", "flat": True}], ("params.yaml", "day"): date(2026, 1, 2)}
    current = {key: [{"flat": True, "name": "left"}], ("params.yaml", "day"): date(2026, 1, 2)}
    for now, wrong in (
        (current, []),
        ({key: [{"flat": 1, "name": "left"}]}, ["params.yaml: arms", "params.yaml: day"]),
    ):
        stage = StageRecord(
            address="a", about="", command="", command_changed=False, data=False, deps=(), outs=(), recorded=recorded,
            current=now,
        )  # fmt: skip
        claims = list(parameter_claims(stage))
        assert len(claims) == 2
        assert [claim.what for claim in claims if claim.expected != claim.found] == wrong


def unlist(root: Path) -> None:
    shutil.rmtree(root / ".dvc/cache")


LACKING: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "an output is gone": (
        lambda root: shutil.rmtree(root / "artifacts/toy/train/left"),
        "stage toy:train@left (artifacts/toy/train/left is not at hand)", "dvc repro pipelines/toy/dvc.yaml:train@left",
    ),
    "a stage is not in dvc.lock": (
        lambda root: (root / "dvc.lock").unlink(), "stage stage2 (dvc.lock does not know it", "dvc repro stage2",
    ),
    "the data were not pulled": (
        lambda root: shutil.rmtree(root / "data"), "snapshot data (data is not at hand)", "dvc pull data.dvc",
    ),
    "the lists of folders are gone": (unlist, "is not in the DVC cache", "dvc repro"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(LACKING))
def test_what_is_not_at_hand_is_never_proved(case: str, stages: Path) -> None:
    change, told, fix = LACKING[case]
    change(stages)
    with pytest.raises(DataError, match="stopped: ") as error:
        prove(chain(stages), trust=["snapshot", "plan", "made", "run"] if "pulled" not in case else ["plan", "run"])
    assert told in error.value.what
    assert fix in error.value.fix


def test_a_stage_that_has_not_run_says_how_to_run_it(made_stages: Path) -> None:
    found = chain(made_stages, "artifacts/toy/later")
    links = by_name(found)
    assert found.absent == "stage toy:later cannot say which bytes it put out"
    assert links["stage toy:later"].fix == "dvc repro pipelines/toy/dvc.yaml:later"
    with pytest.raises(DataError, match="stopped"):
        prove(found)


def test_a_file_that_the_stage_did_not_put_out_is_absent(made_stages: Path) -> None:
    found = chain(made_stages, f"{TABLE}/nothing.csv")
    assert found.absent == "stage toy:table put out no such file"
    assert found.fix == f"ask about what was put out: {TABLE}"


def test_a_folder_of_several_outputs_holds_nothing_else(stages: Path) -> None:
    """What is asked about is all of the folder."""
    from dvc.repo import Repo

    folder = stages / "artifacts/toy/train"
    prove(chain(stages, "artifacts/toy/train"))
    (folder / "notes.txt").write_text("by hand")
    with pytest.raises(DataError, match=r"files in artifacts/toy/train that no stage put out: .* found .*notes\.txt"):
        prove(chain(stages, "artifacts/toy/train"))
    (folder / "notes.txt").unlink()
    append("artifacts/toy/train/right/scores")(stages)
    with pytest.raises(DataError, match=r"link 'made artifacts/toy/train' is wrong: .*right/scores") as raised:
        prove(chain(stages, "artifacts/toy/train"))
    # The command that the error names brings back what any of the stages put out.
    command, _, _ = raised.value.fix.partition("   (")
    with contextlib.chdir(stages), Repo(str(stages)) as repo:
        repo.checkout(command.removeprefix("dvc checkout ").split(), force=True)
    prove(chain(stages, "artifacts/toy/train"))


def test_a_data_set_whose_manifest_is_gone_keeps_its_row_among_the_licences(stages: Path) -> None:
    before = {row.name: row.licence for row in licence_rows(chain(stages))}
    assert before["charts"] == "CC-BY-4.0"
    for shown in ("data/charts", "data/text"):
        (stages / shown / "manifest.json").unlink()
    after = {row.name: row.licence for row in licence_rows(chain(stages))}
    assert after["data/charts"] == after["data/text"] == UNKNOWN


def test_what_no_stage_puts_out_is_refused_with_what_can_be_asked(made_stages: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        chain(made_stages, "artifacts/toy/other")
    assert "no stage puts out artifacts/toy/other" in error.value.what
    assert TABLE in error.value.fix
    with pytest.raises(ConfigError, match="does not lie in"):
        stage_chain(tmp_path, made_stages)
    with pytest.raises(ConfigError, match="no DVC repository"):
        stage_chain(tmp_path / "x", tmp_path)


def test_a_broken_pipeline_is_named(stages: Path) -> None:
    (stages / "dvc.yaml").write_text("stages:\n  stage1:\n    command: x\n")
    with pytest.raises(DataError, match="DVC cannot load the stages"):
        chain(stages)
