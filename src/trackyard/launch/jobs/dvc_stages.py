"""Stages as DVC sees them: by their addresses, in the order of `dvc repro`.

An address is what `dvc repro` takes in the repository root: stage2, pipelines/pile_ffn/dvc.yaml:train@baseline-42, or
data.dvc. Source: hpc spec section 8.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.errors import ConfigError, TrackyardError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage
    from networkx import DiGraph

PIPELINE = "dvc.yaml"


@contextmanager
def opened(root: Path) -> Iterator[Repo]:
    """The repository `root`; what DVC refuses during the block is a TrackyardError, wrong names are a ConfigError."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageNotFound

    try:
        with Repo(str(root)) as repo:
            yield repo
    except LockError as error:
        raise TrackyardError(
            what=f"DVC is at work in {root}: {one_line(error)}",
            why="what is stale changes while another command of DVC runs",
            fix="wait until that command has ended; if there is none any more: `trackyard unlock`; where flock does "
            "not work, `trackyard doctor` names the setting",
        ) from error
    except StageNotFound as error:
        raise ConfigError(
            what=one_line(error),
            why="names are those of dvc.yaml in the repository root; of another file they are FILE:NAME",
            fix="dvc stage list --all   (e.g. `trackyard submit pipelines/pile_ffn/dvc.yaml:train@baseline-42`)",
        ) from error
    except DvcException as error:
        raise ConfigError(
            what=f"DVC cannot read the stages of {root}, or what they depend on: {one_line(error)}",
            why="jobs are made of the stages in dvc.yaml and pipelines/*/dvc.yaml",
            fix="correct what it names; `dvc status` reads the same files",
        ) from error


def stages_of(repo: Repo, root: Path, target: str) -> list[Stage]:
    """What `dvc repro TARGET` in `root` is about: a stage, all items of a matrix, or all stages of a file."""
    head, at, key = target.partition("@")
    path, colon, name = head.rpartition(":")
    if not colon and not (root / target).is_file():
        return list(repo.stage.collect(f"{root / PIPELINE}:{target}"))
    # A name before @ holds no colon, a key of a matrix may.
    return list(repo.stage.collect(f"{root / path}:{name}{at}{key}" if colon else str(root / target)))


def address(stage: Stage) -> str:
    """As `dvc repro` takes it in the repository root, whatever the current directory is."""
    from dvc.stage import PipelineStage

    path = str(stage.path_in_repo)
    if not isinstance(stage, PipelineStage):
        return path
    return str(stage.name) if path == PIPELINE else f"{path}:{stage.name}"


def in_order(repo: Repo, targets: Sequence[Stage]) -> tuple[list[Stage], DiGraph]:
    """Everything that `targets` come from, and they, each behind what it needs; and who needs whom.

    Otherwise in the order of the files, which DVC's own is not: the same graph always gives the same jobs.
    """
    from dvc.repo.reproduce import get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    wanted = set(plan_repro(graph, list(targets)))
    left = [stage for stage in repo.index.stages if stage in wanted]
    placed: dict[Stage, None] = {}
    while left:
        ready = next(stage for stage in left if all(before in placed for before in graph.successors(stage)))
        placed[ready] = None
        left.remove(ready)
    return list(placed), graph


def command_of(stage: Stage, repo: Repo) -> tuple[str, ...]:
    """The one command of a stage. ConfigError for a stage of several, or that works in another directory."""
    if not isinstance(stage.cmd, str) or "\n" in stage.cmd.strip():
        raise ConfigError(
            what=f"stage {address(stage)} has several commands",
            why="a job executes one, without a shell",
            fix=f"write one command as `cmd` of {address(stage)}",
        )
    if Path(stage.wdir).resolve() != Path(repo.root_dir).resolve():
        raise ConfigError(
            what=f"stage {address(stage)} works in {stage.wdir}",
            why="jobs work in the repository root, where parameters, data and runs are found",
            fix=f"write `wdir` of {address(stage)} so that it is the root: ../.. below pipelines/",
        )
    return tuple(shlex.split(stage.cmd))


def is_made(stage: Stage) -> bool:
    """Whether a job can make it: what has no command, or is frozen, is there or is pulled."""
    return bool(stage.cmd) and not stage.frozen


def never_ran(stage: Stage) -> bool:
    """Whether DVC has recorded nothing of it, and knows of nothing that it should put out."""
    return not any(item.hash_info for item in (*stage.deps, *stage.outs))


def one_line(error: BaseException) -> str:
    """What an exception of DVC says, without line breaks."""
    return " ".join(str(error).split())
