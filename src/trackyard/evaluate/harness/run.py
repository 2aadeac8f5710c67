"""An export scored by lm-evaluation-harness through its stock Hugging Face backend, zero-shot, in fp32.

The folder is all that the harness gets: it loads the model by the stock class, without anything of this project.
Source: pile-ffn spec section 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from trackyard.evaluate.harness.definitions import DEFINITIONS, load_tasks
from trackyard.evaluate.harness.items import Items
from trackyard.evaluate.harness.outcome import Figure, Outcome, Sample, TaskOutcome
from trackyard.evaluate.harness.surroundings import alone
from trackyard.imports import import_heavy

RESAMPLES = 1_000
"""Of the standard error of a perplexity; those of means have a closed form."""
FILTER = "none"
"""Name of the filter that keeps every answer as it is, in the keys of the harness."""


def import_harness() -> None:
    """Import all that a run takes. A process that forks does it before, and early: none of its forks does it again."""
    import_heavy("datasets.config", "transformers.modeling_utils")
    with alone():
        import_heavy("lm_eval.evaluator", "lm_eval.models.huggingface")


def run_on_export(
    directory: Path, items: Mapping[str, Items], *, device: str, batch: int, limit: int | None, positions: int | None
) -> Outcome:
    """Score the plain checkpoint and tokenizer in `directory` on tasks, whose items are named by task.

    limit: items per task at most, from the first one on. positions: tokens that the model is shown at most, the last
    ones; None for as many as its configuration states.
    """
    with alone():
        from lm_eval.models.huggingface import HFLM
        from transformers import PreTrainedTokenizerFast

        # As tokenizer.json states it: for some families the automatic class puts rules of its own in their place, and
        # the model would be asked in other ids than it was trained on.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
        model = HFLM(
            pretrained=str(directory),
            tokenizer=tokenizer,
            dtype="float32",
            device=device,
            batch_size=batch,
            max_length=positions,
        )
    return run_on_model(model, items, limit=limit)


def run_on_model(model: Any, items: Mapping[str, Items], *, limit: int | None) -> Outcome:
    """The same for any model of the harness (`lm_eval.api.model.LM`)."""
    with alone(), TemporaryDirectory(prefix="trackyard-harness-") as scratch:
        from lm_eval.evaluator import evaluate

        tasks = load_tasks(items, Path(scratch))
        absent = {name: reason for name, task in tasks.items() if (reason := _unfit(model, task, limit)) is not None}
        fit = {name: task for name, task in tasks.items() if name not in absent}
        # `evaluate` and not `simple_evaluate`, which also runs programs to describe the machine.
        found: Any = evaluate(lm=model, task_dict={"tasks": fit}, limit=limit, bootstrap_iters=RESAMPLES)
    outcomes, samples = {}, []
    for name in fit:
        of, scored = items[name], [_sample(name, entry) for entry in found["samples"][name]]
        samples += scored
        outcomes[name] = TaskOutcome(
            metrics=_figures(found["results"][name]),
            n=len(scored),
            chance=_chance(name, found["samples"][name]),
            dataset=of.dataset,
            dataset_revision=of.revision,
            task_hash=_task_hash(found["samples"][name]),
        )
    return Outcome(tasks=outcomes, absent=absent, samples=tuple(samples))


def _unfit(model: Any, task: Any, limit: int | None) -> str | None:
    """Why a task cannot be asked, None if it can: a context that is too long is cut on the left, an answer is not."""
    from lm_eval.api.model import TemplateLM

    if not isinstance(model, TemplateLM):
        return None
    positions: int = model.max_length
    task.build_all_requests(limit=limit)
    for asked in task.instances:
        tokens = len(model.tok_encode(asked.args[1], add_special_tokens=False))
        if tokens > positions:
            return f"an answer of item {asked.doc_id} has {tokens} tokens, the model {positions} positions"
    return None


def _figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """From `acc,none` and `acc_stderr,none`; an error that the harness does not state is text there."""
    metrics = [
        key.removesuffix(f",{FILTER}") for key in results if key.endswith(f",{FILTER}") and "_stderr," not in key
    ]
    found = {}
    for name in metrics:
        stderr = results[f"{name}_stderr,{FILTER}"]
        found[name] = Figure(float(results[f"{name},{FILTER}"]), None if isinstance(stderr, str) else float(stderr))
    return found


def _sample(task: str, entry: Mapping[str, Any]) -> Sample:
    return Sample(
        task=task,
        doc_id=int(entry["doc_id"]),
        item=entry["doc_hash"],
        metrics={name: float(entry[name]) for name in entry["metrics"]},
        loglikelihoods=tuple(float(answers[0][0]) for answers in entry["resps"]),
    )


def _chance(task: str, entries: list[dict[str, Any]]) -> float | None:
    """Mean over the items; None as soon as one of them offers no choice."""
    of = [DEFINITIONS[task].chance(entry["doc"], len(entry["resps"])) for entry in entries]
    known = [chance for chance in of if chance is not None]
    return fmean(known) if len(known) == len(of) else None


def _task_hash(entries: list[dict[str, Any]]) -> str:
    parts = (entry[key] for entry in entries for key in ("doc_hash", "prompt_hash", "target_hash"))
    return hashlib.sha256("".join(parts).encode()).hexdigest()
