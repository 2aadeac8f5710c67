"""Samples of a configuration of the nine-dataset sweep: what each answer is worth, and which are drawn together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.evaluate.configuration_results import read_configuration
from trackyard.evaluate.model_comparison import Scores
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import read_records
from trackyard.imports import import_heavy
from trackyard.recipes.comparison.samples import Samples
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
            folder = self.study.place(ACCURACY, key, task)
            reason = self._problem(folder, task, str(run.spec["model"]["digest"]))
            if reason is None:
                found[f"eval/{task}/{self.asked[task].task.metric}"] = self._scores(folder, self.asked[task])
            else:
                lacks.append(f"{task}: {reason}")
        return Samples(scores=found, lacks=tuple(lacks))

    def _problem(self, folder: Path, task: str, model: str) -> str | None:
        from trackyard.recipes.nine.sweeping.scored import CONFIG

        if not (folder / CONFIG).is_file():
            return f"no answers in {folder.relative_to(self.root)}"
        if task not in self.asked:
            return "it is not among nine.tasks of params.yaml, so its questions are not known"
        result = read_configuration(folder / CONFIG, fix=AGAIN)
        if result.lineage.get("model") != model:
            return f"the answers in {folder.relative_to(self.root)} are of another model"
        if result.watermark:
            return result.watermark
        return None if result.expected == len(self.asked[task].ids) else "other questions were asked than are today"

    def _scores(self, folder: Path, of: Asked) -> Scores:
        from trackyard.recipes.nine.sweeping.scored import SAMPLES, values_of

        samples = list(read_records(folder / SAMPLES, Sample))
        values = values_of(of.task.metric, folder, samples).tolist()
        return Scores(
            values={sample.id: value for sample, value in zip(samples, values, strict=True)},
            clusters={sample.id: of.bare(sample.id).drawn_with for sample in samples},
        )
