"""The nine-dataset evaluation as a new user runs it: clone, reproduce, look. One sweep serves every test here."""

from __future__ import annotations

import csv
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.system.agreement import disagreements
from tests.system.commands import run
from tests.system.everything import Everything
from trackyard.evaluate.configuration_results import read_configuration
from trackyard.evaluate.frontier import read_frontier
from trackyard.evaluate.latency.timing import LEAST_TOLERANCE_MS, TOLERANCE
from trackyard.evaluate.records import Latency, Sample
from trackyard.evaluate.store import read_records
from trackyard.evaluate.sweep.configuration import Sweep
from trackyard.recipes.nine.parameters import NINE, load_nine
from trackyard.recipes.nine.results import DOCUMENT, read_result
from trackyard.recipes.nine.stages import STAGES
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.latency import TIMES
from trackyard.recipes.nine.sweeping.opening import open_sweep
from trackyard.recipes.nine.sweeping.scored import CONFIG, SAMPLES
from trackyard.record.metrics_file import read_metrics

pytestmark = pytest.mark.system

PIPELINE = "pipelines/nine/dvc.yaml"
UNCHANGED = re.compile(r"Stage '([^']+)' didn't change")
RUNNING = re.compile(r"Running stage '([^']+)'")
CONFIGURATIONS = 27
AXES = ("total", "prefill", "decode")
BLANK = 2.0
"""Standard deviation of grey values [0, 255] below which an image shows nothing."""
FIX = "-"


@dataclass(frozen=True, kw_only=True)
class Done:
    """A clone in which the track ran. out: what `dvc repro` printed."""

    clone: Path
    study: Study
    out: str

    @property
    def sweep(self) -> Sweep:
        return open_sweep(self.study)

    @property
    def results(self) -> Path:
        return self.study.artifacts / "results"


@pytest.fixture(scope="module")
def done(everything: Everything) -> Done:
    """What `make demo-all` left of the track."""
    clone = everything.clone
    parameters = load_nine(clone / "params.yaml")
    return Done(clone=clone, study=Study(root=clone, parameters=parameters), out=everything.out_of(PIPELINE))


def test_every_stage_ran_and_the_table_has_every_data_set(done: Done) -> None:
    assert set(RUNNING.findall(done.out)) == {f"{PIPELINE}:{stage}" for stage in STAGES}
    table = done.out[done.out.rindex("Running stage") :]
    assert "compare" in table.splitlines()[0]
    titles = [task.title for task in done.study.tasks.values()]
    assert len(titles) == len(NINE)
    for title in titles:
        assert re.search(rf"^\W*{re.escape(title)}\s.*\d", table, re.M), f"no row of {title} in:\n{table}"


def test_nothing_is_run_twice(done: Done) -> None:
    again = run(["dvc", "repro", PIPELINE], done.clone).stdout
    assert not RUNNING.findall(again)
    assert set(UNCHANGED.findall(again)) == {f"{PIPELINE}:{stage}" for stage in STAGES}


def test_every_question_of_every_data_set_was_asked_under_every_configuration(done: Done) -> None:
    sweep = done.sweep
    assert len(sweep.keys) == CONFIGURATIONS
    assert len({configuration.visual for configuration in sweep.configurations.values()}) == 3
    asked = 0
    for name in NINE:
        ids = set()
        for key in sweep.keys:
            folder = done.study.place("accuracy", key, name)
            samples = list(read_records(folder / SAMPLES, Sample))
            assert not [sample for sample in samples if sample.failed]
            ids.add(tuple(sample.id for sample in samples))
            result = read_configuration(folder / CONFIG, fix=FIX)
            assert (result.expected, result.ok, result.failed, result.watermark) == (len(samples), len(samples), 0, "")
            asked += len(samples)
        assert len(ids) == 1, f"{name}: other questions under other configurations"
    # TallyQA counts questions, of which some images have several.
    fixture = done.study.parameters.data.fixture
    assert fixture is not None
    assert asked >= CONFIGURATIONS * len(NINE) * fixture.evaluated
    assert read_result(done.study.document("accuracy"), "accuracy").body["answers"] == asked


