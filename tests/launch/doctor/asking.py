"""A checkout, a site and programs that say what a test wants, for rows of the doctor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.launch.doctor.asked import Asked, Wanted
from trackyard.launch.sites import Site
from trackyard.runner import Finished

LOCAL = {"name": "here", "default_partition": "all", "partitions": {"all": {"device": "any", "cores_per_node": 4}}}
CLUSTER = {
    "name": "far",
    "scheduler": "slurm",
    "account_variable": "FAR_ACCOUNT",
    "default_partition": "gpu",
    "partitions": {
        "gpu": {
            "device": "h100", "gpus_per_node": 4, "nodes": 2, "cores_per_node": 96, "max_hours": 48,
            "max_gpus_per_user": 8,
        },
        "cpu": {"device": "cpu", "nodes": 3, "cores_per_node": 64, "max_hours": 96},
    },
}  # fmt: skip


Answer = str | tuple[int, str] | TrackyardError


def late_answer() -> TrackyardError:
    """As of a program that does not end in time."""
    return TrackyardError(what="it did not end within 4 s", why="a test", fix="none")


class Programs:
    """Answers by the beginning of a command line: an output, (exit code, output) or an error. Nothing else is there."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        line = " ".join(argv)
        for beginning, answer in self.answers.items():
            if line.startswith(beginning):
                if isinstance(answer, TrackyardError):
                    raise answer
                code, text = answer if isinstance(answer, tuple) else (0, answer)
                out, err = (text, "") if code == 0 else ("", text)
                return Finished(argv=tuple(argv), exit_code=code, stdout=out, stderr=err, seconds=0.0)
        raise EnvironmentLacking(what=f"the program {argv[0]!r} is not installed", why="a test", fix="none")


def asking(
    root: Path,
    answers: Mapping[str, Answer] | None = None,
    *,
    site: Mapping[str, Any] = LOCAL,
    environment: Mapping[str, str] | None = None,
    wanted: Wanted | None = None,
    **changed: Any,
) -> Asked:
    """changed: of the site."""
    return Asked(
        root=root,
        site=Site.model_validate({**site, **changed}),
        runner=Programs(answers or {}),
        environment=environment or {},
        wanted=wanted,
    )


def mounted(root: Path, kind: str, options: str = "rw") -> Path:
    """A mount table in which `root` lies on a file system of this kind."""
    table = root / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"2 1 0:50 / {str(root).replace(' ', chr(92) + '040')} rw,relatime shared:1 - {kind} server:/x {options}\n"
    )
    return table
