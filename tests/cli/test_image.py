"""`trackyard image`: arguments, what is printed and with which code it ends; images themselves are in tests/cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.cluster.small_image import NAME, make_repository
from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard import runner
from trackyard.cli.image import app
from trackyard.errors import ConfigError, EnvironmentLacking

Ask = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository at which an apptainer that does nothing builds."""
    make_repository(tmp_path / "root")
    (tmp_path / "root" / "base.sif").write_bytes(b"base")
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 99\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("TRACKYARD_SITE", raising=False)
    monkeypatch.setattr(runner, "SystemRunner", FakeApptainer)
    return tmp_path / "root"


@pytest.fixture
def ask(root: Path) -> Ask:
    def call(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def test_build_lock_and_an_image_of_other_bytes(ask: Ask, root: Path) -> None:
    told = ask("build", NAME, "--build-arg", "BASE=base.sif", "--build-arg", "SOURCE=a=b").output
    assert "small: building; to watch it: tail -f containers/small.build.log" in told
    assert told.endswith("; next: trackyard image verify small\n")
    locked = json.loads(ask("lock", NAME, "--json").output)
    assert locked["build_args"]["SOURCE"] == "a=b"
    assert f"sif_sha256           {locked['sif_sha256']}\n" in ask("lock", NAME).output
    (root / "containers" / "small.sif").write_bytes(b"other")
    told = ask("verify", NAME, code=1).output
    assert "FAIL file" in told
    assert "small: NOT proved: " in told


def test_other_files_of_the_image_are_told_and_stay(ask: Ask, root: Path) -> None:
    words = ("build", NAME, "--build-arg", "BASE=base.sif")
    assert "other files" not in ask(*words).output
    older = [root / "containers" / f"{NAME}-{digit * 12}.sif" for digit in "ab"]
    for path in older:
        path.write_bytes(b"older")
    line = "2 other files of it in the store, 10 B; where no checkout has locked them and no job runs in them: rm "
    # Each command has an apptainer of its own here: to the second, the labels of the first build are unknown.
    for told in (ask(*words).output, ask("verify", NAME, code=1).output):
        assert f"{line}{older[0]} {older[1]}\n" in told
    assert all(path.is_file() for path in older)


@pytest.mark.parametrize("text", ["BASE", "=x"])
def test_a_build_argument_is_a_name_and_a_value(ask: Ask, text: str) -> None:
    with pytest.raises(ConfigError, match="--build-arg"):
        ask("build", NAME, "--build-arg", text)


@pytest.mark.parametrize("words", [("verify",), ("exec", "true"), ("lock",), ("sbom",)])
def test_an_image_that_is_not_locked(ask: Ask, words: tuple[str, ...]) -> None:
    with pytest.raises(EnvironmentLacking, match="has no image 'small'"):
        ask(words[0], NAME, *words[1:])


def test_exec_becomes_the_one_line(ask: Ask, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("build", NAME, "--build-arg", "BASE=base.sif")
    became: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda *words: became.append(words))
    ask("exec", "--nv", NAME, "--", "python", "-c", "print(1)", "--nv", "--help")
    ((program, argv, _),) = became
    assert program == argv[0] == "apptainer"
    assert "--nv" in argv[: argv.index("--pwd")]
    assert argv[argv.index("--pwd") + 1 :] == [
        str(root), str(root / "containers" / "small.sif"), "python", "-c", "print(1)", "--nv", "--help"
    ]  # fmt: skip
