"""The start script of the group's server: what it refuses, before anything is started."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from checks.readme import readme_commands

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "servers" / "mlflow-group.sh"


def start(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env={**plain, **(environment or {})}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def refused(code: int, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The three parts of an error, after proving that there is nothing else."""
    ended = start(*arguments, environment=environment)
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    parts = dict(line.split(":", 1) for line in ended.stderr.splitlines())
    assert list(parts) == ["what", "why", "fix"], ended.stderr
    return {name: text.strip() for name, text in parts.items()}


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which programs of these names are found first."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_help_names_every_option() -> None:
    ended = start("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    parsed = set(
        re.findall(r"--[a-z-]+(?= \||\) )", SCRIPT.read_text().partition("arguments() {")[2].partition("\n}")[0])
    )
    assert len(parsed) == 10
    assert all(f"\n  {option} " in ended.stdout for option in parsed), parsed


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no --data"),
        (["--data"], "--data without a value"),
        (["--data", ""], "--data without a value"),
        (["--data", "{}", "--verbose"], "unknown argument '--verbose'"),
        (["--data", "{}", "--port", "0"], "--port 0"),
        (["--data", "{}", "--port", "65536"], "--port 65536"),
        (["--data", "{}", "--port", "http"], "--port http"),
        (["--data", "{}", "--workers", "0"], "--workers 0"),
        (["--data", "{}", "--host", "*"], "name or address '*'"),
        (["--data", "{}", "--host", "a,b"], "name or address 'a,b'"),
        (["--data", "{}", "--listen", "::"], "name or address '::'"),
        (["--data", "{}", "--store-from-environment"], "--store-from-environment without MLFLOW_BACKEND_STORE_URI"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], what: str) -> None:
    parts = refused(2, *[word.format(tmp_path / "data") for word in arguments])
    assert parts["what"] == what
    assert parts["fix"] == "servers/mlflow-group.sh --help"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", ["nfs", "lustre", "gpfs", "fhgfs", "cifs", "fuseblk"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """Of the nearest folder that exists. `stat` is asked by name, so that another answer can be given here."""
    environment = programs(tmp_path / "bin", stat=f'echo "$@" >{tmp_path}/asked; echo {kind}')
    data = tmp_path / "not" / "yet"
    parts = refused(3, "--data", str(data), environment=environment)
    assert parts["what"] == f"--data {data} is on a network file system ({kind})"
    assert "--store-from-environment" in parts["fix"]
    assert (tmp_path / "asked").read_text() == f"-f -c %T -- {tmp_path}\n"
    assert not (tmp_path / "not").exists()


def test_a_cluster_of_a_version_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("9.6\n")
    environment = programs(tmp_path / "bin", pg_isready="exit 1", postgres="echo 'postgres (PostgreSQL) 15.18'")
    parts = refused(3, "--data", str(tmp_path / "data"), environment=environment)
    assert parts["what"] == f"{tmp_path}/data/postgres was made by PostgreSQL 9.6, which is not installed"
    assert parts["fix"] == "apt-get install postgresql-9.6"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
@pytest.mark.parametrize(("user", "code"), [("root", 2), ("no-such-user", 3)])
def test_root_needs_another_user(tmp_path: Path, user: str, code: int) -> None:
    parts = refused(code, "--data", str(tmp_path / "data"), "--user", user)
    assert user in parts["what"]
    assert not (tmp_path / "data").exists()


def port_in_use(tmp_path: Path) -> None:
    """What answers there would be taken for the server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        port = listener.getsockname()[1]
        environment = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/store.db"}
        parts = refused(
            3, "--data", str(tmp_path / "data"), "--port", str(port), "--store-from-environment",
            environment=environment,
        )  # fmt: skip
    assert parts["what"] == f"port {port} of 127.0.0.1 is in use"


def test_a_port_in_use(tmp_path: Path) -> None:
    port_in_use(tmp_path)


def test_a_start_beside_a_server_that_ends_takes_its_place(tmp_path: Path) -> None:
    """Which gives its folder back a while after it has withdrawn its address; the start comes as far as the port."""
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        timer = threading.Timer(2.0, fcntl.flock, (lock, fcntl.LOCK_UN))
        timer.start()
        port_in_use(tmp_path)
        assert timer.finished.is_set()


def test_the_script_is_plain_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    lines = SCRIPT.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert max(map(len, lines)) <= 120
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_warns_of_nothing() -> None:
    # Its lesser remarks are about `A && B || refuse`, which is meant, and about functions that are called by name.
    subprocess.run(["shellcheck", "--severity=warning", str(SCRIPT)], check=True)


def test_the_page_starts_the_script_with_options_that_it_has() -> None:
    found = readme_commands(ROOT / "servers" / "README.md")
    options = {word for command in found if command.startswith("servers/") for word in command.split()
               if word.startswith("--")}  # fmt: skip
    assert len(found) == 7
    assert options == {"--data", "--port", "--host", "--upgrade"}
    assert all(option in start("--help").stdout for option in options)
