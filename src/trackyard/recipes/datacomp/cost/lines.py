"""An estimate of the track for people and as a document. Source: theworld spec sections 5, 8, 10, 11 and 16."""

from __future__ import annotations

from typing import Any

from trackyard.estimate.memory import total
from trackyard.estimate.study_lines import (
    amount,
    chain_lines,
    storage_lines,
    study_document,
    took,
    totals_line,
    verdict_lines,
)
from trackyard.recipes.datacomp.cost.arithmetic import (
    ORIGINAL_BYTES,
    PRESETS,
    PUBLISHED,
    STATE_BYTES,
    STEP_S,
    cache_gain_s,
    image_bytes,
    latent_bytes,
    plan_lines,
    rows_of,
    saves_of,
    step_hours,
)
from trackyard.recipes.datacomp.cost.bases import PUBLISHED_SHAPE, base_of, latent_shape, visible
from trackyard.recipes.datacomp.cost.estimating import StudyEstimate
from trackyard.recipes.datacomp.cost.jobs import NETWORK_STAGES
from trackyard.recipes.datacomp.pinned import PIN
from trackyard.recipes.datacomp.study import TRACK


def lines(found: StudyEstimate) -> list[str]:
    """Everything: the chain of jobs, traffic, storage, what it rests on, the verdict."""
    parts = (chain_lines(found), _traffic(found), storage_lines(found), _sources(found))
    return [title(found), "", *(line for part in parts for line in (*part, "")), *verdict_lines(found)]


def summary(found: StudyEstimate) -> list[str]:
    """Title, totals and verdict."""
    return [title(found), totals_line(found), *verdict_lines(found)]


def title(found: StudyEstimate) -> str:
    parameters, machine, work = found.parameters, found.machine, found.work
    where = f"{machine.site.name}/{machine.partition_name}, {work.gpus} x {machine.device.name}"
    return (
        f"{parameters.gemma.id}: {parameters.data.samples:,} samples of {work.rows:,} rows, "
        f"{len(parameters.runs)} runs x {len(parameters.seeds)} seeds, {len(parameters.arms)} arms, on {where}"
    )


def _traffic(found: StudyEstimate) -> list[str]:
    moved = found.traffic
    items = [f"  {name}: {amount(size)}" for name, size in moved.incoming.items()]
    if "pictures" in moved.incoming:
        items[list(moved.incoming).index("pictures")] += (
            f", at most: {moved.rows:,} rows, {found.parameters.data.planned_acceptance:.0%} of them pictures of "
            f"{ORIGINAL_BYTES:,} bytes, once"
        )
    return [
        f"over the network: {amount(moved.total)} in, {amount(moved.outgoing)} out",
        *items,
        *(_elsewhere(found) if found.network_elsewhere and moved.incoming else []),
    ]


def _elsewhere(found: StudyEstimate) -> list[str]:
    return [
        f"  jobs of {found.machine.site.name} have no network: {', '.join(NETWORK_STAGES)} run on a login or transfer "
        "node, without a limit on time;",
        f"  `trackyard run {TRACK} download --shard K/N` divides the pictures among N processes",
    ]


