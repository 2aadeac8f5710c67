"""The stage that plans a sweep: its configurations and their keys, after everything that it needs was tried once.

A sweep takes hours on a GPU. What would end it in its last hour (a task without a scorer, captions without Java, a
picture level that the model does not know) is found here. Source: nine-datasets spec sections 5 and 6.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trackyard.digest import digest_file, digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.importance import read_importance
from trackyard.evaluate.latency.sample import stratified_sample
from trackyard.evaluate.scorers.table import metric_named, require_truth
from trackyard.evaluate.sweep.configuration import Configuration, Evaluated, Sweep, configurations, write_sweep
from trackyard.evaluate.sweep.levels import KnobLevels, block_counts
from trackyard.evaluate.sweep.strategies import points
from trackyard.feed.styles import STYLES
from trackyard.feed.templates import CHOICE_TEMPLATES, templates_of
from trackyard.models.expert_routing import expert_count
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.results import write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.opening import asked_tasks, open_evaluated
from trackyard.recipes.nine.sweeping.turning import turned

STAGE = "sweep"
POOL = 4
"""Questions looked at for each that latency is measured on."""


def sweep(study: Study, say: Callable[[str], None]) -> None:
    """Write sweep.json, and for every task which questions latency is measured on.

    ConfigError for a knob that the model lacks, DataError for questions that cannot be scored, EnvironmentLacking
    where a scorer needs a program that is not there.
    """
    started = time.monotonic()
    tasks, subject = asked_tasks(study), open_evaluated(study)
    require_scorers(tasks)
    planned = _planned(study, subject)
    deepest = _most_visual(planned)
    timed = {}
    for name, of in tasks.items():
        timed[name] = _timed(study, subject, of, deepest)
        say(f"{name:16} {len(of.ids):>9,} questions, latency on {len(timed[name])} of them")
    _try_once(subject, planned, tasks, timed)
    write_sweep(study.sweep, planned)
    knobs = ", ".join(f"{name} {list(levels)}" for name, levels in planned.lists.items() if levels) or "none"
    total = len(planned.keys) * sum(len(of.ids) for of in tasks.values())
    say(f"knobs     {knobs}; {planned.strategy}: {len(planned.keys)} configurations, {total:,} answers")
    inputs = {study.sweep.relative_to(study.root).as_posix(): digest_file(study.sweep)}
    header = study.header(
        STAGE,
        inputs=inputs,
        device=str(subject.device),
        wall_s=round(time.monotonic() - started, 3),
        model=subject.digest,
    )
    write_result(study.document(STAGE), STAGE, header, {"latency": timed, "answers": total, "model": subject.name})


def _planned(study: Study, subject: Subject) -> Sweep:
    knobs, layers = study.parameters.knobs, len(decoder_blocks(subject.model))
    _require_knobs(study, subject)
    levels = KnobLevels(
        visual=knobs.visual or (),
        experts=knobs.experts or (),
        blocks=block_counts(knobs.blocks, layers) if knobs.blocks else (),
    )
    scores = fingerprint = None
    if knobs.blocks:
        found = read_importance(study.importance, model=subject.digest, blocks=layers)
        fingerprint = found.fingerprint
        scores = found.scores
    chosen = configurations(points(levels, knobs.strategy, number=knobs.points, seed=knobs.seed), scores=scores)
    evaluated = Evaluated(
        model=subject.digest,
        processor={},
        precision=study.parameters.model.precision,
        prompts=_wordings(),
        importance=fingerprint,
    )
    lists = {"visual": levels.visual, "experts": levels.experts, "blocks": levels.blocks}
    return Sweep.of(evaluated, chosen, lists=lists, strategy=knobs.strategy)


def _wordings() -> str:
    """Digest of the words that are put around questions. What a task itself says is part of its own digest: a task
    more makes no answer to the others another one."""
    return digest_json(
        {"choice": CHOICE_TEMPLATES[0], **{n: list(templates_of(style)[:1]) for n, style in STYLES.items()}}
    )


def _require_knobs(study: Study, subject: Subject) -> None:
    knobs = study.parameters.knobs
    if knobs.experts and expert_count(subject.model) is None:
        raise _no_knob("experts", subject, "its blocks have no routed experts")
    if knobs.visual and not subject.levels_matter:
        raise _no_knob("visual", subject, "no level of it changes what the model is shown")


def _no_knob(name: str, subject: Subject, why: str) -> ConfigError:
    return ConfigError(
        what=f"nine.knobs.{name} is turned, and {subject.name} does not have it",
        why=why,
        fix=f"remove nine.knobs.{name} from params.yaml",
    )


def require_scorers(tasks: Mapping[str, Asked]) -> None:
    """Every task can be scored: the first question has what its metrics need, and programs that they use are there."""
    for of in tasks.values():
        metrics = [metric_named(name) for name in of.task.metrics]
        require_truth(metrics, of.bare(of.ids[0]))
        if "cider" in of.task.metrics:
            from trackyard.evaluate.scorers.ptb import require_ptb

            require_ptb()


def _most_visual(planned: Sweep) -> int | None:
    return max((c.visual for c in planned.configurations.values() if c.visual is not None), default=None)


def _timed(study: Study, subject: Subject, of: Asked, visual: int | None) -> list[str]:
    """Ids of a task that latency is measured on, in their order, spread over what its pictures come to in tokens."""
    parameters = study.parameters.latency
    wanted = min(parameters.samples, len(of.ids))
    drawn = sorted(of.ids, key=lambda name: digest_json(["latency", parameters.seed, name]))[: POOL * wanted]
    tokens: dict[str, int] = {}
    lost = 0
    for name in drawn:
        try:
            tokens[name] = subject.prompt(of[name], of.task, visual=visual).visual_tokens
        except DataError:
            lost += 1
            # Those that may fail are recorded by the accuracy stage; they have no latency.
            if lost > study.parameters.accuracy.most_failed or lost == len(drawn):
                raise
    return stratified_sample(tokens, wanted, parameters.seed)


def _try_once(subject: Subject, planned: Sweep, tasks: Mapping[str, Asked], timed: Mapping[str, list[str]]) -> None:
    """A question of each task in turn, of those that can be shown, through the whole model at every knob's levels."""
    tried: set[tuple[str, Any]] = set()
    for configuration in planned.configurations.values():
        new = set(_states(configuration)) - tried
        if not new:
            continue
        name, of = list(tasks.items())[len(tried) % len(tasks)]
        tried |= new
        prompt = subject.prompt(of[timed[name][0]], of.task, visual=configuration.visual)
        with turned(subject.model, configuration):
            list(answer(subject, [(0, prompt, 2)], batch=1))


def _states(configuration: Configuration) -> list[tuple[str, Any]]:
    return [("visual", configuration.visual), ("experts", configuration.experts), ("blocks", configuration.blocks)]
