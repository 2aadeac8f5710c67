"""What every model of the report was made from: run, plan, data, code, image, and the terms that follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trackyard.digest import short
from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Command, Folded, Picture, Section, Table, Text
from trackyard.recipes.overview.track import Model
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.image import NO_IMAGE
from trackyard.record.lineage.chain import chain_of
from trackyard.record.lineage.document import LINEAGE, Lineage, read_lineage
from trackyard.record.lineage.licences import UNKNOWN, LicenceRow, inherited_terms, licence_rows
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.page import chain_svg
from trackyard.record.lineage.words import problems

SHOWN = 40
"""Models at most in the table, the first ones."""


def lineage_section(models: Sequence[Model], numbers: Sequence[Path], root: Path) -> Section:
    """numbers: the metrics.json of each track. DataError for a lineage that was altered."""
    recorded = [model for model in models if (model.directory / LINEAGE).is_file()]
    bare = [model for model in models if model not in recorded]
    blocks = (*_of_models(recorded, bare, root), *_of_numbers(numbers, root))
    return Section(anchor="lineage", title="Lineage", blocks=blocks)


def _of_models(models: Sequence[Model], bare: Sequence[Model], root: Path) -> Iterator[Block]:
    yield Text(
        "What each model was made from, as the `lineage.json` beside it records it. For this page only the code at hand"
        " was hashed; the commands below re-hash every file of the chain and end in proved, or stop at the first wrong"
        " link."
    )
    if bare:
        yield Caveat(
            f"No {LINEAGE} lies beside {_few([model.name for model in bare])}: nothing here says what they were made"
            " from. `dvc repro compare` makes exports anew that are not whole."
        )
    if not models:
        return
    told = [(model, read_lineage(model.directory)) for model in models[:SHOWN]]
    yield Table(_table(told, len(models)))
    drawn = [(model, chain_of(model.directory, root)) for model in models if model.drawn]
    if drawn:
        yield _verified((model.directory for model, _ in drawn), root)
    for model, chain in drawn:
        yield _picture(model, chain)
        lacking = [f"{link.name}: {problem}" for link in chain.walk() for problem in problems(link)]
        if lacking:
            yield Folded(f"What the records of {model.name} contradict or lack here", (Bullets(tuple(lacking)),))
    rows = licences_of([chain for _, chain in drawn])
    if rows:
        yield Text(inherited_terms(rows))
        wordy = frozenset({1, 2, 3, 4, 5})
        yield Folded(f"Licences of {len(rows)} data sets and models", (Table(_data(rows), wordy, frozenset({5})),))


def _of_numbers(numbers: Sequence[Path], root: Path) -> Iterator[Block]:
    yield Text(
        "Tables and figures have a chain, too, as DVC recorded the stages: these prove the numbers of each track."
    )
    yield _verified(numbers, root)


def _verified(paths: Iterable[Path], root: Path) -> Command:
    return Command(tuple(f"trackyard lineage verify {path.relative_to(root).as_posix()}" for path in paths))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def _table(told: Sequence[tuple[Model, Lineage]], of: int) -> Grid:
    def row(model: Model, lineage: Lineage) -> tuple[str, ...]:
        code, image = lineage.spec["code"], lineage.spec["image"]
        return (
            model.name,
            f"`{lineage.run_id}`",
            "none" if lineage.plan is None else f"`{short(lineage.plan.fingerprint)}`",
            f"{len(lineage.snapshots):,}",
            f"`{short(code['commit'])}`" + (" with uncommitted changes" if code["dirty_digest"] else ""),
            f"`{short(image)}`" if image else NO_IMAGE,
            "none" if lineage.parent is None else f"`{lineage.parent.lineage.run_id}`",
        )

    return Grid(
        title="models" if of == len(told) else f"models, the first {len(told)} of {of:,}",
        header=("model", "run", "plan", "data sets", "commit", "image", "parent run"),
        rows=tuple(row(model, lineage) for model, lineage in told),
    )


def _picture(model: Model, chain: Link) -> Picture:
    links = list(chain.walk())
    kinds = {kind: sum(link.kind == kind for link in links) for kind in dict.fromkeys(link.kind for link in links)}
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    return Picture(
        name=f"lineage-{model.name.replace(' ', '-').replace('_', '-')}",
        caption=f"From {model.name} back to plan, data, code, image and the runs before it.",
        alt=f"Chain of {len(links)} links of {model.name}: {told}",
        svg=chain_svg(chain),
        png=None,
    )


def licences_of(chains: Sequence[Link]) -> list[LicenceRow]:
    """Of all chains, each row once: unknown licences first, as for one chain."""
    found = dict.fromkeys(row for chain in chains for row in licence_rows(chain))
    return sorted(found, key=lambda row: (row.licence != UNKNOWN, row.kind, row.name, row.fingerprint))


def _data(rows: Sequence[LicenceRow]) -> Grid:
    return Grid(
        title="what the drawn models were trained on and started from; share: of the trained tokens",
        header=("name", "kind", "licence", "source", "fingerprint", "share"),
        rows=tuple(
            (
                row.name,
                row.kind,
                row.licence,
                row.source,
                f"`{short(row.fingerprint)}`" if row.fingerprint else "-",
                row.share or "-",
            )
            for row in rows
        ),
    )