def _sources(found: StudyEstimate) -> list[str]:
    parameters, work, training = found.parameters, found.work, found.training
    planned, engine = training.work, training.work.engine
    base, shape = base_of(parameters.gemma), latent_shape(parameters.vae)
    measured = ", ".join(f"{name} {value:,.4g}" for name, value in work.pace.measured.items())
    gain = cache_gain_s(
        parameters.data.samples,
        work.pace.encode_s,
        epochs=parameters.training.epochs,
        further=len(parameters.trained_cells) - 1,
    )
    text = [
        f"one run, T = {took(work.whole_hours)}: download {took(work.download_hours / work.download_tasks)} at "
        f"{work.pace.rows_per_s:,.4g} rows/s"
        + (f" in each of {work.download_tasks} tasks" if work.download_tasks > 1 else "")
        + f", latents {took(work.latent_hours)} at {work.pace.encode_s * 1000:,.3g} ms on {work.gpus} device"
        + ("s" if work.gpus > 1 else "")
        + f", {training.work.steps:,} steps {took(work.step_hours)} at {work.step_s:,.3g} s, "
        f"{training.checkpoints:,} saves {took(work.save_hours)}",
        f"these are {'measured: ' + measured + '; the others planned' if measured else 'planning values'}; "
        f"speed of a step: {training.calibration.source}",
        f"latents are computed once and kept: that saves {took(gain / 3600)} of encoding",
        f"memory of a rank in training: {amount(round(total(training.memory, 'device')))}",
    ]
    if parameters.gemma.made is None:
        text += plan_lines(planned.steps, planned.trained, planned.save_every, engine.keep_checkpoints)
    seen = visible(base, parameters.world, shape)
    if seen.tokens:
        text.append(str(seen))
    if found.unpinned:
        text += [f"not pinned yet, and nothing is computed before: {', '.join(found.unpinned)}", f"  `{PIN}`"]
    return text


def to_json(found: StudyEstimate) -> dict[str, Any]:
    """Hours, bytes and counts as named; jobs in order, each with what it waits for."""
    parameters, work, moved = found.parameters, found.work, found.traffic
    return {
        "model": parameters.gemma.id,
        "encoder": parameters.vae.id,
        "unpinned": list(found.unpinned),
        "samples": parameters.data.samples,
        "rows": work.rows,
        "runs": list(parameters.runs),
        "arms": list(parameters.arms),
        "seeds": list(parameters.seeds),
        "gpus": work.gpus,
        "traffic": {"in_bytes": moved.incoming, "in_total_bytes": moved.total, "out_bytes": moved.outgoing},
        "one_run": {
            "hours": work.whole_hours,
            "download_hours": work.download_hours / work.download_tasks,
            "download_tasks": work.download_tasks,
            "latent_hours": work.latent_hours,
            "step_hours": work.step_hours,
            "save_hours": work.save_hours,
            "rows_per_s": work.pace.rows_per_s,
            "encode_s": work.pace.encode_s,
            "step_s": work.step_s,
            "save_s": work.pace.save_s,
            "measured": dict(work.pace.measured),
        },
        "memory_bytes": {item.name: round(item.bytes) for item in found.training.memory if item.where == "device"},
        **study_document(found),
        "arithmetic": _arithmetic(found),
    }


def _arithmetic(found: StudyEstimate) -> dict[str, Any]:
    """The tables of theworld spec sections 10 and 16: of this study, of the presets, of the published plan."""
    work, shape = found.training.work, latent_shape(found.parameters.vae)
    steps = PRESETS["100k"].steps
    return {
        "steps": work.steps,
        "saves": found.training.checkpoints,
        "hours_at_planning_step": step_hours(work.steps),
        "planning_step_s": STEP_S,
        "trained": work.trained,
        "weight_bytes": 4 * work.trained,
        "state_bytes": STATE_BYTES * work.trained,
        "latent_bytes": latent_bytes(shape),
        "presets": {
            name: {
                "samples": preset.samples,
                "epochs": preset.epochs,
                "steps": preset.steps,
                "warmup": preset.warmup,
                "saves": saves_of(preset.steps),
                "rows": rows_of(preset.samples),
                "hours_at_planning_step": step_hours(preset.steps),
                "image_bytes_512": preset.samples * image_bytes(512),
                "image_bytes_896": preset.samples * image_bytes(896),
                "latent_bytes": preset.samples * latent_bytes(PUBLISHED_SHAPE),
            }
            for name, preset in PRESETS.items()
        },
        "published": {
            "saves": PUBLISHED.saves(steps),
            "save_hours": PUBLISHED.save_hours(steps),
            "push_hours": PUBLISHED.push_hours(steps),
            "pushed_bytes": PUBLISHED.pushed_bytes(steps),
            "trainable": PUBLISHED.trainable,
            "checkpoint_bytes": PUBLISHED.checkpoint_bytes,
            "moment_bytes": PUBLISHED.moment_bytes,
            "stated_hours": PUBLISHED.stated_hours,
        },
    }
