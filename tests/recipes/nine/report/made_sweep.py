"""A sweep with numbers that are known beforehand: more tokens, experts and blocks are slower and, mostly, better."""

from __future__ import annotations

import zlib
from dataclasses import replace
from itertools import product
from statistics import fmean

import numpy as np

from trackyard.digest import digest_json
from trackyard.evaluate.completeness import Tally
from trackyard.evaluate.configuration_results import RealisedVisual
from trackyard.evaluate.intervals import MetricValue
from trackyard.evaluate.latency.circumstances import Circumstances
from trackyard.evaluate.latency.statistics import LatencySummary, Part, Summary
from trackyard.evaluate.model_comparison import Scores
from trackyard.evaluate.statistics import Interval
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.recipes.nine.report.gathering import Gathered, put_together
from trackyard.recipes.nine.report.measured import Measurement, SweepFacts, TaskFacts

QUESTIONS = 24
TASKS = (
    TaskFacts(name="coco_2014_vqa", title="VQA v2", metric="vqa"),
    TaskFacts(name="text_vqa", title="TextVQA", metric="vqa"),
    TaskFacts(name="okvqa", title="OK-VQA", metric="vqa"),
    TaskFacts(name="science_qa_img", title="ScienceQA", metric="mc", chance=0.38),
    TaskFacts(name="st_qa", title="ST-VQA", metric="anls"),
    TaskFacts(name="doc_qa", title="DocVQA", metric="anls"),
    TaskFacts(name="tally_qa", title="TallyQA", metric="em"),
    TaskFacts(name="mmmu", title="MMMU", metric="mmmu", chance=0.25),
    TaskFacts(name="coco_caption", title="COCO captions", metric="cider"),
)
LEVELS = list(product((1, 3, 6), (4, 8, 12), (4, 6, 8)))
KEYS = {levels: digest_json(list(levels)) for levels in LEVELS}
IDS = [f"made:validation:{number:02d}" for number in range(QUESTIONS)]
ALONE = Circumstances(
    device="a processor", kind="cpu", driver=None, clocks_mhz=None, precision="float32", attention="sdpa",
    compiled=False, cores=2, threads=1, load_1min=0.9, gpu_processes=None, torch="2.13",
)  # fmt: skip
SWEEP = SweepFacts(
    model="tiny-molmo2", digest="d" * 64, precision="fp32", strategy="balanced", keys=tuple(KEYS.values()),
    ending="natural", machines=(ALONE,),
)  # fmt: skip


def made_scores(dataset: str, key: str) -> Scores:
    """The same questions are hard for every configuration; a better one answers more of them."""
    visual, experts, depth = next(levels for levels, found in KEYS.items() if found == key)
    hardness = np.random.default_rng(zlib.crc32(dataset.encode())).random(QUESTIONS)
    noise = np.random.default_rng(zlib.crc32(f"{dataset}{key}".encode())).random(QUESTIONS) * 0.15
    skill = 0.1 + 0.05 * visual + 0.02 * experts + 0.03 * depth + 0.1
    values = (hardness + noise < skill).astype(np.float64)
    if dataset == "coco_caption":
        values *= 1.3
    return Scores(
        values=dict(zip(IDS, values.tolist(), strict=True)),
        clusters={name: str(number // 2) for number, name in enumerate(IDS)},
    )


def made_result(task: TaskFacts, levels: tuple[int, int, int]) -> Measurement:
    visual, experts, depth = levels
    key = KEYS[levels]
    value = fmean(made_scores(task.name, key).values.values())
    shift = zlib.crc32(task.name.encode()) % 7
    prefill = 4.0 + shift + visual * 1.1 + experts * 0.2 + depth * 0.8
    decode = 3.0 + depth * 1.2 + experts * 0.15
    found: dict[Part, float] = {
        "total": prefill + decode + 2.0 + visual * 0.4, "prefill": prefill, "decode": decode,
        "vision": 2.0 + visual * 0.4, "step": decode / 3,
    }  # fmt: skip
    return Measurement(
        key=key,
        configuration=Configuration(visual=visual, experts=experts, blocks=(*range(depth - 1), 7)),
        dataset=task.name,
        split="validation",
        metric={
            task.metric: MetricValue(
                value=value, lo=max(0.0, value - 0.18), hi=value + 0.17, method="clustered bootstrap"
            )
        },
        tally=Tally(expected=QUESTIONS, ok=QUESTIONS, failed=0),
        realised_visual=RealisedVisual(mean=36.0 * visual + 14, P50=36.0 * visual, P95=36.0 * visual + 36),
        n_out=2.5 + depth / 8,
        cap_rate=0.0,
        unparsed_rate=0.0,
        times=LatencySummary(
            parts={part: summary(value) for part, value in found.items()}, counted=8, warmup=3, invalid=0, n_out=3.1
        ),
    )


def summary(p50: float) -> Summary:
    return Summary(
        n=8, mean=p50, std=0.1 * p50, min=0.9 * p50, max=1.8 * p50, p50=p50, p95=1.4 * p50, p99=1.7 * p50,
        p50_ci95=Interval(0.96 * p50, 1.05 * p50),
    )  # fmt: skip


def made_results() -> list[Measurement]:
    return [made_result(task, levels) for task in TASKS for levels in LEVELS]


def made_gathered(**changes: object) -> Gathered:
    return put_together(replace(SWEEP, **changes), TASKS, made_results(), made_scores)  # type: ignore[arg-type]
