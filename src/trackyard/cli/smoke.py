"""`trackyard smoke`: whether all ranks reach each other, over what and how fast, before a training finds out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import as_fields, print_json
from trackyard.cli.root import repository_root
from trackyard.errors import EXIT_DONE, EXIT_FAILED, ConfigError

if TYPE_CHECKING:
    from trackyard.launch.between_nodes.judging import Lack
    from trackyard.launch.between_nodes.measuring import Measured
    from trackyard.launch.sites import Site


def smoke(
    gib: Annotated[float, typer.Option(min=0.001, help="GiB that each rank reduces with the others")] = 1.0,
    site: Annotated[str | None, typer.Option(help="a file of sites/; none: as TRACKYARD_SITE says, else local")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum a tensor over all ranks of srun or torchrun, and compare transport and bandwidth with what the site says.

    Where the site names an image it runs inside, as trainings do. Exit code 0: proved, or measured where the site
    expects nothing; 1: something is missing, and named.
    """
    from trackyard.launch.chosen import SITE_VARIABLE
    from trackyard.launch.executor import enter
    from trackyard.launch.launched import launched
    from trackyard.launch.sites import load_site
    from trackyard.record.image import IMAGE_VARIABLE
    from trackyard.runner import SystemRunner

    root = repository_root()
    chosen = load_site(site or os.environ.get(SITE_VARIABLE) or "local", root)
    found = launched(os.environ)
    if found is None:
        raise ConfigError(
            what="trackyard smoke was started as one process",
            why="one rank has nobody to talk to",
            fix="srun --nodes=2 --ntasks-per-node=1 --gpus-per-node=1 trackyard smoke   "
            "(on one machine: torchrun --nproc-per-node 2 -m trackyard smoke)",
        )
    if chosen.image is not None and not os.environ.get(IMAGE_VARIABLE):
        options = ["--gib", f"{gib:g}", "--site", chosen.name, *(["--json"] if as_json else [])]
        enter(root, chosen, "train", ("trackyard", "smoke", *options), os.environ, SystemRunner())
    from trackyard.launch.between_nodes.judging import lacks
    from trackyard.launch.between_nodes.measuring import measure

    measured = measure(found, gib, chosen.network.environment)
    missing = lacks(measured, chosen)
    if found.rank > 0:
        return  # the first one speaks for all: a second exit code would make srun end it in the middle of a word
    if as_json:
        body = {"schema": "trackyard-smoke/1", "site": chosen.name, "proved": not missing if _expects(chosen) else None}
        print_json(body | as_fields(measured) | {"missing": missing})
    else:
        _print(measured, missing, chosen)
    sys.exit(EXIT_FAILED if missing else EXIT_DONE)


def _print(measured: Measured, missing: list[Lack], site: Site) -> None:
    network = site.network
    least = network.min_gbyte_per_s
    print(f"ranks       {len(measured.hosts)} on {', '.join(measured.nodes)}, by {measured.backend}")
    print(f"transport   {' and '.join(measured.transports) or 'none between nodes'}{_expected(network.transport)}")
    print(
        f"all-reduce  {measured.gib:g} GiB in {measured.seconds:.3g} s, {measured.bus_gbyte_per_s:.3g} GB/s of bus "
        f"bandwidth{_expected(None if least is None else f'at least {least:g}')}"
    )
    for lack in missing:
        print(f"missing     {lack.what}\n  fix:      {lack.fix}")
    if missing:
        print("stopped")
    elif _expects(site):
        print("proved")
    else:
        print("measured; the site expects nothing of its network, so nothing is proved")


def _expects(site: Site) -> bool:
    return site.network.transport is not None or site.network.min_gbyte_per_s is not None


def _expected(value: str | None) -> str:
    return f"   (the site says {value})" if value is not None else "   (the site says nothing of it)"
