"""Pile-FFN in the report: what non-negative feed-forward weights cost, and what they bring under attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from trackyard.evaluate.comparison import Comparison
from trackyard.recipes.overview.blocks import Block, Bullets, Folded, Section, Table, Text
from trackyard.recipes.overview.kept import exports, in_order, kept_picture, origin, unchanged, with_interval
from trackyard.recipes.overview.track import Headline, TrackReport, verdict
from trackyard.recipes.pile_ffn.cells import BASELINE, Cell
from trackyard.recipes.pile_ffn.report.claims import CLAIM, PRIMARY, Claim, Flag, together
from trackyard.recipes.pile_ffn.report.grids import SHORT, by_component, by_seed, comparisons, made, quality, robustness
from trackyard.recipes.pile_ffn.report.rows import ArmRow
from trackyard.recipes.pile_ffn.results import Result, read_result
from trackyard.recipes.pile_ffn.study import ARTIFACTS, MADE, TRACK
from trackyard.record.metrics_file import FILE

PIPELINE = "pipelines/pile_ffn/dvc.yaml"
AGAIN = f"dvc repro {PIPELINE}"
STAGE, SUMMARY, TRAIN, BENCHMARKS = "aggregate", "summary.json", "train", "eval_bench"
"""The first two are those of `pile_ffn.report.aggregating`, which imports torch."""

_ROWS, _PAIRS = TypeAdapter(list[ArmRow]), TypeAdapter(list[Comparison])
_FLAGS = TypeAdapter(list[Flag])


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """summary.json as the classes that it was written from. stages: every result it was made from, with its stage."""

    results: Path
    summary: Result
    rows: Sequence[ArmRow]
    pairs: Sequence[Comparison]
    claims: Sequence[Claim]
    flags: Sequence[Flag]
    stages: Sequence[tuple[str, Result]]

    @property
    def trained(self) -> list[Result]:
        return [result for stage, result in self.stages if stage == TRAIN]

    @property
    def made_benchmarks(self) -> list[str]:
        """Tasks whose items are not those of the data set they are named after."""
        measured = [result.body["tasks"] for stage, result in self.stages if stage == BENCHMARKS]
        return sorted({task for tasks in measured for task, body in tasks.items() if body["dataset"] == MADE})


def there(root: Path) -> bool:
    return (root / ARTIFACTS / "results" / SUMMARY).is_file()


def absent(root: Path) -> tuple[str, str] | None:
    """The track, and the command that makes its results, unless they are there."""
    return None if there(root) else (TRACK, AGAIN)


def gather(root: Path) -> TrackReport:
    """DataError names what is absent or was altered."""
    found = _read(root)
    header = found.summary.header
    cells = [Cell(arm=result.header.arm, seed=result.header.seed) for result in found.trained]
    # Arms that a claim would be about come first.
    claimed = {claim.arm for claim in found.claims}
    cells.sort(key=lambda cell: cell.arm not in claimed)
    tokens = sum(int(result.body["tokens"]) for result in found.trained)
    given = [
        *(["the model"] if header.model.revision == MADE else []),
        *(["the text"] if header.data.revision == MADE else []),
        *([f"the items of {' and '.join(found.made_benchmarks)}"] if found.made_benchmarks else []),
    ]
    return TrackReport(
        track=TRACK,
        section=Section(
            anchor=TRACK,
            title="Pile-FFN: non-negative feed-forward weights",
            blocks=tuple(_opening(found)),
            parts=tuple(_parts(found)),
        ),
        headlines=tuple(_headlines(found)),
        made_data=", ".join(given),
        origin=origin(
            ((stage, result.header) for stage, result in [*found.stages, (STAGE, found.summary)]), trains=TRAIN
        ),
        models=exports(TRACK, root / ARTIFACTS / "export", ((cell.name, cell.path) for cell in cells)),
        metrics={found.results / FILE: "study"},
        tokens={TRAIN: f"{tokens:,}"},
    )


def _read(root: Path) -> Read:
    results = root / ARTIFACTS / "results"
    summary = read_result(results / SUMMARY, STAGE)
    body = summary.body
    return Read(
        results=results,
        summary=summary,
        rows=_ROWS.validate_python([in_order(row, row["cells"]) for row in body["table"]]),
        pairs=_PAIRS.validate_python([with_interval(pair, "ci95") for pair in body["paired"]]),
        claims=[Claim(arm=claim["arm"], missing=tuple(claim["missing"])) for claim in body["claims"]],
        flags=_FLAGS.validate_python(body["flags"]),
        stages=[
            (stage, read_result(root / path, stage))
            for path in unchanged(root, summary.header.inputs, again=AGAIN)
            for stage in [Path(path).relative_to(ARTIFACTS).parts[0]]
        ],
    )


def _opening(found: Read) -> Iterator[Block]:
    yield Text(
        f"Does forcing feed-forward matrices of `{found.summary.header.model.id}` to be non-negative make the model"
        " harder to attack, and what does it cost? Trained arms of a seed saw the same tokens in the same order."
    )
    yield Bullets(tuple(f"`{claim.arm}`: {claim.words}." for claim in found.claims))
    yield Text(f"What a claim would be: {CLAIM}, under {' and '.join(SHORT[name] for name in PRIMARY)}.")


def _parts(found: Read) -> Iterator[Section]:
    yield Section(
        anchor=f"{TRACK}-arms",
        title="Arms, perplexity and benchmarks",
        blocks=(
            Text(
                "A degraded control is the baseline with noise, matched on the validation loss of the non-negative arm"
                " of its variant. Means are over seeds."
            ),
            Table(made(found.rows)),
            Table(quality(found.rows)),
            Text(f"By chance: {_chances(found.rows)}."),
            _figure(found, "benchmarks", "Benchmark accuracy by arm; dashed: by chance; small: seeds, with one standard"
                    " error over items.", "Benchmark accuracy of every arm beside what guessing scores"),
            Table(by_component(found.rows)),
            _figure(found, "components", "Perplexity by kind of text, on a log scale; large: mean over seeds, small:"
                    " seeds.", "Perplexity of every arm by kind of text"),
        ),
    )  # fmt: skip
    yield Section(
        anchor=f"{TRACK}-attacks",
        title="Attacks",
        blocks=(
            Text(
                "Mean rise of the loss in nats per token on tokens that the attack left alone, with its 95 % interval"
                " over documents. Lower is robuster. Random triggers, random flips and the query attack use no"
                " gradients: where one of them does more than a gradient attack, resistance to that attack is none."
            ),
            Table(robustness(found.rows, found.flags)),
            _figure(found, "robustness", "Perplexity against the rise of the loss under attack: the better arm is"
                    " further down and to the left. Large: mean over seeds, with the 95 % interval over documents;"
                    " small: seeds; hollow: the random control.", "Perplexity against the rise of the loss of every arm"
                    f" under {' and '.join(SHORT[name] for name in PRIMARY)}"),
            *_warnings(found.flags),
            Folded("Seed by seed, with secondary measures", (Table(by_seed(found.rows)),)),
            Folded(
                "In pairs on the same documents",
                (
                    Text("Arm minus reference; below 0 the arm was hurt less. Holm: corrected over the arms and attacks"
                         " of one seed and reference."),
                    Table(comparisons([pair for pair in found.pairs if pair.attack in PRIMARY]), frozenset({1, 2})),
                ),
            ),
        ),
    )  # fmt: skip
    yield Section(
        anchor=f"{TRACK}-order",
        title="Order by layer",
        blocks=(
            _figure(found, "order", "By layer: share of directions along which the stronger sentence lies further"
                    " (dashed: random directions; thin: seeds), and share of outputs of the feed-forward part that do"
                    " not fall when its input rises. A description, no proof of order.", "Order-preservation probes of"
                    " every arm by layer"),
        ),
    )  # fmt: skip


def _figure(found: Read, name: str, caption: str, alt: str) -> Block:
    return kept_picture(found.results, name, track=TRACK, caption=caption, alt=alt, again=AGAIN)


def _warnings(flags: Sequence[Flag]) -> Iterator[Block]:
    told = [f"`{subject}`: {flag}{_under(attacks)}: {meaning}." for flag, subject, attacks, meaning in together(flags)]
    if told:
        yield Folded(f"Flags ({len(told)})", (Bullets(tuple(told)),))


def _under(attacks: Sequence[str]) -> str:
    return f" ({', '.join(SHORT[name] for name in attacks)})" if attacks else ""


def _chances(rows: Sequence[ArmRow]) -> str:
    return ", ".join(
        f"{name} {'not known' if task.chance is None else f'{task.chance:.3f}'} ({task.items:,} items)"
        for name, task in rows[0].benchmarks.items()
    )


def _headlines(found: Read) -> Iterator[Headline]:
    baseline = next(row for row in found.rows if row.arm == BASELINE)
    by_arm: Mapping[str, ArmRow] = {row.arm: row for row in found.rows}
    for claim in found.claims:
        row = by_arm[claim.arm]
        yield Headline(
            what=f"{claim.arm}: perplexity, {len(row.cells)} seeds",
            value=f"{row.ppl.mean:.2f}",
            interval=f"seeds {min(row.ppl.cells.values()):.2f} to {max(row.ppl.cells.values()):.2f}",
            against=f"baseline {baseline.ppl.mean:.2f}",
            says="what the constraint costs on held-out text",
        )
        for attack in PRIMARY:
            ours, theirs = row.attacks[attack], baseline.attacks[attack]
            yield Headline(
                what=f"{claim.arm}: rise under {SHORT[attack]}, nats per token",
                value=f"{ours.delta_nats.mean:+.3f}",
                interval="one document" if ours.ci95 is None else f"{ours.ci95.low:+.3f} to {ours.ci95.high:+.3f}",
                against=f"baseline {theirs.delta_nats.mean:+.3f}",
                says=verdict(claim.words, claim.missing),
            )
