"""The locked packages as files, collected where pip is configured: a build reads them and asks no index."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.launch.image.describing import tail
from trackyard.runner import Runner

SUMS = "SHA256SUMS"
PYTHON = (3, 11)
"""Of every image: wheels are of one version of Python."""


def collect_wheels(
    root: Path, folder: Path, runner: Runner, *, sources: Path | None = None, timeout_s: float = 3600.0
) -> int:
    """Put a wheel of each package of requirements.lock into `folder`, with their digests; returns how many.

    Which build of torch it is (CPU, CUDA) is what pip's configuration here prefers, as in `make setup`. sources: pins
    of what the image compiles itself; their archives are brought too, and the CUDA libraries of torch's build, which
    the lock leaves to it. Raises EnvironmentLacking where this Python is not that of the images, TrackyardError where
    pip fails.
    """
    here = tuple(sys.version_info[:2])
    if here != PYTHON:
        raise EnvironmentLacking(
            what=f"this is Python {here[0]}.{here[1]}; the images have {PYTHON[0]}.{PYTHON[1]}",
            why="pip collects wheels of the Python that it runs in",
            fix="rm -rf .venv && make setup PYTHON=python3.11; or collect them elsewhere: --build-arg WHEELS=DIR",
        )
    lock = root / "requirements.lock"
    wheels = ["wheel", "--wheel-dir", str(folder)]
    commands = [[*wheels, "--no-deps", "--requirement", str(lock)]]
    if sources is not None:
        torch = next(line for line in lock.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
        commands.insert(0, [*wheels, "--constraint", str(lock), torch])
        commands.append(["download", "--dest", str(folder), "--no-deps", "--no-binary=:all:", "--require-hashes",
                         "--requirement", str(sources)])  # fmt: skip
    for command in commands:
        argv = [sys.executable, "-m", "pip", command[0], "--quiet", "--disable-pip-version-check", *command[1:]]
        done = runner.run(argv, cwd=root, timeout_s=timeout_s)
        found = sorted(path for path in folder.glob("*") if path.name != SUMS)
        if done.exit_code != 0 or not found:
            raise TrackyardError(
                what=f"`{' '.join(argv)}` ended with {done.exit_code}, {len(found)} wheels: {tail(done)}",
                why="the image installs exactly the locked packages",
                fix="run it where the packages can be reached, then pass the folder: --build-arg WHEELS=DIR",
            )
    lines = []
    for path in found:
        with open(path, "rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / SUMS).write_text("".join(lines))
    return len(found)
