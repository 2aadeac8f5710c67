"""The track as jobs: what waits for what, as in pipelines/datacomp/dvc.yaml, and how long each works.

Nothing here was measured but what `Pace` says; theworld spec section 10 has the formula.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trackyard.estimate.forecast import Forecast, Machine
from trackyard.estimate.jobs import Job, Step, job_name
from trackyard.estimate.scoring import scoring_rates
from trackyard.estimate.study import attempts_of, start_hours, usable_hours
from trackyard.recipes.datacomp.cost.arithmetic import whole_s
from trackyard.recipes.datacomp.cost.bases import base_of
from trackyard.recipes.datacomp.cost.planning import Pace
from trackyard.recipes.datacomp.cost.traffic import PICTURES, evaluation_pictures, items_of, rows_asked, traffic
from trackyard.recipes.datacomp.parameters import DatacompParameters

NETWORK_STAGES = ("metadata", "download", "models", "eval_data")
"""They run where there is a network; all others open no socket."""
GPU_STAGES = ("latents", "eval_latents", "train", "evaluate")
NETWORK_BYTES_S = 1e8
SELECTED_PER_S, CURATED_PER_S = 2e5, 100.0
"""Rows put in order by one process; pictures looked at by one core."""
CORES = 16
"""That curating takes, where a node has them."""
MADE_MODELS_S, COMPARE_S = 90.0, 300.0
NEW_TOKEN_S = 0.03
"""Of one token of a batch of answers: bound by memory, and by the stock class."""
OPTIONS = {"blink": 4, "vsr": 2, "spatial": 0, "captions": 2}
GENERATED: Mapping[str, Literal["short", "long"]] = {"blink": "short", "vsr": "short", "spatial": "long"}
"""Length of an answer token by token; captions are only scored."""


def chain(parameters: DatacompParameters) -> list[Step]:
    """Every stage in an order in which nothing waits for what comes later."""
    found = [
        Step("metadata", None, ()),
        Step("select", None, ("metadata",)),
        Step("download", None, ("select",)),
        Step("models", None, ()),
        Step("eval_data", None, ()),
        Step("curate", None, ("download", "select", "eval_data")),
        Step("latents", None, ("models", "download", "curate")),
        Step("eval_latents", None, ("models", "eval_data")),
    ]
    trained = [job_name("train", label) for label in parameters.trained_cells]
    found += [Step("train", label, ("models", "download", "curate", "latents")) for label in parameters.trained_cells]
    found += [Step("evaluate", arm, ("models", *trained, "eval_data", "eval_latents")) for arm in parameters.arms]
    measured = [job_name("evaluate", arm) for arm in parameters.arms]
    whole = [step.stage for step in found if step.item is None]
    return [*found, Step("compare", None, (*whole, *trained, *measured))]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the jobs of a study are computed from."""

    parameters: DatacompParameters
    training: Forecast
    pace: Pace

    @property
    def machine(self) -> Machine:
        return self.training.machine

    @property
    def gpus(self) -> int:
        """G: side by side, for latents and in a training."""
        return self.training.work.world

    @property
    def step_s(self) -> float:
        return self.pace.step_s or self.training.step.seconds

    def job(self, step: Step) -> Job:
        """One stage with its size."""
        parts = self._parts(step)
        hours, tasks = sum(parts), 1
        if step.stage == "download":
            tasks = self.download_tasks
            hours = hours / tasks
        limited = step.stage not in NETWORK_STAGES or self.machine.site.compute_has_network
        attempts = attempts_of(hours, self.machine) if limited else 1
        goes_on = step.stage in ("download", "latents", "eval_latents", "train", *NETWORK_STAGES)
        gpus = 0
        if step.stage in GPU_STAGES and not self.machine.device.is_cpu:
            gpus = self.gpus if step.stage in ("train", "latents") else 1
        return Job(
            stage=step.stage,
            item=step.item,
            gpus=gpus,
            hours=hours + start_hours(self.machine) * attempts,
            longest=0.0 if goes_on else max(parts),
            attempts=attempts,
            waits_for=step.waits_for,
            tasks=tasks,
        )

    @property
    def download_hours(self) -> float:
        """Of one process."""
        return self.rows / self.pace.rows_per_s / 3600

    @property
    def rows(self) -> int:
        return rows_asked(self.parameters)

    @property
    def download_tasks(self) -> int:
        """Of an array whose every task ends within one job, where jobs have a network; one process elsewhere."""
        room = usable_hours(self.machine)
        if room is None or not self.machine.site.compute_has_network:
            return 1
        blocks = math.ceil(self.rows / self.parameters.data.block_rows)
        return max(1, min(blocks, math.ceil(self.download_hours / max(room, 1e-9))))

    @property
    def latent_hours(self) -> float:
        """Of all GPUs together."""
        return self.parameters.data.samples * self.pace.encode_s / self.gpus / 3600

    @property
    def step_hours(self) -> float:
        return self.training.work.steps * self.step_s / 3600

    @property
    def save_hours(self) -> float:
        return self.training.checkpoints * self.pace.save_s / 3600

    @property
    def whole_hours(self) -> float:
        """T of the specification: download, latents and one run, one after the other."""
        return (
            whole_s(
                rows=self.rows,
                rows_per_s=self.pace.rows_per_s * self.download_tasks,
                samples=self.parameters.data.samples,
                encode_s=self.pace.encode_s,
                gpus=self.gpus,
                steps=self.training.work.steps,
                step_s=self.step_s,
                saves=self.training.checkpoints,
                save_s=self.pace.save_s,
            )
            / 3600
        )

    def _parts(self, step: Step) -> list[float]:
        """Hours of the parts of a stage that are kept one by one."""
        parameters = self.parameters
        incoming = traffic(parameters, self.training.work.trained).incoming
        match step.stage:
            case "metadata":
                return [incoming.get("tables of the pool", 0) / NETWORK_BYTES_S / 3600]
            case "select":
                return [self.rows / SELECTED_PER_S / 3600]
            case "download":
                return [self.download_hours]
            case "models":
                fetched = incoming.get("language model", 0) + incoming.get("image VAE", 0)
                made = parameters.gemma.made is not None or parameters.vae.made is not None
                return [(fetched / NETWORK_BYTES_S + (MADE_MODELS_S if made else 0.0)) / 3600]
            case "eval_data":
                return [incoming.get("evaluation sets", 0) / NETWORK_BYTES_S / 3600]
            case "curate":
                cores = min(CORES, self.machine.partition.cores_per_node)
                return [self.rows * parameters.data.planned_acceptance / CURATED_PER_S / cores / 3600]
            case "latents":
                return [self.latent_hours]
            case "eval_latents":
                return [evaluation_pictures(parameters) * self.pace.encode_s / 3600]
            case "train":
                return [self.step_hours, self.save_hours]
            case "evaluate":
                return self._sets() * len(parameters.cells_of(str(step.item)))
            case _:
                return [COMPARE_S * parameters.evaluation.resamples / 10_000 / 3600]

    def _sets(self) -> list[float]:
        """Of one arm at one seed: prompts of every option through the model, and answers token by token."""
        parameters, base = self.parameters, base_of(self.parameters.gemma)
        asked, (_, rate) = parameters.evaluation, scoring_rates(self.machine.device)
        tokens = self.training.work.attended.length
        picture = 2 * base.tower.weights * base.patches
        prompt = 2 * base.shape.weights * tokens
        found = []
        for name, count in items_of(parameters).items():
            passes = count * PICTURES[name] * (OPTIONS[name] + 1)
            length = GENERATED.get(name)
            new = asked.new_tokens[length] if length else 0
            answers = count / asked.batch * new * NEW_TOKEN_S
            found.append((passes * (picture + prompt) / rate + answers) / 3600)
        return found
