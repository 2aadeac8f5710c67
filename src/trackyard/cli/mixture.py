"""`trackyard mixture`: how often each dataset is drawn, before anything is planned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.catalog.entries import Entry
    from trackyard.cli.stage_settings import StageSettings

app = typer.Typer(help="Rates of the datasets: shown, compared, drawn.", no_args_is_help=True)

Stage = Annotated[str, typer.Argument(help="stage1, stage2 or stage3")]
Params = Annotated[Path, typer.Option("--params", help="parameter file")]
Sizes = Annotated[str, typer.Option(help="rows: of the snapshot that the file names, or published, of the catalog")]
MaxEpochs = Annotated[float | None, typer.Option(min=1e-6, help="limit of repeats, in place of the mixture's own")]
RowsPerPack = Annotated[float | None, typer.Option(min=1e-6, help="rows per pack, where repeats are estimated")]

PARAMETERS = Path("params.yaml")


@app.command()
def show(
    stage: Stage = "stage2",
    parameters: Params = PARAMETERS,
    sizes: Sizes = "snapshot",
    strict: Annotated[bool, typer.Option("--strict", help="stop if a dataset is missing")] = False,
    max_epochs: MaxEpochs = None,
    rows_per_pack: RowsPerPack = None,
    as_json: AsJson = False,
) -> None:
    """Rows, reference rate, rate in force and repeats of every entry; what is missing, and how far that is off."""
    from trackyard.cli.mixture_reading import read_mixture

    found = read_mixture(
        repository_root(), _settings(stage, parameters), catalogue=_catalogue(sizes), strict=strict,
        max_epochs=max_epochs, rows_per_pack=rows_per_pack,
    )  # fmt: skip
    if as_json:
        print_json({"schema": "trackyard-mixture/1", "sizes": sizes} | found.document())
        return
    row = "{:32} {:22} {:>10} {:>11} {:>10} {:>10} {:>8}"
    print(row.format("entry", "group", "rows", "reference %", "realised %", "difference", "epochs"))
    for entry in found.mixture.entries:
        count, epochs = found.rows.get(entry.dataset), found.epochs(entry.name)
        print(
            row.format(
                entry.name,
                entry.group,
                "missing" if entry.name in found.mixture.missing else f"{count:,}" if count else "unknown",
                f"{100 * entry.reference_rate:.3f}",
                f"{100 * entry.rate:.3f}",
                f"{100 * (entry.rate - entry.reference_rate):+.3f}",
                "" if entry.name in found.mixture.missing else f"{epochs:.2f}" if epochs is not None else "unknown",
            )
        )
    for name, (reference, rate) in found.groups().items():
        print(f"group {name}: {reference:.3%} of the reference, {rate:.3%} realised")
    print(f"{len(found.mixture.entries)} entries, {len(found.mixture.missing)} missing")
    print(f"total variation: {found.mixture.distance:.4f}")
    print(f"epochs over {found.draws:,.0f} rows: {found.settings.packs:,} packs, {found.draws_from}")
    for cut in found.capped:
        print(
            f"capped: {cut.dataset} from {cut.asked_rate:.3%} and {cut.asked_epochs:.1f} epochs to {cut.rate:.3%} and "
            f"{cut.epochs:.1f}"
        )
    for name in found.mixture.missing:
        print(f"missing: {name}")
    for name in found.unsized:
        print(f"left out: {name}, of which nobody states the rows")


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="parameter file, or FILE:STAGE; stage2 where none is named")],
    b: Annotated[str, typer.Argument(help="the other one")],
    sizes: Sizes = "catalog",
    as_json: AsJson = False,
) -> None:
    """Rates of two mixtures side by side, dataset by dataset, and their total variation."""
    from trackyard.cli.mixture_reading import by_dataset, read_mixture

    catalogue = _catalogue(sizes)
    resolve = {alias: entry.name for entry in (catalogue or {}).values() for alias in entry.aliases}
    settings = [_settings(stage, file) for file, stage in (_file_and_stage(a), _file_and_stage(b))]
    rates = [by_dataset(read_mixture(repository_root(), one, catalogue=catalogue), resolve) for one in settings]
    names = list(dict.fromkeys([*rates[0], *rates[1]]))
    pairs = [(name, rates[0].get(name, 0.0), rates[1].get(name, 0.0)) for name in names]
    distance = 0.5 * sum(abs(one - other) for _, one, other in pairs)
    if as_json:
        entries = [{"dataset": name, "a": one, "b": other, "difference": other - one} for name, one, other in pairs]
        body = {"a": a, "b": b, "sizes": sizes, "datasets": entries, "total_variation": distance}
        print_json({"schema": "trackyard-mixture-difference/1"} | body)
        return
    print(f"a: {a}\nb: {b}")
    row = "{:32} {:>8} {:>8} {:>10}"
    print(row.format("dataset", "a %", "b %", "difference"))
    for name, one, other in sorted(pairs, key=lambda pair: -abs(pair[1] - pair[2])):
        print(row.format(name, f"{100 * one:.3f}", f"{100 * other:.3f}", f"{100 * (other - one):+.3f}"))
    print(f"{len(names)} datasets, {sum(one != other for _, one, other in pairs)} of them drawn differently")
    print(f"total variation: {distance:.4f}")


@app.command()
def plot(
    stage: Stage = "stage2",
    out: Annotated[Path, typer.Option(help="picture to write: .png or .svg")] = Path("mixture.png"),
    parameters: Params = PARAMETERS,
    sizes: Sizes = "snapshot",
    max_epochs: MaxEpochs = None,
    rows_per_pack: RowsPerPack = None,
) -> None:
    """Draw rates, repeats and, where there is a plan, the share of tokens of every entry."""
    if out.suffix not in (".png", ".svg"):
        raise ConfigError(
            what=f"--out {out}", why="pictures are written as PNG or SVG", fix="name a file that ends in .png or .svg"
        )
    from trackyard.cli.mixture_reading import read_mixture
    from trackyard.plan.mixture_figure import Bar, mixture_figure

    found = read_mixture(
        repository_root(), _settings(stage, parameters), catalogue=_catalogue(sizes), max_epochs=max_epochs,
        rows_per_pack=rows_per_pack,
    )  # fmt: skip

    planned = {entry["name"]: entry for entry in found.summary["entries"]} if found.summary else {}
    bars = [
        Bar(
            name=entry.name,
            group=entry.group,
            reference_rate=entry.reference_rate,
            rate=entry.rate,
            epochs=found.epochs(entry.name),
            tokens=planned[entry.name]["tokens"] if planned else None,
            visual_tokens=planned[entry.name]["visual_tokens"] if planned else None,
        )
        for entry in found.mixture.entries
    ]
    limit = found.settings.mixture.max_epochs if max_epochs is None else max_epochs
    title = f"Mixture of {stage}, {parameters}: {found.settings.packs:,} packs, {found.draws:,.0f} rows"
    mixture_figure(bars, title=title, max_epochs=limit, out=out)
    print(f"wrote {out}")


def _settings(stage: str, parameters: Path) -> StageSettings:
    from trackyard.cli.stage_settings import read_settings, require_stage

    require_stage(stage, command="mixture show stage2")
    return read_settings(repository_root(), parameters, stage)


def _catalogue(sizes: str) -> dict[str, Entry] | None:
    """The catalogue for published sizes; None for those of the snapshot."""
    if sizes not in ("snapshot", "catalog"):
        raise ConfigError(
            what=f"--sizes {sizes!r}",
            why="rows are counted in the snapshot or taken from the catalogue",
            fix="write --sizes snapshot or --sizes catalog",
        )
    if sizes == "snapshot":
        return None
    from trackyard.catalog.entries import load_catalogue

    return load_catalogue(repository_root() / "catalog")


def _file_and_stage(text: str) -> tuple[Path, str]:
    """FILE:STAGE, or FILE alone."""
    file, _, stage = text.rpartition(":")
    return (Path(file), stage) if file and stage in STAGES else (Path(text), "stage2")
