"""Samples of a configuration of the nine-dataset sweep: what each answer is worth, and which are drawn together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from trackyard.errors import DataError
from trackyard.evaluate.configuration_results import read_configuration
from trackyard.evaluate.model_comparison import Scores
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import read_records
from trackyard.imports import import_heavy
from trackyard.recipes.comparison.samples import Samples, Scored
from trackyard.recipes.nine.parameters import load_nine
from trackyard.recipes.nine.report.gathering import AGAIN
from trackyard.recipes.nine.study import Study
from trackyard.record.comparing.summary import RunSummary

if TYPE_CHECKING:
    from trackyard.recipes.nine.sweeping.asked import Asked

ACCURACY, CONFIGURATION = "accuracy", "configuration"


@dataclass(frozen=True)
class NineAnswers:
    """Answers of the sweep in the repository `root`, under the parameters in force. Questions are opened once."""

    root: Path

    @cached_property
    def study(self) -> Study:
        return Study(root=self.root, parameters=load_nine(self.root / "params.yaml"))

    @cached_property
    def asked(self) -> dict[str, Asked]:
        import_heavy("trackyard.recipes.nine.sweeping.opening")
        from trackyard.recipes.nine.sweeping.opening import asked_tasks

        return asked_tasks(self.study)

    def of(self, run: RunSummary) -> Samples:
        """DataError for answers that were altered, or questions that are not there any more."""
        if run.stage != CONFIGURATION:
            return Samples(lacks=(f"no samples are stored of the stage {run.stage}; those of a configuration are",))
        key, found, lacks = str(run.spec["parameters"]["key"]), {}, []
        for task in run.spec["parameters"]["tasks"]:
            read = self._read(self.study.place(ACCURACY, key, task), task, str(run.spec["model"]["digest"]))
            if isinstance(read, Scored):
                found[f"eval/{task}/{self.asked[task].task.metric}"] = read
            else:
                lacks.append(f"{task}: {read}")
        return Samples(scores=found, lacks=tuple(lacks))

    def _read(self, folder: Path, task: str, model: str) -> Scored | str:
        """What the answers are worth, or why nothing is known of them."""
        from trackyard.recipes.nine.sweeping.scored import CONFIG, SAMPLES, values_of

        if not (folder / CONFIG).is_file():
            return f"no answers in {folder.relative_to(self.root)}"
        if task not in self.asked:
            return "it is not among nine.tasks of params.yaml, so its questions are not known"
        result, of = read_configuration(folder / CONFIG, fix=AGAIN), self.asked[task]
        if result.lineage.get("model") != model:
            return f"the answers in {folder.relative_to(self.root)} are of another model"
        if result.watermark:
            return result.watermark
        if of.task.metric not in result.metric:
            return f"its answers were not scored by {of.task.metric}, but by {', '.join(result.metric)}"
        samples = list(read_records(folder / SAMPLES, Sample))
        if sorted(sample.id for sample in samples) != sorted(of.ids):
            return "other questions were asked than are today"
        values = values_of(of.task.metric, folder, samples).tolist()
        stated = result.metric[of.task.metric].value
        if not isclose(fmean(values), stated, abs_tol=1e-9):
            raise DataError(
                what=f"the mean {of.task.metric} of {folder / SAMPLES} is {fmean(values):.6g}, and {CONFIG} beside it "
                f"says {stated:.6g}",
                why="one of the two was altered, and tests in pairs would be of other answers than the metric",
                fix=AGAIN,
            )
        return Scored(
            asked=of.digest,
            scores=Scores(
                values={sample.id: value for sample, value in zip(samples, values, strict=True)},
                clusters={sample.id: of.bare(sample.id).drawn_with for sample in samples},
            ),
        )
