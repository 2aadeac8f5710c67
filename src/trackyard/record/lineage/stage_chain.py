"""The chain of anything that a stage put out (a table, a figure, a report), from dvc.yaml and dvc.lock.

path -> the stage that put it out -> what that stage read -> the stages that put that out -> data.dvc and code. Where an
output holds a lineage.json (an export), the chain of that run goes on from there: plan, snapshots, commit, parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.record.lineage.dvc_graph import StageGraph, StageRecord, read_graph
from trackyard.record.lineage.links import Claim, Link
from trackyard.record.lineage.stage_links import StageLinks

_EXAMPLES = 8


def stage_chain(path: Path, repository: Path) -> Link:
    """The chain of `path`: an output of a stage, part of one, or a folder of several.

    ConfigError where no stage puts it out. Data sets and code are links of the stages that read them.
    """
    graph, place = read_graph(repository), path.absolute()
    if not place.is_relative_to(graph.root):
        raise ConfigError(
            what=f"{path} does not lie in {graph.root}, and is no export, run directory or checkpoint",
            why="which stage made a file stands in the dvc.yaml files of this repository",
            fix="run the command in the root of the repository that the path is of",
        )
    asked = place.relative_to(graph.root).as_posix()
    producers = graph.producers(asked)
    if not producers:
        raise _no_producer(graph, asked)
    links = StageLinks(graph)
    digests: dict[str, str] = {}
    lacking = [one.stage for one in producers if graph.listing(one.out) is None]
    for one in producers:
        digests |= one.out.part(graph.listing(one.out) or {}, asked)
    absent, claims = None, tuple[Claim, ...]()
    fix = f"dvc checkout {_addresses([one.stage for one in producers])}"
    if lacking:
        absent = f"{' and '.join(dict.fromkeys(stage.name for stage in lacking))} cannot say which bytes it put out"
        fix = f"dvc repro {_addresses(lacking)}"
    elif not digests:
        absent = f"{' and '.join(dict.fromkeys(one.stage.name for one in producers))} put out no such file"
        fix = f"ask about what was put out: {_first([one.out.path for one in producers])}"
    elif not producers[0].out.holds(asked):
        claims = (_nothing_else(graph, asked, digests),)
        fix += "   (and move away what no stage put out)"
    return Link(
        kind="made",
        name=f"made {asked}",
        fix=fix,
        facts={
            "path": asked,
            "put out by": ", ".join(dict.fromkeys(one.stage.name for one in producers)),
            "files": str(len(digests)),
        },
        claims=claims,
        files=links.hashed(digests),
        absent=absent,
        inputs=links.of(producers),
    )


def _nothing_else(graph: StageGraph, folder: str, digests: Mapping[str, str]) -> Claim:
    """That a folder of several outputs holds nothing beside them."""
    here = {path.relative_to(graph.root).as_posix() for path in graph.files(folder)}
    found = _first(sorted(here - digests.keys())) or "none"
    return Claim(what=f"files in {folder} that no stage put out", expected="none", found=found)


def _no_producer(graph: StageGraph, path: str) -> ConfigError:
    known = sorted({out.path for stage in graph.stages for out in stage.outs})
    shown = _first([one for one in known if one.split("/")[:2] == path.split("/")[:2]] or known)
    return ConfigError(
        what=f"no stage puts out {path}, and it has no lineage.json",
        why="only what a stage put out, an export, a run directory and a checkpoint have a chain",
        fix=f"ask about one of {shown}" if shown else "declare the file as an output of a stage in dvc.yaml",
    )


def _addresses(stages: Sequence[StageRecord]) -> str:
    return " ".join(dict.fromkeys(stage.address for stage in stages))


def _first(paths: Sequence[str]) -> str:
    """Some of the paths, and how many more there are."""
    more = len(paths) - _EXAMPLES
    return ", ".join(paths[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
