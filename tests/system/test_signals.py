"""A stop signal gives exit 75 and a complete checkpoint, or no 75 at all (reliability F12)."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.system.repository import STEPS, Ended, Repository, spooled
from trackyard.digest import digest_file

pytestmark = pytest.mark.system

TERM, USR1 = signal.SIGTERM, signal.SIGUSR1


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One attempt: a line of its output, the signals sent after it, how it ended, and the checkpoints then."""

    after: str
    signals: Sequence[signal.Signals]
    ended: Ended
    checkpoints: list[int]
    states: list[str]


@pytest.fixture(scope="module")
def history(after_stage1: Repository, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[Stop], Ended]:
    """One run that is stopped again and again, then ends."""
    repository = after_stage1.copy(tmp_path_factory.mktemp("stopped") / "root")
    stops = []
    for after, signals in (
        ("preflight ", [TERM]),
        ("train ", [TERM]),
        ("train ", [USR1]),
        ("train ", [TERM, USR1, TERM, USR1]),
        ("final", [USR1, TERM]),
    ):
        with repository.started("run", "molmo2", "stage2") as running:
            if after == "final":
                running.wait_for(lambda: any(repository.path.glob("runs/molmo2/stage2/*/final")), "final weights")
            else:
                running.wait_for_line(after)
            for number in signals:
                running.send(number)
            ended = running.end()
        stops.append(
            Stop(
                after=after,
                signals=signals,
                ended=ended,
                checkpoints=repository.checkpoints(),
                states=_states(repository),
            )
        )
    return repository, stops, repository.stage2()


def _states(repository: Repository) -> list[str]:
    """Status events of the newest attempt."""
    spools = sorted(repository.run_directory().glob("spool/attempt-*.jsonl"))
    lines = spools[-1].read_text().splitlines() if spools else []
    return [event["state"] for event in map(json.loads, lines) if event["event"] == "status"]


def test_before_the_first_checkpoint_a_signal_is_no_75(history: tuple[Repository, list[Stop], Ended]) -> None:
    stop = history[1][0]
    parts = stop.ended.error(128 + TERM, "CutOff")
    assert parts["what"] == "stopped by SIGTERM before the first checkpoint"
    assert parts["fix"].startswith("dvc repro stage2")
    assert stop.checkpoints == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_in_training_the_step_is_ended_and_saved(history: tuple[Repository, list[Stop], Ended], number: int) -> None:
    repository, stops, _ = history
    stop = stops[number]
    parts = stop.ended.error(75, "StoppedEarly")
    found = re.fullmatch(rf"stopped as asked after step (\d+) of {STEPS}", parts["what"])
    assert found is not None
    step = int(found[1])
    assert stop.checkpoints[-1] == step
    assert f"step {step} " in parts["why"]
    assert str(repository.run_directory() / "checkpoints") in parts["why"]
    assert parts["fix"] == "dvc repro stage2"
    assert stop.states == ["stopped"]
    earlier = stops[number - 1].checkpoints
    assert step > max(earlier, default=0), "the attempt got nowhere"


def test_after_training_a_signal_stops_at_once_and_the_weights_stay(
    history: tuple[Repository, list[Stop], Ended],
) -> None:
    stop = history[1][4]
    parts = stop.ended.error(75, "StoppedEarly")
    assert parts["what"] in ("stopped by SIGUSR1", "stopped by SIGTERM")
    assert "checkpoints" in parts["why"]
    assert stop.checkpoints[-1] == STEPS


def test_the_next_run_ends_with_the_bits_of_an_uninterrupted_one(
    history: tuple[Repository, list[Stop], Ended], uninterrupted: Repository
) -> None:
    repository, _, ended = history
    assert ended.code == 0, ended
    assert "train " not in ended.out, "the weights were there already"
    run, other = repository.run_directory(), uninterrupted.run_directory()
    assert digest_file(run / "final/model.safetensors") == digest_file(other / "final/model.safetensors")
    assert spooled(run) == spooled(other)
