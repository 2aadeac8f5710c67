"""What the card of a stage states, from its specification, its plan and its result. Source: molmo2 spec section 15."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trackyard.publish.card import BaseModel, CardFacts, TrainedOn, number
from trackyard.publish.measured import Measured, share
from trackyard.recipes.reporting.link_rows import link_rows
from trackyard.record.identity import RunSpec

DEVIATIONS = (
    "Residual dropout of the report does not exist in the stock class and is 0.",
    "Embeddings of added tokens share a table with the language model and are trained at its rate.",
    "Frames are sampled uniformly with the last frame kept; the stock video processor samples left-aligned without it, "
    "so give it frames that are already sampled, with their times.",
)
LOAD = """```python
from transformers import Molmo2ForConditionalGeneration

model = Molmo2ForConditionalGeneration.from_pretrained("path/to/this/folder")
```"""


def card_facts(
    spec: RunSpec,
    result: Mapping[str, Any],
    *,
    data: Sequence[TrainedOn],
    bases: Sequence[BaseModel],
    cost: Sequence[tuple[str, str]] = (),
    use: str = LOAD,
) -> CardFacts:
    """result: the result.json of the run. cost: none while the run is not over."""
    preset = spec.parameters["model"]["preset"]
    return CardFacts(
        title=f"Molmo2 {preset}, {spec.stage}",
        what=f"The model after {spec.stage} of the track `{spec.track}`: {result['steps']:,} steps, "
        f"{result['tokens']:,} tokens.",
        task="image-text-to-text",
        library="transformers",
        tags=("molmo2", spec.track, spec.stage),
        use=use,
        metrics=_metrics(result["validation"]),
        data=data,
        bases=bases,
        training=tuple(_training(spec, result)),
        limits=tuple(_limits(spec, data)),
        cost=cost,
        lineage=tuple(link_rows(spec)),
        verify=f"trackyard lineage verify artifacts/molmo2/{spec.stage}/export",
    )


def row_shares(plan: Mapping[str, Any]) -> dict[str, float]:
    """Share of the trained rows by data set, as the plan realised the mixture."""
    shares: dict[str, float] = {}
    for entry in plan["entries"]:
        shares[entry["dataset"]] = shares.get(entry["dataset"], 0.0) + entry["row_share"]
    return shares


def _metrics(moments: Mapping[str, Any]) -> tuple[Measured, ...]:
    start, trained = moments["start"], moments["trained"]
    loss = Measured(
        name="validation loss", value=trained["loss"], n=trained["loss_rows"], over="rows", start=start["loss"]
    )
    scores = (
        share(
            f"validation {name}", score["value"], score["examples"], "questions",
            start=start["scores"][name]["value"], chance=score["chance"],
        )
        for name, score in trained["scores"].items()
    )  # fmt: skip
    return loss, *scores


def _training(spec: RunSpec, result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    stage = spec.parameters["stage"]
    optimiser = stage["optimiser"]
    yield "steps", f"{result['steps']:,}, {result['skipped_steps']:,} of them skipped"
    yield "tokens", f"{result['tokens']:,}, {result['visual_tokens']:,} of them visual"
    yield "share of padding", number(result["padding"])
    yield "rows", f"{result['rows']:,}"
    yield "packs a step, tokens a pack", f"{stage['packs_per_step']:,}, {stage['max_tokens']:,} at most"
    for part, rate in optimiser["rates"].items():
        yield f"rate of {part}", f"{rate['learning_rate']:g}, {rate['warmup_steps']} steps of warm-up"
    yield (
        "optimiser",
        f"AdamW, betas {optimiser['beta1']:g} and {optimiser['beta2']:g}, eps {optimiser['eps']:g}, weight decay "
        f"{optimiser['weight_decay']:g}, {optimiser['schedule']} schedule, norm of gradients at most "
        f"{optimiser['clip_norm']:g}",
    )
    yield "precision", spec.parameters["engine"]["precision"]
    yield (
        "training loss",
        f"{number(result['loss']['first'])} at the first step, {number(result['loss']['last'])} at the last",
    )


def _limits(spec: RunSpec, data: Sequence[TrainedOn]) -> Iterator[str]:
    if spec.parameters["model"]["start"] == "random":
        yield "The weights began as random numbers: nothing of a published model is in them."
    generated = sum(any(fact.startswith("generator=") for fact in one.source.split()) for one in data)
    if generated:
        yield f"{generated} of {len(data)} data sets are made by a generator: scores on them say that the chain works."
    yield "Scores are on validation rows of the training data sets."
    yield from DEVIATIONS
