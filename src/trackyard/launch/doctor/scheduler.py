"""Slurm as the site's file says it is: programs, partitions, account, limits of the account, tools of the operator."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from shutil import which

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Skipped, Warned
from trackyard.launch.sites import Partition
from trackyard.runner import Finished

PROGRAMS = ("sbatch", "srun", "sinfo", "squeue", "scontrol", "scancel")
ANSWER_S = 4.0
TOOLS = ("mybalance", "myquota")
"""Of Anvil's operator; called where they are there (hpc spec section 7)."""
_FIELDS = "%R|%a|%l|%D|%c|%m|%G"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A partition as sinfo shows it. hours: None: no limit. cores, gpus: of its largest node."""

    up: bool
    hours: float | None
    nodes: int
    cores: int
    gpus: int


def slurm_row(asked: Asked, find: Callable[[str], str | None] = which) -> Seen:
    """The programs are there, and the controller answers."""
    _only_slurm(asked)
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        raise EnvironmentLacking(
            what=f"not on PATH: {', '.join(missing)}",
            why=f"site {asked.site.name} runs its stages as Slurm jobs",
            fix=f"run this on a login node of {asked.site.name}; Debian: apt-get install slurm-client",
        )
    answer = _ask(asked, ["scontrol", "ping"])
    if "is UP" not in answer:
        raise EnvironmentLacking(
            what=f"slurmctld is not up: {answer.strip()}",
            why="nothing can be submitted; jobs that run go on",
            fix="wait, and look again: scontrol ping",
        )
    version = _ask(asked, ["sinfo", "--version"]).strip()
    return Seen(detail=f"{version}, {answer.strip().splitlines()[0]}", examined=len(PROGRAMS) + 1)


def partitions_row(asked: Asked) -> Seen:
    """Every partition of the site is there, is up, and gives what the site's file says."""
    _only_slurm(asked)
    there = partitions(_ask(asked, ["sinfo", "--noheader", "--all", f"--format={_FIELDS}"]))
    problems, closed = list[str](), list[str]()
    for name, stated in asked.site.partitions.items():
        if name not in there:
            problems.append(f"there is no partition {name}")
            continue
        problems += [f"{name} {more}" for more in _more(stated, there[name])]
        if not there[name].up:
            closed.append(name)
    if problems:
        raise ConfigError(
            what="; ".join(problems),
            why="a job that asks for it is refused, or waits for ever",
            fix=f'correct {asked.site_file} by sinfo -o "%P %l %D %c %G"; there are {", ".join(there)}',
        )
    if closed:
        raise Warned(
            what=f"{', '.join(closed)}: takes no jobs now",
            why="what is submitted there waits until it is up",
            fix="sinfo --summarize; name another partition in the shapes of the site until then",
        )
    return Seen(detail=f"{', '.join(asked.site.partitions)}: up, and as {asked.site_file} says",
                examined=len(asked.site.partitions))  # fmt: skip


def _more(stated: Partition, found: Found) -> Iterable[str]:
    """What the site's file promises beyond what Slurm gives."""
    if found.hours is not None and (stated.max_hours is None or stated.max_hours > found.hours):
        promised = "no limit of time" if stated.max_hours is None else f"{stated.max_hours:g} h"
        yield f"allows {found.hours:g} h, not {promised}"
    for label, promise, real in (
        ("nodes", stated.nodes, found.nodes),
        ("cores in a node", stated.cores_per_node, found.cores),
        ("GPUs in a node", stated.gpus_per_node, found.gpus),
    ):
        if promise > real:
            yield f"has {real} {label}, not {promise}"


def partitions(table: str) -> dict[str, Found]:
    """Of sinfo's lines, of which a partition has one for each kind of node. EnvironmentLacking for an unknown form."""
    found: dict[str, Found] = {}
    for line in table.splitlines():
        fields = line.strip().split("|")
        if len(fields) != 7 or not fields[3].isdigit():
            continue
        name, state, limit, nodes, cores, _, gres = fields
        earlier = found.get(name, Found(up=False, hours=None, nodes=0, cores=0, gpus=0))
        found[name] = Found(
            up=state == "up",
            hours=hours_of(limit),
            nodes=earlier.nodes + int(nodes),
            cores=max(earlier.cores, int(cores.rstrip("+"))),
            gpus=max(earlier.gpus, gpus_of(gres)),
        )
    if not found:
        raise EnvironmentLacking(
            what=f"sinfo names no partition: {table.strip()!r}",
            why="jobs go to partitions",
            fix="sinfo --all shows its own words",
        )
    return found


def hours_of(limit: str) -> float | None:
    """Of a time limit as Slurm writes it: [days-]hours:minutes:seconds, or minutes:seconds; None: infinite."""
    if limit in ("infinite", "n/a", "UNLIMITED", ""):
        return None
    days, _, rest = limit.rpartition("-")
    parts = [0, 0, 0, *map(int, rest.split(":"))][-3:]
    return int(days or 0) * 24 + parts[0] + parts[1] / 60 + parts[2] / 3600


