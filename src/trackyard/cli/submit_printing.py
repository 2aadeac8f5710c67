"""What `trackyard submit` prints: the jobs, why each runs, what it asks for, and what it will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from trackyard.cli.submit_estimates import UNTOLD, Estimates, JobEstimate, longest_chain
from trackyard.errors import TrackyardError
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.submitting import units
from trackyard.launch.sites import Site
from trackyard.launch.slurm.batch import Request

SCHEMA = "trackyard-submission/1"
WIDTH = 150


def print_plan(
    graph: Graph, site: Site, found: Estimates, obstacles: Sequence[TrackyardError], profile: str | None
) -> None:
    """A dry run: a row for each job or array, totals, and what must be done before it can be submitted."""
    by = "the parameters in force" if profile is None else f"profile {profile}"
    title = f"{', '.join(graph.targets)} at {site.name}, estimated by {by}, not submitted"
    shown = Table(title=title, title_justify="left")
    shown.add_column("job", no_wrap=True)
    for name in ("why", "asks for", "after"):
        shown.add_column(name, overflow="fold")
    for name in ("hours", "service units", "lives"):
        shown.add_column(name, justify="right")
    for unit, members in units(graph).items():
        first = members[0]
        label = unit if first.array is None else f"{unit} ({len(members)} tasks)"
        shown.add_row(
            label,
            _why(first),
            _size(first.request),
            _after(graph, first),
            *_taken([found[one.name] for one in members]),
        )
    if graph.jobs:
        Console(width=WIDTH).print(shown)
        for line in [*_totals(graph, found), *_limits(graph, found), *_unestimated(graph, found)]:
            print(line)
    if obstacles:
        print("before it can be submitted:")
    for obstacle in obstacles:
        print(f"  {obstacle.what}\n    {obstacle.why}\n    fix: {obstacle.fix}")


def print_submitted(graph: Graph, ids: Mapping[str, str]) -> None:
    """A line for each job or array that Slurm has taken, and how to follow it."""
    for unit, members in units(graph).items():
        first = members[0]
        number = ids[first.name].partition("_")[0]
        tasks = "" if first.array is None else f" ({len(members)} tasks)"
        after = _after(graph, first)
        print(f"submitted {unit}{tasks}: {number}, {_why(first)}" + (f"; after {after}" if after else ""))
    print(f"graph     {graph.id}: trackyard status {graph.id}")


def as_document(
    graph: Graph, obstacles: Sequence[TrackyardError], found: Estimates | None, ids: Mapping[str, str] | None
) -> dict[str, Any]:
    """found: of a dry run; ids: of a submission."""
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "graph": None if ids is None else graph.id,
        "site": graph.site,
        "targets": list(graph.targets),
        "jobs": [_as_fields(job, found, ids) for job in graph.jobs],
        "obstacles": [{"what": one.what, "why": one.why, "fix": one.fix} for one in obstacles],
    }
    if found is not None:
        body["totals"] = _sums(graph, found)
        body["longest_chain"] = longest_chain(graph.jobs, found)
    return body


def nothing_document(targets: Sequence[str], site: Site) -> dict[str, Any]:
    """Of a submission that found everything up to date."""
    return {
        "schema": SCHEMA,
        "graph": None,
        "site": site.name,
        "targets": list(targets),
        "jobs": [],
        "obstacles": [],
    }


def _as_fields(job: Job, found: Estimates | None, ids: Mapping[str, str] | None) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(job, name) for name in ("name", "stage", "needs", "reason", "detail")}
    fields |= {"command": list(job.command), "after": list(job.after), "array": job.array, "index": job.index}
    fields["request"] = job.request
    if ids is not None:
        fields["slurm_id"] = ids[job.name]
    if found is not None:
        one = found[job.name]
        fields["estimate"] = one if isinstance(one, JobEstimate) else None
        fields["not_estimated"] = None if isinstance(one, JobEstimate) else one
    return fields


def _why(job: Job) -> str:
    return f"{job.reason}: {job.detail}" if job.detail else job.reason


def _size(request: Request) -> str:
    cores = request.nodes * request.tasks_per_node * request.cores_per_task
    parts = [_count(request.nodes, "node"), *([_count(request.gpus, "GPU")] if request.gpus else [])]
    length = f"{request.minutes / 60:g} h" if request.minutes % 60 == 0 else f"{request.minutes} min"
    return f"{request.partition}: {', '.join([*parts, _count(cores, 'core'), length])}"


def _count(number: int, name: str) -> str:
    return f"1 {name}" if number == 1 else f"{number} {name}s"


def _after(graph: Graph, job: Job) -> str:
    """Names of the jobs that one waits for, arrays in place of all of their tasks."""
    names: dict[str, None] = {}
    for unit, members in units(graph).items():
        waited = [one.name for one in members if one.name in job.after]
        names |= dict.fromkeys([unit] if len(waited) == len(members) else waited)
    return ", ".join(names)


def _taken(found: Sequence[JobEstimate | str]) -> tuple[str, str, str]:
    """Hours and lives of each task, service units of all."""
    known = [one for one in found if isinstance(one, JobEstimate)]
    if len(known) < len(found):
        return "?", "?", "?"
    charged = [one.service_units for one in known if one.service_units is not None]
    units_text = f"{sum(charged):,.0f} {known[0].credits or ''}".rstrip() if charged else "none"
    return f"{known[0].hours:,.2f}", units_text, f"{known[0].lives:,}"


def _sums(graph: Graph, found: Estimates) -> list[dict[str, Any]]:
    """Hours, service units and lives of all jobs that are estimated, by the credits that they are charged to."""
    sums: dict[tuple[str | None, bool], list[JobEstimate]] = defaultdict(list)
    for job in graph.jobs:
        one = found[job.name]
        if isinstance(one, JobEstimate):
            sums[one.credits, one.service_units is not None].append(one)
    return [
        {
            "credits": credits,
            "service_units": sum(one.service_units or 0.0 for one in group) if charged else None,
            "hours": sum(one.hours for one in group),
            "lives": sum(one.lives for one in group),
            "jobs": len(group),
        }
        for (credits, charged), group in sums.items()
    ]


def _totals(graph: Graph, found: Estimates) -> list[str]:
    lines = []
    estimated = [job for job in graph.jobs if isinstance(found[job.name], JobEstimate)]
    whole = len(estimated) == len(graph.jobs)
    of = "" if whole else f"; {len(estimated)} of {len(graph.jobs)} jobs are estimated, the others not counted"
    for one in _sums(graph, found):
        price, credits = one["service_units"], one["credits"] or "unnamed"
        charged = "nothing charged" if price is None else f"{price:,.0f} service units of {credits} credits"
        lines.append(f"total: {charged}, {one['hours']:,.1f} h of jobs in {one['lives']:,} lives{of}")
    if estimated:
        lines.append(
            f"service units: hours of computing x the prices of sites/{graph.site}.yaml, of all tasks of an array"
        )
        lines.append("not counted: queues, starts, saves, and what a job that was cut off does again")
    least = "at least " if any(isinstance(one, str) for one in found.values()) else ""
    lines.append(f"longest chain: {least}{longest_chain(graph.jobs, found):,} lives in a row, queues not counted")
    return lines


def _limits(graph: Graph, found: Estimates) -> list[str]:
    told: dict[str, None] = {}
    for job in graph.jobs:
        one = found[job.name]
        if isinstance(one, JobEstimate):
            told |= dict.fromkeys(f"DOES NOT FIT: {job.array or job.name}: {text}" for text in one.misfits)
    return list(told)


def doubts(graph: Graph, found: Estimates) -> list[str]:
    """What the estimates say against a submission without refusing it, and the trainings that have none."""
    unknown = {name: one for name, one in found.items() if one != UNTOLD}
    return [*_limits(graph, found), *_unestimated(graph, unknown)]


def _unestimated(graph: Graph, found: Estimates) -> list[str]:
    why: dict[str, list[str]] = defaultdict(list)
    for job in graph.jobs:
        one = found.get(job.name)
        if isinstance(one, str) and (job.array or job.name) not in why[one]:
            why[one].append(job.array or job.name)
    return [f"not estimated: {', '.join(names)} ({reason})" for reason, names in why.items()]
