"""Slurm's programs, run so that neither the user's settings nor an answer that never came changes what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trackyard.errors import TrackyardError
from trackyard.runner import Runner

ANSWER_S = 180.0
"""How long a program may take: sbatch itself tries again where the controller is busy."""

_TRANSIENT = re.compile(
    r"Unable to contact slurm controller|Socket timed out|temporarily unable to accept|Resource temporarily unavailable"
    r"|Zero Bytes were transmitted|[Cc]ommunication.* failure|Transport endpoint|Unexpected message received"
    r"|Connection refused|Connection timed out|in standby mode|Invalid controller|[Tt]ry again later"
)
_KEPT = frozenset(("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"))
_THEIRS = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a program said. lost: it did not answer, or could not reach the cluster: what it was asked may have happened
    or not. words: its complaint, on one line."""

    ok: bool
    lost: bool
    stdout: str
    words: str


def ask(runner: Runner, argv: Sequence[str], environment: Mapping[str, str]) -> Answer:
    """Run one of Slurm's programs. EnvironmentLacking where it is not installed."""
    try:
        done = runner.run(argv, env=_plain(environment), timeout_s=ANSWER_S)
    except TrackyardError as error:
        # A subclass says that it was never started; this one that it did not end.
        if type(error) is not TrackyardError:
            raise
        return Answer(ok=False, lost=True, stdout="", words=error.what)
    words = " ".join((done.stderr.strip() or done.stdout).split())[-400:]
    ok = done.exit_code == 0
    lost = not ok and _TRANSIENT.search(f"{done.stderr} {done.stdout}") is not None
    return Answer(ok=ok, lost=lost, stdout=done.stdout, words=words)


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Without defaults of the user (SBATCH_PARTITION holds before what a script says) and marks of a job around us."""
    kept = {name: value for name, value in environment.items() if name in _KEPT or not name.startswith(_THEIRS)}
    # Lists of an array's tasks are shortened otherwise.
    return {**kept, "SLURM_BITSTR_LEN": "0"}
