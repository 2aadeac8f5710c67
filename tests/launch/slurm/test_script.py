"""The text of a batch script: exact where it is plain, as bash reads it where it is hostile, else refused."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.launch.slurm.batch_jobs import REQUEST, batch_job
from trackyard.errors import ConfigError
from trackyard.launch.slurm.options import OURS, SETTABLE
from trackyard.launch.slurm.script import name_of, render, wall_time

PRINTED = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)


def test_the_whole_text() -> None:
    job = batch_job(
        after=("12", "13_4"),
        array="0-7%4",
        exports=(("HF_HUB_OFFLINE", "1"), ("NOTE", "two words")),
        modules=("modtree/gpu",),
        options=(("qos", "gpu"), ("exclusive", "")),
    )
    assert render(job) == (
        "#!/bin/bash\n"
        '#SBATCH --job-name="20261122-ab.stage2.1"\n'
        '#SBATCH --partition="ai"\n'
        '#SBATCH --account="proj"\n'
        '#SBATCH --nodes="2"\n'
        '#SBATCH --ntasks-per-node="4"\n'
        '#SBATCH --cpus-per-task="24"\n'
        '#SBATCH --gpus-per-node="4"\n'
        '#SBATCH --mem="960000M"\n'
        '#SBATCH --time="2-00:00:00"\n'
        '#SBATCH --signal="B:USR1@300"\n'
        "#SBATCH --requeue\n"
        '#SBATCH --open-mode="append"\n'
        '#SBATCH --output="/project/study/runs/jobs/ab/stage2/log.txt"\n'
        '#SBATCH --chdir="/project/study"\n'
        '#SBATCH --export="NIL"\n'
        '#SBATCH --kill-on-invalid-dep="yes"\n'
        '#SBATCH --dependency="afterok:12:13_4"\n'
        '#SBATCH --array="0-7%4"\n'
        '#SBATCH --qos="gpu"\n'
        "#SBATCH --exclusive\n"
        "export HF_HUB_OFFLINE=1\n"
        "export NOTE='two words'\n"
        "type module >/dev/null 2>&1 || . /etc/profile\n"
        "module load modtree/gpu || { echo 'what: module load modtree/gpu failed on this node\n"
        "why:  the site says that jobs need it\n"
        "fix:  see `module avail` there, and correct `modules` of the site' >&2; exit 3; }\n"
        "exec python -m trackyard work 20261122-ab stage2\n"
    )


def test_what_a_job_does_not_ask_for_is_not_written() -> None:
    bare = replace(REQUEST, account=None, gpus_per_node=0, memory_mb_per_node=None)
    text = render(batch_job(request=bare, requeue=False))
    for name in ("account", "gpus-per-node", "mem", "dependency", "array"):
        assert f"--{name}" not in text
    assert "#SBATCH --no-requeue\n" in text
    assert "module" not in text


@pytest.mark.parametrize(
    ("minutes", "written"), [(1, "0-00:01:00"), (90, "0-01:30:00"), (1440, "1-00:00:00"), (5761, "4-00:01:00")]
)
def test_wall_time(minutes: int, written: str) -> None:
    assert wall_time(minutes) == written


@pytest.mark.parametrize("name", sorted(OURS))
def test_options_of_our_own_are_not_set_twice(name: str) -> None:
    with pytest.raises(ConfigError, match="is set twice"):
        render(batch_job(options=((name, "1"),)))


@pytest.mark.parametrize("name", ["qoss", "--qos", "QOS", "wrap", "uid", "get-user-env", "ntasks", ""])
def test_an_unknown_option_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        render(batch_job(options=((name, "1"),)))
    assert raised.value.why == f"it may set {', '.join(sorted(SETTABLE))}"
    assert "qos" in raised.value.why


def test_no_option_is_both() -> None:
    assert not OURS & SETTABLE


@given(st.lists(PRINTED, min_size=1, max_size=4), PRINTED, PRINTED)
@settings(deadline=None, max_examples=50)
def test_hostile_words_reach_the_command_as_they_are(words: list[str], value: str, option: str) -> None:
    text = render(
        batch_job(command=("printf", "%s\\0", *words), exports=(("V", value),), options=(("comment", option),))
    )
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    # sbatch reads directives as a shell reads words (tests/cluster has the real one), and bash takes them for comments.
    directive = next(line for line in text.splitlines() if line.startswith("#SBATCH --comment")) if option else ""
    assert not option or shlex.split(directive)[1] == f"--comment={option}"
    ended = subprocess.run(["bash", "-c", text], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert ended.stdout.decode().split("\0")[:-1] == words
    shown = subprocess.run(
        ["bash", "-c", text.replace("exec printf", "printf '%s' \"$V\"; exit; ")], capture_output=True, check=True
    )
    assert shown.stdout.decode() == value


@pytest.mark.parametrize("bad", ["a\nb", "a\r", "\0", "\x1b[2J", "\ud800"])
@pytest.mark.parametrize(
    "where",
    [
        lambda bad: {"command": ("echo", bad)},
        lambda bad: {"exports": (("V", bad),)},
        lambda bad: {"options": (("comment", bad),)},
        lambda bad: {"output": Path("/x") / bad},
        lambda bad: {"cwd": Path("/x") / bad},
        lambda bad: {"modules": (bad,)},
        lambda bad: {"request": replace(REQUEST, account=bad)},
    ],
)
def test_control_characters_are_refused(bad: str, where: Any) -> None:
    with pytest.raises(ConfigError, match="cannot stand in a batch script"):
        render(batch_job(**where(bad)))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "two words"},
        {"name": "a,b"},
        {"name": ""},
        {"after": ("12;scancel",)},
        {"after": ("12_[1-3]",)},
        {"array": "0-"},
        {"array": "1-3%0"},
        {"exports": (("A B", "1"),)},
        {"exports": (("PATH=x;y", "1"),)},
    ],
)
def test_names_that_slurm_would_read_otherwise_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        render(batch_job(**changes))


def test_no_secret_enters_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "canary-7f3a9")
    for changes in (
        {"exports": (("HARMLESS", "canary-7f3a9"),)},
        {"command": ("run", "--with=canary-7f3a9")},
        {"options": (("comment", "canary-7f3a9"),)},
        {"modules": ("gcc/canary-7f3a9",)},
        {"exports": (("MLFLOW_TRACKING_URI", f"http://me{':'}canary@host/"),)},
    ):
        with pytest.raises(ConfigError, match="holds a secret") as raised:
            render(batch_job(**changes))
        assert "canary" not in str(raised.value)


def test_the_name_is_read_back() -> None:
    assert name_of(render(batch_job())) == "20261122-ab.stage2.1"
    for text in ("#!/bin/bash\n", '#SBATCH --job-name="a"\n#SBATCH --job-name="b"\n'):
        with pytest.raises(ConfigError, match="names its job"):
            name_of(text)
