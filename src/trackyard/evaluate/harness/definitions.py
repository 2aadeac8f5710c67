"""Task definitions of the installed lm-evaluation-harness, with their items taken from this disk.

Prompts, choices, metrics and aggregation are the package's, included by path; what is changed is where the items lie,
and that training items, which zero-shot evaluation never shows, are not read. Source: pile-ffn spec section 7.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from trackyard.errors import ConfigError
from trackyard.evaluate.harness.items import Items


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """A task of the study. path: of its definition below lm_eval/tasks. entry: in catalog/. metric: the one reported.

    config, split: what the definition loads of its data set. labels: field of an item that says which of its choices
    are right (1), where several may be; elsewhere one is.
    """

    path: str
    entry: str
    metric: str
    config: str | None
    split: str
    labels: str | None = None

    def chance(self, item: Mapping[str, Any], choices: int) -> float | None:
        """What a blind choice scores on an item; None where nothing is chosen from."""
        if choices == 1:
            return None
        right = 1 if self.labels is None else sum(item[self.labels]["labels"])
        return right / choices


DEFINITIONS: Mapping[str, Definition] = {
    "lambada_openai": Definition(
        path="lambada/lambada_openai.yaml",
        entry="lambada",
        metric="acc",
        config="default",
        split="test",
    ),
    "hellaswag": Definition(
        path="hellaswag/hellaswag.yaml",
        entry="hellaswag",
        metric="acc_norm",
        config=None,
        split="validation",
    ),
    "winogrande": Definition(
        path="winogrande/default.yaml",
        entry="winogrande",
        metric="acc",
        config="winogrande_xl",
        split="validation",
    ),
    "truthfulqa_mc1": Definition(
        path="truthfulqa/truthfulqa_mc1.yaml",
        entry="truthfulqa",
        metric="acc",
        config="multiple_choice",
        split="validation",
    ),
    "truthfulqa_mc2": Definition(
        path="truthfulqa/truthfulqa_mc2.yaml",
        entry="truthfulqa",
        metric="acc",
        config="multiple_choice",
        split="validation",
        labels="mc2_targets",
    ),
}


def require_known(names: Collection[str]) -> None:
    """ConfigError for a name that is no task of the study, or if there is none."""
    unknown = sorted(set(names) - DEFINITIONS.keys())
    if unknown or not names:
        raise ConfigError(
            what=f"no benchmark {', '.join(map(repr, unknown))}" if unknown else "no benchmark is named",
            why=f"tasks with items in catalog/ are {', '.join(DEFINITIONS)}",
            fix="correct pile_ffn.benchmarks.tasks in params.yaml",
        )


def load_tasks(items: Mapping[str, Items], scratch: Path) -> dict[str, Any]:
    """Tasks by name, in the order of `items`. scratch: an empty folder for what `datasets` writes; kept while in use.

    ConfigError for a name that is no task.
    """
    require_known(items)
    import lm_eval.tasks

    place = Path(lm_eval.tasks.__file__).parent
    folder = scratch / "tasks"
    folder.mkdir()
    for name, found in items.items():
        configuration = {
            "include": str(place / DEFINITIONS[name].path),
            "task": name,
            "dataset_path": str(found.directory.absolute()),
            "dataset_kwargs": {"cache_dir": str(scratch / "datasets")},
            "training_split": None,
            "num_fewshot": 0,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(configuration))
    # Only these: to read the thousands of definitions of the package would take longer than to evaluate a small model.
    manager = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
    with _without_rouge():
        return dict(manager.load(list(items))["tasks"])


@contextmanager
def _without_rouge() -> Iterator[None]:
    """The code beside TruthfulQA's definitions imports, for its task of free answers, a scorer that costs over a second
    (nltk and scikit-learn). A stand-in is there while the definitions load; a task that used it would fail at once."""
    name = "rouge_score"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.__dict__.update(rouge_scorer=None, scoring=None)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
