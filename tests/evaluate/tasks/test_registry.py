"""The tasks of the repository as their specification states them, and everything a file of tasks may not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from trackyard.catalog.entries import load_catalogue
from trackyard.errors import ConfigError
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.scorers.table import METRICS, NOT_MEASURED
from trackyard.evaluate.tasks.registry import choose_tasks, load_tasks
from trackyard.feed.styles import Kind, style_of

ROOT = Path(__file__).parents[3]
CATALOGUE = load_catalogue(ROOT / "catalog")
TASKS = load_tasks(ROOT / "tasks")

NINE = {
    # name: (split, layout, metric, cap, questions), nine-datasets spec section 1
    "coco_2014_vqa": ("validation", "vqa_v2", "vqa", 16, 214_354),
    "text_vqa": ("validation", "text_vqa", "vqa", 64, 5_000),
    "okvqa": ("validation", "okvqa", "vqa", 16, 5_046),
    "science_qa_img": ("validation", "science_qa", "mc", 16, 2_097),
    "st_qa": ("validation", "st_qa", "anls", 32, 1_024),
    "doc_qa": ("validation", "doc_qa", "anls", 32, 5_349),
    "tally_qa": ("test", "tally_qa", "em", 16, 38_589),
    "mmmu": ("validation", "mmmu", "mmmu", 32, 900),
    "coco_caption": ("validation", "coco_caption", "cider", 64, 40_504),
}


def test_the_nine_are_those_of_the_specification() -> None:
    chosen = choose_tasks(TASKS, ["nine"])
    assert {n: (t.split, t.layout, t.metric, t.new_tokens, t.samples) for n, t in chosen.items()} == NINE
    # Counted as the specification's table does, where a sample of TallyQA is an image.
    counted = sum(entry.nine.samples for entry in CATALOGUE.values() if entry.nine is not None)
    assert counted == 300_725
    assert sum(task.samples or 0 for task in chosen.values()) == 300_725 - 26_451 + 38_589
    long = TASKS["mmmu_long"]
    assert (long.new_tokens, long.entry, long.metric) == (512, "mmmu", "mmmu")


CAPS = {
    # molmo2 spec section 14
    "mc": {32},
    "counting_exact": {2_048},
    "hota": {4_096},
    "caption_f1": {2_048},
    "points_f1": {192, 2_048},
}


def test_caps_and_groups_of_the_other_tasks() -> None:
    for task in TASKS.values():
        if task.layout == "rows":
            assert task.new_tokens in CAPS[task.metric], task.name
    pointing = {name for name, task in TASKS.items() if task.metric == "points_f1" and task.new_tokens == 2_048}
    assert pointing == {"molmo2-videopointeval"}
    groups = {
        "multi_image": {"blink", "muirbench", "mmiu"},
        "short_video": {"mvbench", "tomato", "motionbench", "tempcompass", "perceptiontest", "egoschema", "next-qa"},
        "long_video": {
            "video-mme", "video-mme-subtitles", "longvideobench", "mlvu", "lvbench", "videoeval-pro",
        },
        "tracking": {"molmo2-videotrackeval", "mevis-valid", "reasonvos", "ref-youtube-vos", "ref-davis17"},
        "text": set(DEFINITIONS),
    }  # fmt: skip
    for group, names in groups.items():
        assert set(choose_tasks(TASKS, [group])) == names


def test_a_metric_fits_the_style_that_is_asked_in() -> None:
    kinds = {"mc": Kind.MULTIPLE_CHOICE, "hota": Kind.TRACKS, "points_f1": Kind.POINTS, "counting_exact": Kind.POINTS}
    for task in TASKS.values():
        if task.layout == "rows" and task.metric in kinds:
            assert style_of(task.style).kind is kinds[task.metric], task.name
        if task.metric == "counting_exact":
            assert style_of(task.style).count is not None
        for metric in task.metrics if task.layout != "harness" else ():
            assert metric in METRICS or metric in NOT_MEASURED


def test_tasks_are_chosen_by_name_and_by_group_in_the_order_asked_for() -> None:
    assert list(choose_tasks(TASKS, ["mmmu", "multi_image", "blink"])) == ["mmmu", "blink", "muirbench", "mmiu"]
    with pytest.raises(ConfigError) as caught:
        choose_tasks(TASKS, ["docqa"])
    assert "did you mean 'doc_qa'?" in caught.value.what


def _write(folder: Path, name: str, *tasks: dict[str, object], **defaults: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"defaults": defaults, "tasks": list(tasks)}))
    return folder


BLINK: dict[str, object] = {
    "name": "mine", "entry": "blink", "layout": "rows", "style": "multi_image_mc", "new_tokens": 8, "metric": "mc",
}  # fmt: skip
SCIENCE: dict[str, object] = {
    "name": "mine", "entry": "science_qa_img", "layout": "science_qa", "new_tokens": 8, "metric": "mc",
}  # fmt: skip
CASES: list[tuple[dict[str, object], str]] = [
    (BLINK | {"styl": "user_qa"}, "unknown parameter 'styl'; did you mean 'style'?"),
    (BLINK | {"metric": "anl"}, "metric 'anl' is not known; did you mean 'anls'?"),
    (BLINK | {"secondary": ["vqa_simpel"]}, "did you mean 'vqa_simple'?"),
    (BLINK | {"secondary": ["mc"]}, "a metric is named twice: mc, mc"),
    (BLINK | {"style": "multi_image_mcq"}, "style 'multi_image_mcq' is not known; did you mean 'multi_image_mc'?"),
    (BLINK | {"layout": "row"}, "layout='row'"),
    (BLINK | {"entry": "blinc"}, "entry 'blinc' is not in the catalogue; did you mean 'blink'?"),
    (BLINK | {"entry": None}, "without an entry of the catalogue"),
    (BLINK | {"samples": 1_900}, "samples 1,900, and the catalogue states 1,901 for blink"),
    (BLINK | {"layout": "mmmu"}, "blink is none of the nine data sets"),
    (BLINK | {"new_tokens": 0}, "new_tokens=0"),
    (SCIENCE | {"split": "test"}, "split 'test', and the catalogue states 'validation' for science_qa_img"),
    (SCIENCE | {"metric": "anls"}, "metric 'anls', and the catalogue states 'mc'"),
    ({"name": "hellaswagg", "entry": "hellaswag", "layout": "harness", "new_tokens": 1, "metric": "acc_norm"},
     "no definition of this name; did you mean 'hellaswag'?"),
    ({"name": "hellaswag", "entry": "hellaswag", "layout": "harness", "new_tokens": 1, "metric": "acc"},
     "metric 'acc', and its definition has 'acc_norm'"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "told"), CASES)
def test_a_task_that_says_what_cannot_be_is_refused(tmp_path: Path, task: dict[str, object], told: str) -> None:
    folder = _write(tmp_path / "tasks", "one", task)
    with pytest.raises(ConfigError) as caught:
        load_tasks(folder, CATALOGUE)
    assert told in caught.value.what


def test_defaults_are_those_of_one_file_and_a_task_overrides_them(tmp_path: Path) -> None:
    folder = _write(tmp_path / "tasks", "a", {"name": "one"}, {"name": "two", "new_tokens": 9}, **_without_name(BLINK))
    _write(folder, "b", BLINK | {"name": "three"})
    loaded = load_tasks(folder, CATALOGUE)
    assert {name: task.new_tokens for name, task in loaded.items()} == {"one": 8, "two": 9, "three": 8}


def _without_name(task: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in task.items() if key != "name"}


def _twice(folder: Path) -> None:
    _write(folder, "a", BLINK)
    _write(folder, "b", BLINK)


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _no_list(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.yaml").write_text("taks: []")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_twice, "names the task 'mine', and"),
        (_nothing, "no task in"),
        (_no_list, "unknown parameter 'taks'; did you mean 'tasks'?"),
    ],
)
def test_files_that_hold_no_tasks_or_one_twice(tmp_path: Path, make: Callable[[Path], None], told: str) -> None:
    make(tmp_path / "tasks")
    with pytest.raises(ConfigError) as caught:
        load_tasks(tmp_path / "tasks", CATALOGUE)
    assert told in caught.value.what


def test_the_digest_is_of_what_decides_prompts_and_scores() -> None:
    task = TASKS["doc_qa"]
    for same in ({"title": "other"}, {"groups": ()}, {"samples": 3}):
        assert task.model_copy(update=same).digest == task.digest
    for other in ({"style": "vqa2"}, {"new_tokens": 33}, {"instruction": "x"}, {"metric": "em"}, {"split": "train"}):
        assert task.model_copy(update=other).digest != task.digest
