"""Molmo2 in the report: what each stage came to, how its loss fell, and what it was really trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.plan.plan import Plan
from trackyard.publish.measured import Measured, share
from trackyard.recipes.molmo2.parameters import STAGES
from trackyard.recipes.overview.blocks import Block, Caveat, Section, Table, Text
from trackyard.recipes.overview.curves import loss_curves
from trackyard.recipes.overview.mixtures import mixture_blocks
from trackyard.recipes.overview.track import Headline, Model, Origin, TrackReport
from trackyard.recipes.reporting.grid import Grid
from trackyard.recipes.reporting.labelled import labelled_metrics
from trackyard.record.image import NO_IMAGE
from trackyard.record.lineage.document import LINEAGE, Lineage, read_lineage
from trackyard.record.metrics_file import FILE
from trackyard.record.rundir import RunDirectory, open_existing
from trackyard.schema import read_document

TRACK = "molmo2"
RESULT = "trackyard-result/1"
"""Of result.json in a run directory (`recipes.molmo2.stage`, which imports torch and is therefore not imported)."""
SCORES = {"counting": "counting, accuracy", "multiple_choice": "multiple choice, accuracy", "pointing": "pointing, F1"}
MADE = "trackyard.acquire.mini"
"""Generator, in the source of a snapshot, of what the project makes itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A stage that ended. result: of its run directory; plan: the one that it was trained on."""

    stage: str
    lineage: Lineage
    run: RunDirectory
    result: Mapping[str, Any]
    plan: Plan

    @property
    def scores(self) -> Mapping[str, Any]:
        return self.result["validation"]["trained"]["scores"]  # type: ignore[no-any-return]


def there(root: Path) -> bool:
    return any((export(root, stage) / LINEAGE).is_file() for stage in STAGES)


def absent(root: Path) -> tuple[str, str] | None:
    """Stages that have no export, and the command that makes them."""
    stages = [stage for stage in STAGES if not (export(root, stage) / LINEAGE).is_file()]
    return (f"{TRACK} {' and '.join(stages)}", f"dvc repro {stages[-1]}") if stages else None


def export(root: Path, stage: str) -> Path:
    return root / "artifacts" / TRACK / stage / "export"


def gather(root: Path) -> TrackReport:
    """DataError names what was altered, or the run that is not on this machine."""
    found = [_trained(root, stage) for stage in STAGES if (export(root, stage) / LINEAGE).is_file()]
    every = {name: fact for each in found for name, fact in each.lineage.snapshots.items()}
    made = [name for name, fact in every.items() if fact.source.get("generator") == MADE]
    last = found[-1]
    return TrackReport(
        track=TRACK,
        section=Section(anchor=TRACK, title="Molmo2", blocks=tuple(_opening(found)), parts=tuple(_parts(root, found))),
        headlines=tuple(_headlines(last)),
        made_data=f"{len(made)} of {len(every)} data sets" if made else "",
        origin=Origin(
            commits=frozenset(each.lineage.spec["code"]["commit"] for each in found),
            images=frozenset(each.lineage.spec["image"] or NO_IMAGE for each in found),
        ),
        models=tuple(
            Model(name=f"{TRACK} {each.stage}", directory=export(root, each.stage), drawn=each is last)
            for each in found
        ),
        metrics={root / "artifacts" / TRACK / each.stage / FILE: each.stage for each in found},
        tokens={each.stage: f"{each.result['tokens']:,}" for each in found},
    )


def _trained(root: Path, stage: str) -> Trained:
    lineage = read_lineage(export(root, stage))
    path = root / "runs" / TRACK / stage / lineage.run_id
    again = f"trackyard run {TRACK} {stage}"
    if not path.is_dir():
        raise DataError(
            what=f"{path} is not on this machine",
            why="scores with their chance, and the plan of the mixture, are read from the run that made the export",
            fix=f"copy it from where the stage ran, or: {again}",
        )
    run = open_existing(path)
    result = read_document(run.result, RESULT, fix=again)
    file = root / "artifacts" / TRACK / stage / FILE
    known = labelled_metrics(file, stage, fix=again)["validation/loss"]
    if known != result["validation"]["trained"]["loss"]:
        raise DataError(
            what=f"{file} has a validation loss of {known}, the run of the export"
            f" {result['validation']['trained']['loss']}",
            why="the export and its numbers are of two runs",
            fix=f"dvc repro {stage}",
        )
    return Trained(stage=stage, lineage=lineage, run=run, result=result, plan=Plan.open(run.linked_plan()))


def _opening(found: Sequence[Trained]) -> Iterator[Block]:
    yield Text(
        "A vision-language model in stages: pre-training on captions, points and text; supervised fine-tuning on images"
        " and video; the same at long context. Each stage starts from the weights of the one before."
    )
    lacking = [stage for stage in STAGES if stage not in {each.stage for each in found}]
    if lacking:
        yield Caveat(f"Not there yet: {', '.join(lacking)}. Run `dvc repro {lacking[-1]}`.")


def _parts(root: Path, found: Sequence[Trained]) -> Iterator[Section]:
    yield Section(
        anchor=f"{TRACK}-stages",
        title="Stages",
        blocks=(
            Text(
                "At the start of a stage, then trained, on validation rows that no stage is trained on. Chance is what"
                " guessing scores. The summary has intervals of shares (Wilson's, as if every example stood alone);"
                " each stage is one run with one seed, so a difference between two stages within them says nothing."
            ),
            Table(_stages(found)),
            Text(f"{_skipped(found)} A skipped step is one whose gradient the guard refused."),
        ),
    )
    yield Section(
        anchor=f"{TRACK}-loss",
        title="Loss in training",
        blocks=(loss_curves({each.stage: root / "artifacts" / TRACK / each.stage / "curves.csv" for each in found}),),
    )
    yield Section(
        anchor=f"{TRACK}-mixture",
        title="What it was trained on",
        blocks=(
            Text(
                "The plan of a stage lists every row of every step before training begins. Asked is the rate of the"
                " mixture, rows and tokens are the shares that the plan realises."
            ),
            *(block for each in found for block in mixture_blocks(each.stage, each.plan.summary)),
        ),
    )


def _stages(found: Sequence[Trained]) -> Grid:
    names = list(dict.fromkeys(name for each in found for name in each.scores))
    rows: list[tuple[str, ...]] = [
        ("steps", *(f"{each.result['steps']:,}" for each in found)),
        ("rows", *(f"{each.result['rows']:,}" for each in found)),
        ("tokens", *(f"{each.result['tokens']:,}" for each in found)),
        ("of them visual", *(f"{each.result['visual_tokens']:,}" for each in found)),
        ("padding", *(f"{each.result['padding']:.1%}" for each in found)),
        ("skipped steps", *(f"{each.result['skipped_steps']:,}" for each in found)),
        (
            "training loss, first to last",
            *(f"{each.result['loss']['first']:.3f} to {each.result['loss']['last']:.3f}" for each in found),
        ),
        ("validation loss", *(_moments(each, lambda body: body["loss"], ".3f") for each in found)),
    ]
    for name in names:
        rows.append((SCORES.get(name, name), *(_score(each, name) for each in found)))
        rows.append(
            (f"{SCORES.get(name, name)}, by chance (examples)", *(_chance(each, name) for each in found)),
        )
    return Grid(
        title="stages of Molmo2, from start to trained",
        header=("number", *(each.stage for each in found)),
        rows=tuple(rows),
    )


def _score(each: Trained, name: str) -> str:
    if name not in each.scores:
        return "not measured"
    return _moments(each, lambda body: body["scores"][name]["value"], ".1%")


def _chance(each: Trained, name: str) -> str:
    score = each.scores.get(name)
    return "-" if score is None else f"{score['chance']:.1%} ({score['examples']:,})"


def _moments(each: Trained, value: Any, form: str) -> str:
    start, trained = (value(each.result["validation"][moment]) for moment in ("start", "trained"))
    return f"{start:{form}} to {trained:{form}}"


def _skipped(found: Sequence[Trained]) -> str:
    skipped = {each.stage: each.result["skipped_steps"] for each in found}
    if not any(skipped.values()):
        return f"No step of {sum(each.result['steps'] for each in found):,} was skipped."
    return f"Skipped steps: {', '.join(f'{stage} {number:,}' for stage, number in skipped.items())}."


def _headlines(last: Trained) -> Iterator[Headline]:
    before = last.result["validation"]["start"]["scores"]
    for name, score in last.scores.items():
        known = share(name, score["value"], score["examples"], "examples")
        yield Headline(
            what=f"{last.stage}: {SCORES.get(name, name)}, {score['examples']:,} examples",
            value=f"{score['value']:.1%}",
            interval="not measured" if known.low is None else f"{known.low:.1%} to {known.high:.1%}",
            against=f"{before[name]['value']:.1%} at the start of the stage, {score['chance']:.1%} by chance",
            says=f"one run, one seed: {beside_chance(known, score['chance'])}, no claim about the recipe",
        )


def beside_chance(found: Measured, chance: float) -> str:
    """By its interval; of a score without one nobody can say how much of the difference is luck."""
    if found.value <= chance:
        return "not above chance"
    if found.low is None:
        return "above chance, by how much beyond luck is not known"
    return "above chance" if found.low > chance else "not told apart from chance"
