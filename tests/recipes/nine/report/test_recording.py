"""A run per configuration and one of the sweep; comparing again adds nothing, new numbers stand beside the old."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.recipes.nine.report.made_sweep import SWEEP, TASKS, made_results, made_scores
from trackyard.recipes.nine.report.findings import findings
from trackyard.recipes.nine.report.frontiers import frontiers
from trackyard.recipes.nine.report.gathering import put_together
from trackyard.recipes.nine.report.measured import Measurement
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.report.recording import KEY_TAG, record_sweep
from trackyard.record.code import CodeIdentity
from trackyard.record.rundir import all_runs, open_existing
from trackyard.record.spool import read_spool
from trackyard.record.tracking.server import DatasetFact
from trackyard.record.tracking.sync import sync_all

KEYS = SWEEP.keys[:3]


def record(root: Path, found: list[Measurement]) -> tuple[str, int]:
    sweep = replace(SWEEP, keys=KEYS)
    gathered = put_together(sweep, TASKS[:2], found, made_scores)
    by_dataset = frontiers(gathered)
    results = root / "results"
    results.mkdir(exist_ok=True)
    (results / "report.md").write_text("# A sweep\n")
    (results / "large.svg").write_bytes(b" " * (9 << 20))
    return record_sweep(
        gathered, findings(gathered, by_dataset, Pairs(gathered, resamples=100)), results, ["report.md", "large.svg"],
        runs=root / "runs", code=CodeIdentity(commit="c" * 40, dirty_digest=None), image=None, seed=0,
        datasets=[
            DatasetFact(name=task.name, digest="d" * 64, source="questions", context="evaluation") for task in TASKS[:2]
        ],
    )  # fmt: skip


def measured() -> list[Measurement]:
    names = {task.name for task in TASKS[:2]}
    return [each for each in made_results() if each.dataset in names and each.key in KEYS]


def lines(root: Path) -> int:
    return sum(len(read_spool(path).events) for path in root.glob("runs/*/*/*/spool/*.jsonl"))


def test_recording_twice_is_recording_once(tmp_path: Path) -> None:
    first = record(tmp_path, measured())
    before = lines(tmp_path)
    assert record(tmp_path, measured()) == first == (first[0], len(KEYS))
    assert lines(tmp_path) == before
    assert len(all_runs(tmp_path / "runs")) == len(KEYS) + 1


def test_other_numbers_are_added(tmp_path: Path) -> None:
    record(tmp_path, measured())
    before = lines(tmp_path)
    changed = measured()
    changed[0] = replace(changed[0], n_out=9.0)
    record(tmp_path, changed)
    assert lines(tmp_path) == before + 2, "the numbers of one run, and that it finished"


def test_mlflow_has_keys_knobs_numbers_and_files(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    whole, _ = record(tmp_path, measured())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    reports = sync_all(tmp_path / "runs", uri)
    assert [report.warning for report in reports] == [None] * 4
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("nine")
    found = client.search_runs([experiment.experiment_id])
    by_key = {run.data.tags[KEY_TAG]: run for run in found if KEY_TAG in run.data.tags}
    assert set(by_key) == set(KEYS)
    for each in measured():
        run = by_key[each.key]
        assert run.data.params["knobs.visual"] == str(each.configuration.visual)
        assert run.data.tags["trackyard.parent_run"] == whole
        assert run.data.metrics[f"eval/{each.dataset}/vqa"] == each.metric["vqa"].value
        assert run.data.metrics[f"latency/{each.dataset}/total_p50_ms"] == each.times.parts["total"].p50
        assert run.info.status == "FINISHED"
        names = {item.dataset.name for item in run.inputs.dataset_inputs}
        assert names == {task.name for task in TASKS[:2]}
    (sweep,) = [run for run in found if KEY_TAG not in run.data.tags]
    assert sweep.data.tags["trackyard.metrics"] == "results/metrics.json"
    assert [item.path for item in client.list_artifacts(sweep.info.run_id, "results")] == ["results/report.md"]
    assert open_existing(tmp_path / "runs" / "nine" / "sweep" / whole).spec.parent is None
