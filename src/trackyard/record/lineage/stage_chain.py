"""The chain of anything that a stage put out (a table, a figure, a report), from dvc.yaml and dvc.lock.

path -> the stage that put it out -> what that stage read -> the stages that put that out -> data.dvc and code. Where an
output holds a lineage.json (an export), the chain of that run goes on from there: plan, snapshots, commit, parent.
"""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.record.lineage.dvc_graph import StageGraph, read_graph
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.stage_links import StageLinks

_EXAMPLES = 8


def stage_chain(path: Path, repository: Path) -> Link:
    """The chain of `path`: an output of a stage, part of one, or a folder of several.

    ConfigError where no stage puts it out. Data sets and code are links of the stages that read them.
    """
    graph, resolved = read_graph(repository), path.resolve()
    if not resolved.is_relative_to(graph.root):
        raise ConfigError(
            what=f"{path} does not lie in {graph.root}, and is no export, run directory or checkpoint",
            why="which stage made a file stands in the dvc.yaml files of this repository",
            fix="run the command in the root of the repository that the path is of",
        )
    asked = resolved.relative_to(graph.root).as_posix()
    producers = graph.producers(asked)
    if not producers:
        raise _no_producer(graph, asked)
    links = StageLinks(graph)
    digests: dict[str, str] = {}
    lacking = [one.stage for one in producers if graph.listing(one.out) is None]
    for one in producers:
        digests |= one.out.part(graph.listing(one.out) or {}, asked)
    absent = None
    if lacking:
        absent = f"{' and '.join(dict.fromkeys(stage.name for stage in lacking))} cannot say which bytes it put out"
    elif not digests:
        absent = f"{' and '.join(dict.fromkeys(one.stage.name for one in producers))} put out no such file"
    address = (lacking or [one.stage for one in producers])[0].address
    return Link(
        kind="made",
        name=f"made {asked}",
        fix=f"dvc repro {address}" if absent else f"dvc checkout {address}",
        facts={
            "path": asked,
            "put out by": ", ".join(dict.fromkeys(one.stage.name for one in producers)),
            "files": str(len(digests)),
        },
        files=links.hashed(digests),
        absent=absent,
        inputs=links.of(producers),
    )


def _no_producer(graph: StageGraph, path: str) -> ConfigError:
    known = sorted({out.path for stage in graph.stages for out in stage.outs})
    near = [one for one in known if one.split("/")[:2] == path.split("/")[:2]] or known
    shown = ", ".join(near[:_EXAMPLES]) + (f" and {len(near) - _EXAMPLES} more" if len(near) > _EXAMPLES else "")
    return ConfigError(
        what=f"no stage puts out {path}, and it has no lineage.json",
        why="only what a stage put out, an export, a run directory and a checkpoint have a chain",
        fix=f"ask about one of {shown}" if shown else "declare the file as an output of a stage in dvc.yaml",
    )