def test_the_knobs_act_on_what_is_shown_and_answered(done: Done) -> None:
    by_level: dict[int | None, float] = {}
    answers = set()
    for key, configuration in done.sweep.configurations.items():
        folder = done.study.place("accuracy", key, "doc_qa")
        by_level[configuration.visual] = read_configuration(folder / CONFIG, fix=FIX).realised_visual.mean
        places = [done.study.place("accuracy", key, name) / SAMPLES for name in NINE]
        answers.add(tuple(sample.pred for path in places for sample in read_records(path, Sample)))
    levels = sorted(level for level in by_level if level is not None)
    assert len(levels) == 3
    assert by_level[levels[0]] < by_level[levels[1]] < by_level[levels[2]]
    assert len(answers) > 5


def test_times_are_there_for_all_and_their_parts_make_up_the_whole(done: Done) -> None:
    counted = whole = 0
    timed = done.study.parameters.latency.samples
    for name in NINE:
        for key in done.sweep.keys:
            times = list(read_records(done.study.place("latency", key, name) / TIMES, Latency))
            assert len({time.id for time in times if not time.warmup}) == timed
            for time in times:
                if not time.warmup:
                    counted += 1
                    parts = time.t_vision_ms + time.t_prefill_ms + time.t_decode_ms
                    holds = abs(parts - time.t_total_ms) <= max(LEAST_TOLERANCE_MS, TOLERANCE * time.t_total_ms)
                    assert time.valid is holds
                    whole += holds
    assert counted == CONFIGURATIONS * len(NINE) * timed
    assert whole >= 0.95 * counted
    body = read_result(done.study.document("latency"), "latency").body
    assert (body["timed"], body["different"]) == (counted, 0)
    assert {machine["kind"] for machine in body["circumstances"]} == {"cpu"}


def test_tables_frontiers_and_figures_have_every_point(done: Done) -> None:
    keys = set(done.sweep.keys)
    with open(done.results / "points.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == CONFIGURATIONS * len(NINE)
    for name in NINE:
        for axis in AXES:
            points = read_frontier(done.results / "frontiers" / f"{name}-{axis}.json", fix=FIX).points
            assert {point.key for point in points} == keys
            assert any(point.on_frontier for point in points)
    values = read_metrics(done.results / "metrics.json")["sweep"]
    assert {name.split("/")[1] for name in values if name.startswith("eval/")} == {*NINE, "fastest"}
    assert {name.split("/")[2] for name in values if name.startswith("eval/fastest/")} == set(NINE)
    report = (done.results / "report.md").read_text()
    for task in done.study.tasks.values():
        assert task.title in report
    for kind, least in (("figures/*.png", len(NINE)), ("figures/*.svg", len(NINE)), ("pages/*.html", len(NINE) + 1)):
        assert len(list(done.results.glob(kind))) >= least, kind
    for path in done.results.glob("figures/*.png"):
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > BLANK, path
    for name in NINE:
        page = (done.results / "pages" / f"{name}.html").read_text()
        assert not [key for key in keys if key[:12] not in page], f"points that the page of {name} lacks"


def test_results_are_whole_and_mlflow_has_every_configuration(done: Done) -> None:
    for stage in STAGES:
        if stage != "declare":
            place = done.results / DOCUMENT if stage == "compare" else done.study.document(stage)
            assert read_result(place, stage).header.git_commit == done.study.code.commit
    with closing(sqlite3.connect(done.clone / "mlflow.db")) as database:
        (tags,) = database.execute(
            f"select count(distinct value) from tags where value in ({','.join('?' * CONFIGURATIONS)})",
            list(done.sweep.keys),
        ).fetchone()
    assert tags == CONFIGURATIONS


def test_metrics_json_is_what_mlflow_shows(done: Done) -> None:
    (sweep,) = (done.clone / "runs" / "nine" / "sweep").iterdir()
    values = read_metrics(done.results / "metrics.json")["sweep"]
    assert disagreements(values, sweep, done.clone / "mlflow.db") == []


def test_a_part_of_a_stage_about_the_whole_study_is_refused(done: Done) -> None:
    ended = run(["trackyard", "run", "nine", "compare", "0/2"], done.clone, check=False)
    assert ended.returncode == 2
    assert "trackyard run nine compare" in ended.stderr


def test_the_tasks_are_listed(done: Done) -> None:
    listed = run(["trackyard", "evaluate", "tasks", "--group", "nine"], done.clone).stdout
    assert [name for name in NINE if not re.search(rf"^\W*{name}\b", listed, re.M)] == []
