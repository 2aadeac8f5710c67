"""A graph of jobs from the graph of DVC: what is stale of what targets come from, why, and what each job asks for.

What comes after a stale stage may turn out to be up to date when it is its turn; its job finds that out and ends
unchanged. Source: pains 1 and 2, hpc spec section 8.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import address, command_of, in_order, is_made, opened, stages_of
from trackyard.launch.jobs.granting import Granting, lacking_image
from trackyard.launch.jobs.graph import Graph, Job, Reason
from trackyard.launch.jobs.inputs import Digests
from trackyard.launch.jobs.naming import in_arrays, job_name, shortened, unique
from trackyard.launch.jobs.parts import divided, parts_asked
from trackyard.launch.jobs.staleness import lacking_input, lacking_source, why_stale
from trackyard.launch.jobs.store import fresh_id
from trackyard.launch.sites import Site
from trackyard.launch.slurm.batch import Request
from trackyard.launch.stage_needs import StageMeta, stage_meta
from trackyard.record.code import code_identity
from trackyard.runner import Runner, SystemRunner

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage
    from networkx import DiGraph


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What `trackyard submit` was told.

    force: targets run, stale or not. shards: parts by the stage that they divide. partition: of the jobs with GPUs, in
    place of their shapes'.
    """

    targets: tuple[str, ...]
    force: bool = False
    shards: Mapping[str, int] = field(default_factory=dict)
    partition: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """graph: of what can be jobs. obstacles: what must be done before it can be submitted, in the order of doing."""

    graph: Graph
    obstacles: tuple[TrackyardError, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stale:
    """A stage that runs. before: addresses of the stages that it needs."""

    stage: Stage
    address: str
    meta: StageMeta
    reason: Reason
    detail: str
    before: tuple[str, ...]


def stale_graph(
    root: Path, wanted: Wanted, site: Site, *, environment: Mapping[str, str], runner: Runner | None = None
) -> Graph:
    """The jobs that `wanted` takes at `site`; without any where all is up to date.

    Raises the first obstacle, where there are some, and ConfigError for what is no stage.
    """
    found = survey(root, wanted, site, environment=environment, runner=runner)
    for obstacle in found.obstacles:
        raise obstacle
    return found.graph


def survey(
    root: Path, wanted: Wanted, site: Site, *, environment: Mapping[str, str], runner: Runner | None = None
) -> Survey:
    """As `stale_graph`, with the obstacles beside what is possible."""
    obstacles: list[TrackyardError] = []
    with opened(root) as repo:
        from dvc.repo import lock_repo

        with lock_repo(repo):
            stages, edges = in_order(repo, [one for target in wanted.targets for one in stages_of(repo, root, target)])
            stale = _stale(stages, edges, _forced(repo, root, wanted), obstacles)
            jobs = _jobs(root, repo, stages, stale, wanted, site, environment, obstacles)
    graph = Graph(
        id=fresh_id(wanted.targets[0]),
        site=site.name,
        targets=wanted.targets,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        commit=code_identity(root, runner or SystemRunner(), environment).commit,
        jobs=jobs,
        upstream=tuple(address(stage) for stage in stages if is_made(stage)),
    )
    return Survey(graph=graph, obstacles=tuple(obstacles))


def _forced(repo: Repo, root: Path, wanted: Wanted) -> set[str]:
    return {address(one) for target in wanted.targets for one in stages_of(repo, root, target) if wanted.force}


def _stale(
    stages: Sequence[Stage], edges: DiGraph, forced: Container[str], obstacles: list[TrackyardError]
) -> list[_Stale]:
    """Those that run, in their order; data that are lacking are an obstacle."""
    found: dict[str, _Stale] = {}
    for stage in stages:
        if not is_made(stage):
            lacking = lacking_source(stage)
            obstacles += [lacking] if lacking is not None else []
            continue
        name = address(stage)
        needed = set(map(address, edges.successors(stage)))
        before = tuple(one for one in found if one in needed)
        why = _why(stage, before, forced=name in forced)
        if why is not None:
            meta = stage_meta(stage.meta, name)
            found[name] = _Stale(stage=stage, address=name, meta=meta, reason=why[0], detail=why[1], before=before)
    return list(found.values())


def _why(stage: Stage, before: Sequence[str], *, forced: bool) -> tuple[Reason, str] | None:
    """The reason that weighs most: what is forced runs whatever its job finds, what is of the last kind may not run."""
    if forced:
        return "forced", ""
    found = why_stale(stage)
    if found is not None:
        return found
    return ("after a stale stage", ", ".join(before)) if before else None


def _jobs(
    root: Path,
    repo: Repo,
    stages: Sequence[Stage],
    stale: Sequence[_Stale],
    wanted: Wanted,
    site: Site,
    environment: Mapping[str, str],
    obstacles: list[TrackyardError],
) -> tuple[Job, ...]:
    """A job of each stage that the site grants one; what it does not grant is an obstacle."""
    shards = parts_asked(
        wanted.shards, {address(one): stage_meta(one.meta, address(one)).divided for one in stages if is_made(one)}
    )
    if not stale:
        return ()
    granting = Granting.of(site, wanted.partition, environment)
    obstacles += [*granting.obstacles, *lacking_image(root, site, [one.meta.needs for one in stale], environment)]
    made = [Path(out.fs_path) for one in stale for out in one.stage.outs]
    told = [Path(out.fs_path) for stage in stages if not is_made(stage) for out in stage.outs if not out.exists]
    digests = Digests(repo)
    names: dict[str, str] = {}
    jobs: list[Job] = []
    for one in stale:
        request = granting.request(one.address, one.meta.needs)
        if not isinstance(request, Request):
            # Stages of one kind lack the same.
            obstacles += [request] if str(request) not in map(str, obstacles) else []
            continue
        taken = [name for job in jobs for name in (job.name, job.array) if name is not None]
        names[one.address] = unique(job_name(one.address), taken)
        job = Job(
            name=names[one.address],
            stage=one.address,
            command=command_of(one.stage, repo),
            needs=one.meta.needs,
            reason=one.reason,
            detail=one.detail,
            request=request,
            after=tuple(names[before] for before in one.before if before in names),
            array=None,
            index=None,
            commits=True,
            inputs=_inputs(one, digests, made, told, obstacles),
        )
        parts = shards.get(one.address)
        jobs += [job] if parts is None else divided(job, parts, taken)
    return in_arrays(shortened(jobs))


def _inputs(
    one: _Stale, digests: Digests, made: Sequence[Path], told: Sequence[Path], obstacles: list[TrackyardError]
) -> dict[str, str]:
    """Digests of what it is made from, without what jobs of this graph make.

    made: outputs of these jobs; told: data that no stage makes and that are not there, which is an obstacle already.
    """
    found = digests.behind(one.stage)
    for key, path, digest in digests.dependencies(one.stage):
        if _touches(path, made):
            continue
        lacking = None if _touches(path, told) else lacking_input(one.address, key, digest)
        obstacles += [lacking] if lacking is not None else []
        found[key] = digest
    return found


def _touches(path: Path, outputs: Sequence[Path]) -> bool:
    """Whether it is one of them, or lies below or above one."""
    return any(path.is_relative_to(out) or out.is_relative_to(path) for out in outputs)
