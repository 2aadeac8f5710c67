"""Rows about Slurm, as its programs answer: each fine, each as it is told when it is not; unknown is not failed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.doctor.asking import CLUSTER, asking, late_answer
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor import scheduler
from trackyard.launch.doctor.scheduler import Found, gpus_of, hours_of, partitions
from trackyard.launch.preflight import Skipped, Warned

SINFO = "gpu|up|2-00:00:00|2|96|1031000|gpu:h100:4(S:0-1)\ncpu|up|4-00:00:00|3|64+|256000|(null)\n"
UP = {"scontrol ping": "Slurmctld(primary) at head is UP\n", "sinfo --version": "slurm-wlm 22.05.8\n"}
ACCOUNTING = {"scontrol show config": "AccountingStorageType   = accounting_storage/slurmdbd\n"}
NO_ACCOUNTING = {"scontrol show config": "AccountingStorageType   = accounting_storage/none\n"}
MINE = {"FAR_ACCOUNT": "proj"}


def everywhere(name: str) -> str | None:
    return f"/somewhere/{name}"


@pytest.mark.parametrize("row", ["slurm_row", "partitions_row", "account_row", "limits_row"])
def test_a_site_without_a_scheduler_is_not_asked(tmp_path: Path, row: str) -> None:
    with pytest.raises(Skipped, match="no scheduler"):
        getattr(scheduler, row)(asking(tmp_path))


def test_slurm_answers(tmp_path: Path) -> None:
    seen = scheduler.slurm_row(asking(tmp_path, UP, site=CLUSTER), everywhere)
    assert seen.detail == "slurm-wlm 22.05.8, Slurmctld(primary) at head is UP"


def test_slurm_does_not(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="not on PATH: sbatch"):
        scheduler.slurm_row(asking(tmp_path, site=CLUSTER), lambda name: None if name == "sbatch" else name)
    down = {**UP, "scontrol ping": "Slurmctld(primary) at head is DOWN\n"}
    with pytest.raises(EnvironmentLacking, match="is DOWN"):
        scheduler.slurm_row(asking(tmp_path, down, site=CLUSTER), everywhere)
    broken = {**UP, "scontrol ping": (1, "error: Could not establish a configuration source")}
    with pytest.raises(EnvironmentLacking, match="ends with 1: error: Could not"):
        scheduler.slurm_row(asking(tmp_path, broken, site=CLUSTER), everywhere)


def test_a_command_to_look_again_is_one_that_a_shell_takes_as_it_stands(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        scheduler.partitions_row(asking(tmp_path, {"sinfo": (1, "no controller")}, site=CLUSTER))
    again = raised.value.fix.partition("look again: ")[2]
    assert shlex.split(again, comments=True)[:3] == ["sinfo", "--noheader", "--all"]
    assert "'--format=%R|%a|%l|%D|%c|%m|%G'" in again


def test_partitions_are_as_the_site_says(tmp_path: Path) -> None:
    seen = scheduler.partitions_row(asking(tmp_path, {"sinfo": SINFO}, site=CLUSTER))
    assert (seen.detail, seen.examined) == ("gpu, cpu: up, and as sites/far.yaml says", 2)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (SINFO.splitlines()[0], "there is no partition cpu"),
        (SINFO.replace("2-00:00:00", "1-00:00:00"), "gpu allows 24 h, not 48 h"),
        (SINFO.replace("|2|96|", "|1|96|"), "gpu has 1 nodes, not 2"),
        (SINFO.replace("64+", "32"), "cpu has 32 cores in a node, not 64"),
        (SINFO.replace("h100:4", "h100:2"), "gpu has 2 GPUs in a node, not 4"),
    ],
)
def test_partitions_are_not(tmp_path: Path, table: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        scheduler.partitions_row(asking(tmp_path, {"sinfo": table}, site=CLUSTER))


def test_a_partition_that_is_closed_is_a_warning(tmp_path: Path) -> None:
    with pytest.raises(Warned, match="gpu: takes no jobs now"):
        scheduler.partitions_row(asking(tmp_path, {"sinfo": SINFO.replace("gpu|up", "gpu|down")}, site=CLUSTER))


def test_kinds_of_nodes_of_one_partition_are_added() -> None:
    table = "warning: something\nmix|up|infinite|2|64|1|(null)\nmix|up|infinite|3|128|1|gpu:a100:2,gpu:h100:1\n"
    assert partitions(table) == {"mix": Found(up=True, hours=None, nodes=5, cores=128, gpus=3)}
    with pytest.raises(EnvironmentLacking, match="names no partition"):
        partitions("nothing here\n")


@given(days=st.integers(0, 99), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_time_limits(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}" if days else f"{hours}:{minutes:02}:{seconds:02}"
    assert hours_of(text) == pytest.approx(24 * days + hours + minutes / 60 + seconds / 3600)


def test_time_limits_without_hours_or_end() -> None:
    assert hours_of("30:00") == 0.5
    assert hours_of("infinite") is None


@pytest.mark.parametrize(
    ("gres", "count"),
    [("(null)", 0), ("gpu:4", 4), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:2,gpu:h100:1", 3), ("shard:8,mps:100", 0)],
)
def test_gpus_of_a_node(gres: str, count: int) -> None:
    assert gpus_of(gres) == count


def test_the_account(tmp_path: Path) -> None:
    free = {key: value for key, value in CLUSTER.items() if key != "account_variable"}
    with pytest.raises(Skipped, match="charges no account"):
        scheduler.account_row(asking(tmp_path, site=free))
    with pytest.raises(ConfigError, match="FAR_ACCOUNT is not set"):
        scheduler.account_row(asking(tmp_path, ACCOUNTING, site=CLUSTER))
    seen = scheduler.account_row(asking(tmp_path, NO_ACCOUNTING, site=CLUSTER, environment=MINE))
    assert "keeps no accounts" in seen.detail
    held = {**ACCOUNTING, "sacctmgr": "other\nproj\n"}
    assert "may charge it" in scheduler.account_row(asking(tmp_path, held, site=CLUSTER, environment=MINE)).detail
    with pytest.raises(ConfigError, match=r"FAR_ACCOUNT=proj, and .* has other") as raised:
        scheduler.account_row(asking(tmp_path, {**ACCOUNTING, "sacctmgr": "other\n"}, site=CLUSTER, environment=MINE))
    assert raised.value.fix == "export FAR_ACCOUNT=other"


def test_accounting_that_does_not_answer_is_unknown_and_not_failed(tmp_path: Path) -> None:
    silent = {**ACCOUNTING, "sacctmgr": (1, "sacctmgr: error: Problem talking to the database")}
    for row in (scheduler.account_row, scheduler.limits_row):
        with pytest.raises(Warned, match="Problem talking to the database"):
            row(asking(tmp_path, silent, site=CLUSTER, environment=MINE))


def test_what_does_not_answer_in_time_is_unknown_and_not_failed(tmp_path: Path) -> None:
    late = {**ACCOUNTING, "sacctmgr": late_answer(), "mybalance": late_answer()}
    asked = asking(tmp_path, late, site=CLUSTER, environment=MINE)
    for row in (scheduler.account_row, scheduler.limits_row):
        with pytest.raises(Warned, match="did not end within") as raised:
            row(asked)
        assert raised.value.fix.startswith("sacctmgr ")
    with pytest.raises(Warned, match="did not end within"):
        scheduler.tool_row(asked, "mybalance", everywhere)
    with pytest.raises(EnvironmentLacking, match="did not end within") as lacking:
        scheduler.slurm_row(asking(tmp_path, {"scontrol ping": late_answer()}, site=CLUSTER), everywhere)
    assert "a login node" in lacking.value.fix


def test_what_a_site_says_before_its_answer_is_no_row(tmp_path: Path) -> None:
    greeted = {**ACCOUNTING, "sacctmgr": "Welcome to the cluster\nproj|||normal\n"}
    assert scheduler.limits_row(asking(tmp_path, greeted, site=CLUSTER, environment=MINE)).examined == 1


@pytest.mark.parametrize("said", ["", "Welcome to the cluster\n"])
def test_limits_of_no_account_are_unknown(tmp_path: Path, said: str) -> None:
    with pytest.raises(Warned, match="accounting tells of no account of ") as raised:
        scheduler.limits_row(asking(tmp_path, {**ACCOUNTING, "sacctmgr": said}, site=CLUSTER, environment=MINE))
    assert raised.value.fix.startswith("sacctmgr show assoc user=")


def test_limits_of_the_account(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="keeps no accounts"):
        scheduler.limits_row(asking(tmp_path, NO_ACCOUNTING, site=CLUSTER))

    def answers(most: int) -> dict[str, str | tuple[int, str]]:
        return {
            **ACCOUNTING,
            "sacctmgr --noheader --parsable2 show assoc": "proj|||normal,debug\n",
            "sacctmgr --noheader --parsable2 show qos": f"normal|gres/gpu={most}|\ndebug|gres/gpu=1|\n"
            "other|gres/gpu=99|\n",
        }

    seen = scheduler.limits_row(asking(tmp_path, answers(8), site=CLUSTER))
    assert seen.detail.startswith("at most 8 GPUs at once in any QOS")
    with pytest.raises(Warned, match=r"allows at most 4 GPUs at once in any QOS, sites/far\.yaml says gpu 8"):
        scheduler.limits_row(asking(tmp_path, answers(4), site=CLUSTER))


def test_tools_of_the_operator_are_shown(tmp_path: Path) -> None:
    asked = asking(tmp_path, {"mybalance": "Account  GPU\n\nproj  1000\n", "myquota": (1, "no quota server")})
    assert scheduler.tool_row(asked, "mybalance", everywhere).detail == "Account  GPU / proj  1000"
    with pytest.raises(Warned, match="no quota server"):
        scheduler.tool_row(asked, "myquota", everywhere)
    with pytest.raises(Skipped, match="not installed"):
        scheduler.tool_row(asked, "mybalance", lambda name: None)
