"""An estimate of the study for people and as a document."""

from __future__ import annotations

from typing import Any

from trackyard.estimate.scoring import EXACT_UTILISATION, SEARCH_UTILISATION, scoring_rates
from trackyard.estimate.study_lines import (
    amount,
    chain_lines,
    storage_lines,
    study_document,
    totals_line,
    verdict_lines,
)
from trackyard.recipes.pile_ffn.cost.arithmetic import (
    export_bytes,
    hours,
    legacy_steps,
    packed_bytes,
    reference_rate,
    token_flops,
)
from trackyard.recipes.pile_ffn.cost.estimating import StudyEstimate

REFERENCE = "pythia-1.4b"
"""The size of which a run was published."""


def lines(found: StudyEstimate) -> list[str]:
    """Everything: the chain of jobs, storage, what it rests on, the verdict."""
    return [
        title(found),
        "",
        *chain_lines(found),
        "",
        *storage_lines(found),
        "",
        *_sources(found),
        *verdict_lines(found),
    ]


def summary(found: StudyEstimate) -> list[str]:
    """Title, totals and verdict."""
    return [title(found), totals_line(found), *verdict_lines(found)]


def title(found: StudyEstimate) -> str:
    parameters, machine, training = found.parameters, found.machine, found.parameters.training
    arms, seeds = len(parameters.seeded), len(parameters.seeds)
    where = f"{machine.site.name}/{machine.partition_name}, {machine.device.name}"
    return (
        f"{parameters.model.id}: {arms} arms x {seeds} seeds and the untouched model, "
        f"{training.tokens:,} tokens each, on {where}"
    )


def _sources(found: StudyEstimate) -> list[str]:
    parameters, step = found.parameters, found.training.step
    cells = len(parameters.trained_cells)
    text = [
        f"training: {step.tokens_per_s:,.0f} tokens/s on {found.training.work.world} x {found.machine.device.name}; "
        f"speed: {found.training.calibration.source}",
    ]
    if parameters.model.size == REFERENCE:
        one = hours(parameters.training.tokens, reference_rate())
        text.append(
            f"reference: {reference_rate():,.0f} tokens/s on one A100-80 were published, {one:,.2f} h a cell, "
            f"{cells * one:,.1f} h for {cells}"
        )
    exact, search = scoring_rates(found.machine.device)
    shares = f"{exact / 1e9:,.0f} GFLOP/s are assumed"
    if not found.machine.device.is_cpu:
        shares = (
            f"{EXACT_UTILISATION:.0%} of the fp32 peak without TF32 and {SEARCH_UTILISATION:.0%} of the bf16 peak are "
            f"assumed ({exact / 1e12:,.1f} and {search / 1e12:,.1f} TFLOP/s)"
        )
    text.append(f"evaluation and attacks, at most: {shares}")
    if found.constrained_bytes:
        text.append(f"memory of a GPU: with {amount(found.constrained_bytes)} of effective weights of the largest arm")
    return text


def to_json(found: StudyEstimate) -> dict[str, Any]:
    """Hours, bytes and tokens as named; jobs in order, each with what it waits for."""
    parameters = found.parameters
    return {
        "model": parameters.model.id,
        "arms": list(parameters.seeded),
        "seeds": list(parameters.seeds),
        "tokens_per_cell": parameters.training.tokens,
        "tokens_per_s": found.training.step.tokens_per_s,
        **study_document(found),
        "arithmetic": _arithmetic(found),
    }


def _arithmetic(found: StudyEstimate) -> dict[str, Any]:
    """The table of pile-ffn spec section 13, of this study."""
    parameters, size = found.parameters, found.training.work.parameters
    training = parameters.training
    bf16, fp32 = export_bytes(size)
    flops, recomputed = token_flops(size)
    table: dict[str, Any] = {
        "parameters": size,
        "tokens_per_step": training.windows_per_step * training.window,
        "packed_bytes_per_slice": packed_bytes(training.tokens, found.training.work.vocab),
        "export_bf16_bytes": bf16,
        "export_fp32_bytes": fp32,
        "flop_per_token": flops,
        "flop_per_token_recomputed": recomputed,
    }
    if parameters.model.size == REFERENCE:
        one = hours(training.tokens, reference_rate())
        table["reference"] = {
            "tokens_per_s": reference_rate(),
            "useful_tokens_per_s": reference_rate(useful=True),
            "cell_hours": one,
            "trained_cells_hours": len(parameters.trained_cells) * one,
            "cell_hours_if_padded": hours(training.tokens, reference_rate(useful=True)),
            "legacy_steps": {str(epochs): legacy_steps(epochs) for epochs in (5, 10)},
        }
    return table
