"""The harness of the benchmarks: turns, equal answers, missing peers, verdicts; and that it can say no."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from benchmarks import harness
from benchmarks.harness import Contender, Target, Unequal, compare, equal_answers, judge, write_record

CODE = """
import sys, time
from benchmarks.measured import report
def work():
    time.sleep(float(sys.argv[2]))
    return 10, sys.argv[1]
report(work, note=1)
"""


def _contender(name: str, answer: str, seconds: str, peer: bool = False) -> Contender:
    return Contender(name=name, argv=["-c", CODE, answer, seconds], peer=peer)


def test_ratio_and_verdicts_of_two_sleepers_and_a_missing_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "PEERS", harness.ROOT / ".no-such-venv" / "python")
    contenders = [_contender("ours", "a", "0.02"), _contender("slow", "a", "0.6"), _contender("gone", "a", "0", True)]
    figures = compare(contenders, metric="wall_s", rounds=2)
    ours, slow = (median(10 / each["wall_s"] for each in figures[name]["rounds"]) for name in ("ours", "slow"))
    assert figures["slow"]["ours_over_it"] == pytest.approx(ours / slow)
    assert "missing" in figures["gone"]
    targets = judge(
        figures, [Target(peer="slow", ratio=2), Target(peer="best", ratio=100), Target(peer="gone", ratio=1)]
    )
    assert [target["verdict"] for target in targets] == ["reached", "missed", "not measured: the peer is missing"]
    workload = {"name": "sleep", "unit": "naps/s", "figures": figures, "targets": targets}
    assert not write_record("naps", [workload], packages=["numpy"], results=tmp_path)
    record = json.loads((tmp_path / "naps.json").read_text())
    assert record["schema"] == harness.SCHEMA
    assert len(record["workloads"][0]["figures"]["ours"]["rounds"]) == 2
    assert "missing" in capsys.readouterr().out


def test_unequal_answers_give_no_result() -> None:
    with pytest.raises(Unequal, match="b answered otherwise"):
        compare([_contender("a", "1", "0"), _contender("b", "2", "0")], metric="wall_s", rounds=1)
    assert equal_answers({"a": [1], "b": [1]}) is None


def test_a_failing_contender_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit code 3"):
        compare([Contender(name="a", argv=["-c", "import sys; sys.exit(3)"])], metric="wall_s")


def test_nothing_judged_is_not_a_success(tmp_path: Path) -> None:
    assert not write_record("empty", [{"name": "x", "unit": "u/s", "figures": {}, "targets": []}], results=tmp_path)
