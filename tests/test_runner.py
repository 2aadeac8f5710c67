"""External programs: results whatever the exit code, and errors that say what to install or wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import all_end, is_alive
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.runner import Finished, Runner, SystemRunner, attended, beside, together


def _python(code: str, **options: object) -> Finished:
    runner: Runner = SystemRunner()
    return runner.run([sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_output_exit_code_and_duration_are_recorded() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = _python(code)
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 7)
    assert done.argv == (sys.executable, "-c", code)
    assert 0 < done.seconds < 30


def test_a_signal_is_a_negative_exit_code() -> None:
    assert _python("import os; os.kill(os.getpid(), 9)").exit_code == -9


def test_arguments_are_not_read_by_a_shell() -> None:
    assert SystemRunner().run(["printf", "%s", "$HOME; echo *"]).stdout == "$HOME; echo *"


def test_folder_and_environment_are_the_given_ones(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd()); print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    done = _python(code, cwd=tmp_path, env={"ONLY": "1"})
    assert done.stdout == f"{tmp_path.resolve()}\n['ONLY']\n"


def test_an_absent_program_is_an_environment_error() -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        SystemRunner().run(["no-such-program-here", "--flag"])
    assert raised.value.what == "the program 'no-such-program-here' is not installed or not executable"
    assert raised.value.why == "`no-such-program-here --flag` needs it"
    assert raised.value.exit_code == 3


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(TrackyardError, match="did not end within 3 s"):
        _python(code, timeout_s=3.0)
    assert time.monotonic() - started < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_program_is_given_a_secret_on_its_command_line() -> None:
    secret = "hf_" + "Qw3rTy" * 6
    with pytest.raises(ConfigError, match="command line"):
        SystemRunner().run(["echo", secret])
    with pytest.raises(ConfigError, match="command line"):
        together([(["echo", secret], {})])
    assert SystemRunner().run(["printenv", "X"], env={"X": secret}).stdout.strip() == secret


WATCH = """
import pathlib, sys, os, signal, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
sys.stdin.read()
"""


def _started(path: Path, seconds: float = 120.0) -> int:
    """The process id that a program writes when it has started."""
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


@pytest.mark.parametrize("deaf", [[], ["deaf"]])
def test_a_program_beside_a_block_ends_with_it(tmp_path: Path, deaf: list[str]) -> None:
    argv = [sys.executable, "-c", WATCH, str(tmp_path / "pid"), *deaf]
    with beside(argv, os.environ, nice=19, grace_s=0.5):
        pid = _started(tmp_path / "pid")
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert all_end([pid], within_s=120)


def test_a_program_beside_a_block_ends_with_a_block_that_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with beside([sys.executable, "-c", WATCH, str(tmp_path / "pid")], os.environ):
            _started(tmp_path / "pid")
            raise KeyError("of the block")

    with pytest.raises(KeyError):
        fail()
    assert all_end([int((tmp_path / "pid").read_text())], within_s=120)


def test_a_companion_lives_as_long_as_what_its_parent_becomes(tmp_path: Path) -> None:
    code = f"""
import os, sys
from trackyard.runner import companion
companion([sys.executable, "-c", {WATCH!r}, {str(tmp_path / "pid")!r}], os.environ)
os.execv(sys.executable, [sys.executable, "-c", "import sys; sys.stdin.read()"])
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        pid = _started(tmp_path / "pid")
        time.sleep(0.3)
        assert is_alive(pid)
        parent.kill()
        parent.wait()
        assert all_end([pid], within_s=120)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdin is not None:
            parent.stdin.close()


def test_a_program_that_is_absent_cannot_run_beside() -> None:
    with pytest.raises(EnvironmentLacking, match="no-such-program-here"), beside(["no-such-program-here"], {}):
        pass


def _attended(code: str, *, asked: bool = False, cwd: Path = Path(), ready: Path | None = None) -> int:
    """ready: the program is asked once this is there."""
    return attended(
        [sys.executable, "-c", code],
        os.environ,
        cwd=cwd,
        asked=lambda: asked and (ready is None or ready.exists()),
        ask=signal.SIGUSR1,
    )


def test_an_attended_program_passes_its_exit_code_on(tmp_path: Path) -> None:
    assert _attended("import pathlib, sys; pathlib.Path('here').touch(); sys.exit(75)", cwd=tmp_path) == 75
    assert (tmp_path / "here").exists()
    assert _attended("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL


def test_an_attended_program_is_asked_once_and_is_no_part_of_our_group(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, time\n"
        "heard = []\n"
        "signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))\n"
        f"assert os.getpgrp() == os.getpid() != {os.getpgrp()}\n"
        "pathlib.Path('ready').touch()\n"
        "limit = time.monotonic() + 30\n"
        "while not heard and time.monotonic() < limit: time.sleep(0.02)\n"
        "time.sleep(0.6)\n"
        "raise SystemExit(len(heard))\n"
    )
    assert _attended(code, asked=True, cwd=tmp_path, ready=tmp_path / "ready") == 1


def test_a_program_that_is_absent_cannot_be_attended() -> None:
    with pytest.raises(EnvironmentLacking, match="'no-such-program' is not installed"):
        attended(["no-such-program"], os.environ, cwd=Path(), asked=lambda: False, ask=signal.SIGUSR1)
