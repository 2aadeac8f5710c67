"""The whole stage on documents as the stages before it write them, and what it refuses to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recipes.nine.report.made_sweep import ALONE, summary
from trackyard.errors import DataError
from trackyard.evaluate.configuration_results import ConfigurationResult, summarise, write_configuration
from trackyard.evaluate.records import Lines, Sample
from trackyard.evaluate.sweep.configuration import Configuration, Evaluated, Sweep, write_sweep
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.parameters import NineParameters
from trackyard.recipes.nine.report import reading
from trackyard.recipes.nine.report.comparing import compare
from trackyard.recipes.nine.results import read_result, write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.latency import SCHEMA, SUMMARY
from trackyard.recipes.nine.sweeping.opening import open_sweep
from trackyard.record.code import CodeIdentity
from trackyard.record.metrics_file import read_metrics
from trackyard.sealed import write_sealed

QUESTIONS = 12
TASKS = (
    Task(name="mmmu", title="MMMU", layout="mmmu", metric="mmmu", new_tokens=8),
    Task(name="okvqa", title="OK-VQA", layout="okvqa", metric="vqa", new_tokens=8),
)
CHOSEN = tuple(Configuration(visual=visual, experts=4, blocks=(0, 1, 3)) for visual in (1, 6))


@dataclass(frozen=True)
class MadeQuestions:
    """Without media: the report asks for none."""

    task: str
    digest: str = "q"

    @property
    def ids(self) -> Sequence[str]:
        return [f"{self.task}:validation:{number:02d}" for number in range(QUESTIONS)]

    def __len__(self) -> int:
        return QUESTIONS

    def bare(self, number: int) -> Question:
        options = ("red", "blue", "green", "grey") if self.task == "mmmu" else ()
        return Question(id=self.ids[number], question="?", options=options, cluster=f"image {number // 2}")

    def __getitem__(self, number: int) -> Question:
        raise AssertionError("a report decodes no picture")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    parameters = NineParameters.model_validate(
        {"tasks": ["mmmu", "okvqa"], "data": {"fixture": {}}, "model": {"made": {}}, "resamples": 200}
    )
    made = Study(root=tmp_path, parameters=parameters)
    made.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    asked = {}
    for task in TASKS:
        questions = MadeQuestions(task.name)
        asked[task.name] = Asked(task=task, questions=questions, ids=tuple(questions.ids))
    monkeypatch.setattr(reading, "asked_tasks", lambda _: asked)
    write_measured(made, asked)
    return made


def write_measured(study: Study, asked: dict[str, Asked]) -> None:
    evaluated = Evaluated(model="d" * 64, processor={}, precision="fp32", prompts="p", importance="i")
    lists = {"visual": (1, 6), "experts": (4,), "blocks": (3,)}
    sweep = Sweep.of(evaluated, CHOSEN, lists=lists, strategy="full")
    write_sweep(study.sweep, sweep)
    for number, key in enumerate(sweep.keys):
        for task in TASKS:
            write_accuracy(study, asked[task.name], key, number)
            body = {
                "key": key, "dataset": task.name, "ending": "natural", "counted": 8, "warmup": 3, "invalid": 0,
                "n_out": 2.0,
                "parts": {part: summary(10.0 + 5 * number).to_json() for part in ("total", "prefill", "decode")},
            }  # fmt: skip
            write_sealed(study.place("latency", key, task.name) / SUMMARY, SCHEMA, body)
    timed = {"timed": 32, "different": 0, "ending": "natural", "circumstances": [ALONE.to_json()], "busy": []}
    header = study.header("sweep", inputs={}, device="cpu", wall_s=1.0)
    listed = {"examined": 1, "tasks": {name: {"asked": QUESTIONS, "digest": of.digest} for name, of in asked.items()}}
    bodies = {"data": listed, "sweep": {"model": "tiny"}, "accuracy": {"answers": 1}, "latency": timed}
    for stage, found in bodies.items():
        write_result(study.document(stage), stage, header, found)


def write_accuracy(study: Study, of: Asked, key: str, number: int) -> None:
    metric, folder = of.task.metric, study.place("accuracy", key, of.task.name)
    samples = [
        Sample(
            key=key, id=name, dataset=of.task.name, split="validation", pred="A", parsed="A",
            score={metric: float(place < 4 + 6 * number)}, n_visual=36, n_prompt=50, n_out=2 + number, hit_cap=False,
        )
        for place, name in enumerate(of.ids)
    ]  # fmt: skip
    lines: Lines[Sample] = Lines(Sample)
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_bytes(b"".join(lines.line(sample) + b"\n" for sample in samples))
    found = summarise(samples, binary={metric: True}, clusters={name: of.bare(name).drawn_with for name in of.ids})
    result = ConfigurationResult(
        key=key, model="d" * 64, revision=None, knobs=CHOSEN[number], realised_visual=found.realised_visual,
        dataset=of.task.name, split="validation", expected=QUESTIONS, ok=QUESTIONS, failed=0, metric=found.metric,
        cap_rate=0.0, unparsed_rate=0.0, batch_size=4, device="cpu", lineage={},
    )  # fmt: skip
    write_configuration(folder / "config.json", result)


def test_the_stage_puts_out_everything(study: Study) -> None:
    said: list[str] = []
    compare(study, said.append)
    results = study.artifacts / "results"
    assert len(said) <= 25
    assert any(line.startswith("MMMU") and "0.833" in line for line in said)
    body = read_result(results / "result.json", "compare").body
    assert body["recorded"]["configurations"] == 2
    metrics = read_metrics(results / "metrics.json")["sweep"]
    assert {name.split("/")[-2] for name in metrics if name.startswith("eval/")} == {"mmmu", "okvqa"}
    for name in ("report.md", "points.csv", "figures/all-total.png", "figures/mmmu.svg", "pages/all.html",
                 "pages/plotly.min.js", "tables/okvqa.md", "frontiers/okvqa-decode.json"):  # fmt: skip
        assert (results / name).is_file(), name
    assert "guessing scores 0.250" in (results / "report.md").read_text()
    before = {
        path: path.read_bytes() for path in results.rglob("*") if path.suffix in (".json", ".svg", ".csv", ".html")
    }
    compare(study, said.append)
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == ["result.json"], "which says how long it took; everything else is the same bytes"


def cut_last_sample(folder: Path) -> None:
    path = folder / "samples.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def remove_times(folder: Path) -> None:
    (Path(str(folder).replace("/accuracy/", "/latency/")) / SUMMARY).unlink()


def alter_metric(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"ok":12', '"ok":11').replace('"ok": 12', '"ok": 11'))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut_last_sample, "okvqa under configuration .* has 11 of 12 samples .*missing: okvqa:validation:11"),
        (remove_times, "okvqa has 1 of 2 configurations; missing: "),
        (alter_metric, "config.json was altered after it was written"),
    ],
)
def test_what_is_missing_or_altered_is_named_and_nothing_is_put_out(
    study: Study, harm: Callable[[Path], None], words: str
) -> None:
    key = open_sweep(study).keys[1]
    harm(study.place("accuracy", key, "okvqa"))
    with pytest.raises(DataError, match=words):
        compare(study, lambda _: None)
    assert not (study.artifacts / "results").exists()
