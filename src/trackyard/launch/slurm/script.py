"""The one place that makes the text of a batch script.

The script starts with an empty environment (`--export=NIL`): what a job sees is what stands in its script, and no
token of whoever submits it enters Slurm's state or its database. Releases that do not know the word (22.05) take it for
the name of a variable that is not set, and load the environment of a login, with the same result otherwise.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from trackyard.errors import ConfigError
from trackyard.launch.sites import FOLDER
from trackyard.launch.slurm.batch import BatchJob, Request
from trackyard.launch.slurm.options import OURS, SETTABLE
from trackyard.redact import require_public

EXPORT = "NIL"
_NAME = re.compile(r"[A-Za-z0-9._@+=-]{1,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AFTER = re.compile(r"\d+(_\d+)?")
_ARRAY = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*(%[1-9]\d*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NAMED = re.compile(r"^#SBATCH --job-name=\"(.*)\"$", re.MULTILINE)


def render(job: BatchJob) -> str:
    """The script of `job`. ConfigError for an option that sbatch does not have or that is trackyard's own, for a name,
    id, variable or character that Slurm or a shell would read otherwise, and for a secret in any of them."""
    lines = ["#!/bin/bash", *(f"#SBATCH {directive}" for directive in _directives(job))]
    for name, value in job.exports:
        _require(_VARIABLE.fullmatch(name), f"the variable {name!r}", "it is no name of a variable")
        lines.append(f"export {name}={_quoted(value, name)}")
    if job.modules:
        lines.append("type module >/dev/null 2>&1 || . /etc/profile")
    for module in job.modules:
        text = _quoted(module, "a module")
        lines.append(f"module load {text} || {{ echo {shlex.quote(_no_module(module))} >&2; exit 3; }}")
    lines.append(f"exec {' '.join(_quoted(word, 'the command') for word in job.command)}")
    text = "\n".join(lines) + "\n"
    require_public(
        [*job.command, *job.modules, *(f"{name}={value}" for name, value in (*job.exports, *job.options))],
        fix="leave it out: jobs read tokens where their programs keep them, and never from a script",
    )
    return text


def name_of(script: str) -> str:
    """The job's name, out of a script that `render` made."""
    found = _NAMED.findall(script)
    if len(found) != 1 or not _NAME.fullmatch(found[0]):
        raise ConfigError(
            what=f"the batch script names its job {found!r}",
            why="a submission whose answer is lost is looked up by the one name of its job",
            fix="make it anew: trackyard retry",
        )
    return str(found[0])


def wall_time(minutes: int) -> str:
    """As D-HH:MM:SS, which no release of Slurm reads in another unit."""
    hours, rest = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02d}:{rest:02d}:00"


def _directives(job: BatchJob) -> Iterator[str]:
    _require(_NAME.fullmatch(job.name), f"the job name {job.name!r}", "letters, digits and ._@+=- can be looked up")
    yield _directive("job-name", job.name)
    yield from _size(job.request)
    yield _directive("signal", f"B:USR1@{job.lead_s}")
    yield "--requeue" if job.requeue else "--no-requeue"
    yield _directive("open-mode", "append")
    yield _directive("output", str(job.output))
    yield _directive("chdir", str(job.cwd))
    yield _directive("export", EXPORT)
    # Otherwise what waits for a job that failed waits for ever.
    yield _directive("kill-on-invalid-dep", "yes")
    if job.after:
        for one in job.after:
            _require(_AFTER.fullmatch(one), f"the dependency {one!r}", "it is no id of a job")
        yield _directive("dependency", "afterok:" + ":".join(job.after))
    if job.array is not None:
        _require(_ARRAY.fullmatch(job.array), f"the array {job.array!r}", "it is no list of indices, as 0-7%4")
        yield _directive("array", job.array)
    for name, value in job.options:
        _require_settable(name)
        yield _directive(name, value) if value else f"--{name}"


def _size(request: Request) -> Iterator[str]:
    yield _directive("partition", request.partition)
    if request.account is not None:
        yield _directive("account", request.account)
    yield _directive("nodes", str(request.nodes))
    # Of two nodes and four tasks Slurm puts three on one of them where it is not told.
    yield _directive("ntasks-per-node", str(request.tasks_per_node))
    yield _directive("cpus-per-task", str(request.cores_per_task))
    if request.gpus_per_node:
        yield _directive("gpus-per-node", str(request.gpus_per_node))
    if request.memory_mb_per_node is not None:
        yield _directive("mem", f"{request.memory_mb_per_node}M")
    yield _directive("time", wall_time(request.minutes))


def _directive(name: str, value: str) -> str:
    """sbatch reads double quotes and backslashes as a shell does."""
    _require(not _CONTROL.search(value), f"--{name}={value!r}", "a line of a batch script cannot hold it")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{name}="{escaped}"'


def _quoted(text: str, where: str) -> str:
    _require(not _CONTROL.search(text), f"{where} is {text!r}", "sbatch refuses or cuts control characters in scripts")
    return shlex.quote(text)


def _require_settable(name: str) -> None:
    if name in OURS:
        raise ConfigError(
            what=f"the option {name!r} of sbatch is set twice",
            why="trackyard writes it, from the shapes of the site and from the graph",
            fix=f"take it out of `sbatch` of the site, and see its shapes: {FOLDER}/slurm-template.yaml",
        )
    if name not in SETTABLE:
        raise ConfigError(
            what=f"sbatch has no option {name!r} that a site may set",
            why=f"it may set {', '.join(sorted(SETTABLE))}",
            fix=f"correct its name under `sbatch` of the site, without dashes, as in {FOLDER}/slurm-template.yaml",
        )


def _no_module(name: str) -> str:
    return (
        f"what: module load {name} failed on this node\nwhy:  the site says that jobs need it\n"
        f"fix:  see `module avail` there, and correct `modules` of the site"
    )


def _require(holds: object, what: str, why: str) -> None:
    if not holds:
        raise ConfigError(
            what=f"{what} cannot stand in a batch script",
            why=why,
            fix="give it another name in the site file, in dvc.yaml or in the environment, then submit again",
        )
