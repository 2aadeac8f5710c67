"""TheWorld in the report: how many pictures were there to train on, and what their latents add to the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from trackyard.recipes.datacomp.cells import BASE, WORLD, Cell
from trackyard.recipes.datacomp.report.claims import CLAIM, Claim
from trackyard.recipes.datacomp.report.gathering import ALONE, TRAIN
from trackyard.recipes.datacomp.report.pairs import Pair
from trackyard.recipes.datacomp.report.table import TITLES, Row
from trackyard.recipes.datacomp.report.writing import MEANT, compared, scores
from trackyard.recipes.datacomp.results import PIPELINE, Result, read_result
from trackyard.recipes.datacomp.study import ARTIFACTS, MADE, TRACK
from trackyard.recipes.overview.blocks import Block, Bullets, Folded, Section, Table, Text
from trackyard.recipes.overview.funnel import funnel_blocks
from trackyard.recipes.overview.kept import exports, kept_picture, origin, unchanged, with_interval
from trackyard.recipes.overview.track import Headline, TrackReport, verdict
from trackyard.record.metrics_file import FILE

STAGE, SUMMARY = "compare", "summary.json"
"""Of `datacomp.report.comparing`, which imports torch and is therefore not imported."""
AGAIN = f"dvc repro {PIPELINE}"
RESULT_OF = {"images": "download", "curated": "curate"}
"""Results that are not named as the folder that holds them."""

_ROWS, _PAIRS = TypeAdapter(list[Row]), TypeAdapter(list[Pair])


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """summary.json as the classes that it was written from. stages: every result it was made from, with its name."""

    results: Path
    summary: Result
    rows: Sequence[Row]
    pairs: Sequence[Pair]
    claims: Sequence[Claim]
    stages: Sequence[tuple[str, Result]]

    @property
    def alone(self) -> Mapping[str, Result]:
        return {name: result for name, result in self.stages if name in ALONE}

    @property
    def trained(self) -> list[Result]:
        return [result for name, result in self.stages if name == TRAIN]


def there(root: Path) -> bool:
    return (root / ARTIFACTS / "results" / SUMMARY).is_file()


def absent(root: Path) -> tuple[str, str] | None:
    """The track, and the command that makes its results, unless they are there."""
    return None if there(root) else (TRACK, AGAIN)


def gather(root: Path) -> TrackReport:
    """DataError names what is absent or was altered."""
    found = _read(root)
    header = found.summary.header
    made = [name for name in (header.base.gemma, header.base.vae) if name.endswith(f"@{MADE}")]
    made += ["the pictures"] if found.alone["metadata"].body["origin"].get("revision") == MADE else []
    made += ["the questions"] if found.alone["eval_data"].body["source"] == MADE else []
    supervised = sum(int(result.body["supervised_tokens"]) for result in found.trained)
    cells = [Cell(name=result.header.cell, seed=result.header.seed) for result in found.trained]
    # The run that the track is about comes first.
    cells.sort(key=lambda cell: (cell.name != WORLD, cell.label))
    return TrackReport(
        track=TRACK,
        section=Section(
            anchor=TRACK,
            title="TheWorld: latents of a video world model",
            blocks=tuple(_opening(found)),
            parts=tuple(_parts(found)),
        ),
        headlines=tuple(_headlines(found)),
        made_data=", ".join(made),
        origin=origin(
            ((stage, result.header) for stage, result in [*found.stages, (STAGE, found.summary)]), trains=TRAIN
        ),
        models=exports(TRACK, root / ARTIFACTS / "export", ((cell.label, cell.path) for cell in cells)),
        metrics={found.results / FILE: "study"},
        tokens={TRAIN: f"{supervised:,} supervised"},
    )


def _read(root: Path) -> Read:
    results = root / ARTIFACTS / "results"
    summary = read_result(results / SUMMARY, STAGE)
    body = summary.body
    rows = [
        with_interval(row, "ci95") | {"ci95_of": with_interval(row["ci95_of"], *row["ci95_of"])}
        for row in body["table"]
    ]
    folders = {
        path: Path(path).relative_to(ARTIFACTS).parts[0] for path in unchanged(root, summary.header.inputs, again=AGAIN)
    }
    return Read(
        results=results,
        summary=summary,
        rows=_ROWS.validate_python(rows),
        pairs=_PAIRS.validate_python([with_interval(pair, "ci95") for pair in body["paired"]]),
        claims=[
            Claim(benchmark=claim["benchmark"], missing=tuple(claim["missing"])) for claim in body["verdict"]["claims"]
        ],
        stages=[
            (name, read_result(root / path, name))
            for path, folder in folders.items()
            for name in [RESULT_OF.get(folder, folder)]
        ],
    )


def _opening(found: Read) -> Iterator[Block]:
    base = found.summary.header.base
    yield Text(
        f"Does a second visual input, latents of `{base.vae}` through a trained projector, improve answers of"
        f" `{base.gemma}` to spatial questions beyond what the same tokens carry without image content? One frame is"
        " seen: nothing is about time."
    )
    margins = found.summary.body["verdict"]["margins"]
    yield Bullets(
        (
            *(f"{TITLES[claim.benchmark]}: {claim.words}." for claim in found.claims),
            *(
                f"Captions, seed {margin['seed']}: {WORLD} scores {margin['found']:+.3f} more than {margin['control']}"
                f" ({'at least' if margin['reached'] else 'not'} the {margin['least']:g} that was asked for)."
                for margin in margins
            ),
        )
    )
    yield Text(f"What a claim would be: {CLAIM}, on the same items, its branch audited.")


def _parts(found: Read) -> Iterator[Section]:
    yield Section(
        anchor=f"{TRACK}-funnel",
        title="From addresses to samples",
        blocks=tuple(funnel_blocks({name: result.body for name, result in found.alone.items()})),
    )
    arms = list(dict.fromkeys(row.arm for row in found.rows))
    by_set = {row.set: row for row in found.rows}
    yield Section(
        anchor=f"{TRACK}-scores",
        title="Scores",
        blocks=(
            Table(scores(found.rows)),
            Bullets(
                tuple(
                    f"{TITLES[name]}: {'unweighted mean over tasks' if row.metric == 'macro' else 'share of items'},"
                    f" {row.items:,} items"
                    + ("." if row.chance is None else f"; guessing or one constant answer scores {row.chance:.3f}.")
                    for name, row in by_set.items()
                )
            ),
            _figure(found, "accuracy", "Score of every arm on every set. Large: mean over seeds, with the 95 % interval"
                    " over items; small: seeds; dashed: what guessing, or one constant answer, scores.", _heard(found)),
            Folded("What the arms are", (Bullets(tuple(f"`{arm}`: {MEANT[arm]}." for arm in arms)),)),
            Folded(
                "In pairs on the same items",
                (
                    Text("Detectable: the true difference that so many items show four times in five. Holm: corrected"
                         " over all pairs of a seed."),
                    Table(compared(found.pairs), frozenset({1})),
                ),
            ),
            _figure(found, "training", "Loss in training, nats per supervised token, by run and seed.",
                    f"Training loss of {len(found.trained)} runs by step"),
        ),
    )  # fmt: skip


def _figure(found: Read, name: str, caption: str, alt: str) -> Block:
    return kept_picture(found.results, name, track=TRACK, caption=caption, alt=alt, again=AGAIN)


def _heard(found: Read) -> str:
    """The figure of scores in words."""
    ours = {row.set: row.score for row in found.rows if row.arm == WORLD}
    theirs = {row.set: row.score for row in found.rows if row.arm == BASE}
    told = [
        f"{TITLES[name]} {WORLD} {score:.3f}" + (f", {BASE} {theirs[name]:.3f}" if name in theirs else "")
        for name, score in ours.items()
    ]
    return f"Scores of all arms by set: {'; '.join(told)}" if told else "Scores of all arms by set"


def _headlines(found: Read) -> Iterator[Headline]:
    claims = {claim.benchmark: claim for claim in found.claims}
    base = {row.set: row for row in found.rows if row.arm == BASE}
    for row in found.rows:
        if row.arm != WORLD:
            continue
        claim = claims[row.set]
        against = [f"{BASE} {base[row.set].score:.3f}"] if row.set in base else []
        against += [] if row.chance is None else [f"{row.chance:.3f} by chance"]
        yield Headline(
            what=f"{TITLES[row.set]}: {row.metric}, {row.items:,} items, {len(row.scores)} seeds",
            value=f"{row.score:.3f}",
            interval=f"{row.ci95.low:.3f} to {row.ci95.high:.3f}",
            against=", ".join(against) or "nothing",
            says=verdict(claim.words, claim.missing),
        )
