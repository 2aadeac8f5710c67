"""External programs: results whatever the exit code, and errors that say what to install or wait for."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.runner import Finished, Runner, SystemRunner


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
    with pytest.raises(TrackyardError, match="did not end within 1 s"):
        _python(code, timeout_s=1.0)
    assert time.monotonic() - started < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