def gpus_of(gres: str) -> int:
    """GPUs of a node, of gres as sinfo writes it: gpu:a100:4(S:0-1),shard:8; (null): none."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d+)", gres))


def account_row(asked: Asked) -> Seen:
    """The variable that names the account is set, and the account is one of this user's."""
    _only_slurm(asked)
    variable = asked.site.account_variable
    if variable is None:
        raise Skipped(f"site {asked.site.name} charges no account")
    account = asked.environment.get(variable)
    if not account:
        raise ConfigError(
            what=f"{variable} is not set",
            why=f"{asked.site_file} says that it names the account, without which a job is refused",
            fix=f"export {variable}=<account>; mybalance or sacctmgr show assoc user=$USER names yours",
        )
    if not _has_accounting(asked):
        return Seen(detail=f"{variable} is set; this cluster keeps no accounts", examined=1)
    user = getpass.getuser()
    held = {line[0] for line in _rows(asked, ["show", "assoc", f"user={user}", "format=Account"]) if line[0]}
    if account not in held:
        raise ConfigError(
            what=f"{variable}={account}, and {user} has {', '.join(sorted(held)) or 'no account'}",
            why="a job that is charged to it is refused",
            fix=f"export {variable}={min(held) if held else '<account>, once the operator has given you one'}",
        )
    return Seen(detail=f"{variable} is set, and {user} may charge it", examined=len(held))


def limits_row(asked: Asked) -> Seen:
    """GPUs at once and hours that the accounts of this user allow, against those that the site's file says."""
    _only_slurm(asked)
    if not _has_accounting(asked):
        raise Skipped("this cluster keeps no accounts, so it has no limits of them")
    user = getpass.getuser()
    words = ["show", "assoc", f"user={user}", "format=Account,GrpTRES,MaxTRES,QOS"]
    rows = _rows(asked, words)
    if not rows:
        raise Warned(
            what=f"accounting tells of no account of {user}",
            why="what it allows is not known here; a job says whether it is allowed",
            fix=f"{shlex.join(['sacctmgr', *words])}, by hand",
        )
    names = {name for line in rows for name in line[3].split(",") if name}
    limits = [f"{line[1]},{line[2]}" for line in rows]
    limits += [f"{line[1]},{line[2]}" for line in _rows(asked, ["show", "qos", "format=Name,MaxTRESPU,GrpTRES"])
               if line[0] in names]  # fmt: skip
    counts = [int(count) for text in limits for count in re.findall(r"gres/gpu=(\d+)", text)]
    stated = {name: one.max_gpus_per_user for name, one in asked.site.partitions.items() if one.max_gpus_per_user}
    over = {name: most for name, most in stated.items() if counts and most > max(counts)}
    if over:
        raise Warned(
            what=f"accounting allows at most {max(counts)} GPUs at once in any QOS, {asked.site_file} says "
            f"{', '.join(f'{name} {most}' for name, most in over.items())}",
            why="what is beyond the limit waits in the queue without an end",
            fix=f"write max_gpus_per_user: {max(counts)} into {asked.site_file}",
        )
    said = f"at most {max(counts)} GPUs at once in any QOS" if counts else "no limit of GPUs"
    return Seen(detail=f"{said} for {user} in {len(rows)} accounts", examined=len(rows))


def tool_row(asked: Asked, tool: str, find: Callable[[str], str | None] = which) -> Seen:
    """What the operator's own tool says of credits or quotas; its form is not known, so it is shown."""
    if find(tool) is None:
        raise Skipped(f"{tool} is not installed here")
    why = "what is left of credits and quotas is not known here"
    done = _unless_late(asked, [tool], why)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.exit_code != 0 or not lines:
        raise Warned(
            what=f"{tool} ends with {done.exit_code}: {_first_line(done) or 'it says nothing'}",
            why=why,
            fix=f"{tool}, by hand",
        )
    return Seen(detail=" / ".join(lines), examined=len(lines))


def _only_slurm(asked: Asked) -> None:
    if asked.site.scheduler != "slurm":
        raise Skipped(f"site {asked.site.name} has no scheduler")


def _has_accounting(asked: Asked) -> bool:
    config = _ask(asked, ["scontrol", "show", "config"])
    found = re.search(r"^AccountingStorageType\s*=\s*(\S+)", config, re.MULTILINE)
    return found is not None and found[1] not in ("accounting_storage/none", "(null)")


def _rows(asked: Asked, words: list[str]) -> list[list[str]]:
    """Lines of sacctmgr. Warned where it does not answer: unknown is not failed."""
    why = "accounts and their limits are not known here; a job says whether they hold"
    done = _unless_late(asked, ["sacctmgr", "--noheader", "--parsable2", *words], why)
    if done.exit_code != 0:
        raise Warned(
            what=f"sacctmgr ends with {done.exit_code}: {_first_line(done)}",
            why=why,
            fix=f"{shlex.join(['sacctmgr', *words])}, by hand",
        )
    # A site may greet whoever asks.
    columns = words[-1].count(",") + 1
    return [row for line in done.stdout.splitlines() if len(row := line.split("|")) == columns]


def _ask(asked: Asked, argv: list[str]) -> str:
    # A separator of columns would be one of programs in a shell.
    line = shlex.join(argv)
    why = f"site {asked.site.name} runs its stages as Slurm jobs"
    fix = f"run this on a login node of {asked.site.name}, and look again: {line}"
    try:
        done = asked.runner.run(argv, timeout_s=ANSWER_S)
    except EnvironmentLacking:
        raise
    except TrackyardError as error:
        raise EnvironmentLacking(what=error.what, why=why, fix=fix) from error
    if done.exit_code != 0:
        raise EnvironmentLacking(what=f"`{line}` ends with {done.exit_code}: {_first_line(done)}", why=why, fix=fix)
    return done.stdout


def _unless_late(asked: Asked, argv: list[str], why: str) -> Finished:
    """What a program answers; Warned where it does not in time."""
    try:
        return asked.runner.run(argv, timeout_s=ANSWER_S)
    except EnvironmentLacking:
        raise
    except TrackyardError as error:
        raise Warned(what=error.what, why=why, fix=f"{shlex.join(argv)}, by hand") from error


def _first_line(done: Finished) -> str:
    """Of what a program complains about."""
    return next(iter((done.stderr or done.stdout).strip().splitlines()), "")
