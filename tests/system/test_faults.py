"""What a stage survives, on the real stage: other ranks and ZeRO stages, signals at bad moments, losses that are no
number, devices that are too small, checkpoints of another run (reliability F12, F13, F20, F28).

The commands are forks of one process (tests/system/forked.py); the first test shows that they are the command itself.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.system.forked import Fault, Forks
from tests.system.repository import PACKS, SAVE_EVERY, STEPS, Repository, spooled
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY
from trackyard.record.metrics_file import read_metrics
from trackyard.record.rundir import open_existing
from trackyard.train.checkpoint import COMPLETE, MANIFEST, complete_checkpoints, verify_checkpoint

pytestmark = pytest.mark.system

TOLERANCE = 1e-4
"""Largest difference of a step's loss: other divisions sum in another order."""
WEIGHTS = "final/model.safetensors"

MakeCopy = Callable[[Repository], Repository]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.fixture
def copy_of(tmp_path: Path) -> MakeCopy:
    """Copy a root into this test's folder."""
    return lambda repository: repository.copy(tmp_path / "root")


def noting(repository: Repository) -> Fault:
    return "noting_examples", {"file": str(repository.path / "examples.jsonl")}


@pytest.fixture(scope="module")
def whole(forks: Forks, after_stage1: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A root whose stage 2 ran through at once in a fork."""
    repository = after_stage1.copy(tmp_path_factory.mktemp("whole") / "root")
    ended = forks.run(repository, noting(repository))
    assert ended.code == 0, ended
    return repository


def examples(repository: Repository) -> dict[int, tuple[list[Any], list[str]]]:
    """Rows and packs of every step, of all ranks together; a step that was taken twice holds them twice."""
    rows: dict[int, list[Any]] = defaultdict(list)
    packs: dict[int, list[str]] = defaultdict(list)
    for line in (repository.path / "examples.jsonl").read_text().splitlines():
        note = json.loads(line)
        rows[note["step"]] += note["rows"]
        packs[note["step"]] += note["packs"]
    return {step: (sorted(rows[step]), sorted(packs[step])) for step in sorted(rows)}


def same_losses(repository: Repository, reference: Repository) -> None:
    """The same run, every step once, with as many tokens and the same loss within the tolerance."""
    run, other = repository.run_directory(), reference.run_directory()
    assert run.name == other.name
    found, expected = spooled(run, exact=False), spooled(other)
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    for step, values in expected.items():
        assert found[step]["train/step_tokens"] == values["train/step_tokens"]
        assert found[step]["train/loss"] == pytest.approx(values["train/loss"], abs=TOLERANCE)


def same_bits(repository: Repository, reference: Repository) -> None:
    run, other = repository.run_directory(), reference.run_directory()
    assert digest_file(run / WEIGHTS) == digest_file(other / WEIGHTS)
    assert spooled(run) == spooled(other)


def proved(repository: Repository) -> list[int]:
    """Steps of the complete checkpoints, every byte of which is proved; nothing else lies beside them."""
    run = open_existing(repository.run_directory())
    found = complete_checkpoints(run.checkpoints)
    for path in found:
        verify_checkpoint(path, {"run_id": run.spec.run_id, "plan": run.spec.plan})
    return [int(path.name[5:]) for path in found]


def finite(file: Path) -> bool:
    return all(bool(np.isfinite(tensor).all()) for tensor in load_file(file).values())


def test_a_forked_command_is_the_command(whole: Repository, uninterrupted: Repository) -> None:
    same_bits(whole, uninterrupted)
    for name in ("metrics.json", "curves.csv"):
        result = Path("artifacts") / "molmo2" / "stage2" / name
        assert (whole.path / result).read_bytes() == (uninterrupted.path / result).read_bytes()


# --- F13: other ranks, other ZeRO stages

LEGS = (
    # ranks, ZeRO stage, context degree, last step
    (2, 2, 1, 2),
    (1, 1, 1, 4),
    (2, 2, 1, 5),
    (4, 3, 1, 8),
    (2, 0, 2, 10),
    (1, 0, 1, STEPS),
)
"""Each is continued by the next; 2 ranks with ZeRO 2 once by 1 with ZeRO 1, once by 4 with ZeRO 3."""


def divide(repository: Repository, ranks: int, zero_stage: int, degree: int = 1) -> None:
    """Set how the next attempt divides its work; none of it is part of the run's identity."""

    def change(values: dict[str, Any]) -> None:
        values["processes"] = ranks
        values["engine"] |= {"micro_batch": 1, "zero_stage": zero_stage, "context_degree": degree}

    repository.edit(change)


def test_five_requeues_over_other_ranks_and_zero_stages(forks: Forks, whole: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(whole)
    shutil.rmtree(repository.path / "artifacts/molmo2/stage2")
    (repository.path / "examples.jsonl").unlink()
    for ranks, zero_stage, degree, until in LEGS:
        divide(repository, ranks, zero_stage, degree)
        ended = forks.run(repository, noting(repository), ("stopped_after", {"step": until}), ranks=ranks)
        if until < STEPS:
            parts = ended.error(75, "StoppedEarly")
            assert parts["what"] == f"stopped as asked after step {until} of {STEPS}"
            assert proved(repository)[-1] == until
        else:
            # The last step is no place to stop at: it is saved anyway, and the run says so.
            assert ended.error(75, "StoppedEarly")["what"] == "stopped by SIGTERM"
    same_losses(repository, whole)
    found, expected = examples(repository), examples(whole)
    assert found == expected
    assert sum(len(packs) for _, packs in found.values()) == STEPS * PACKS
    # Neither comparison is blind: another step has other examples, and a loss that is further away than the tolerance.
    assert all(expected[step] != expected[step + 1] for step in range(1, STEPS))
    losses = [values["train/loss"] for values in spooled(whole.run_directory()).values()]
    assert abs(losses[0] - losses[1]) > TOLERANCE


def test_negative_control_ranks_that_read_one_share(forks: Forks, whole: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(whole)
    (repository.path / "examples.jsonl").unlink()
    divide(repository, 2, 2)
    forks.run(repository, noting(repository), ("one_share_for_all", {}), ("stopped_after", {"step": 2}), ranks=2)
    found, expected = examples(repository), examples(whole)
    assert found[1] != expected[1]
    losses = [spooled(root.run_directory(), exact=False)[2]["train/loss"] for root in (repository, whole)]
    assert abs(losses[0] - losses[1]) > TOLERANCE


# --- F12: signals at bad moments

MANY = ("SIGTERM", "SIGUSR1", "SIGTERM", "SIGUSR1")


def test_a_signal_in_the_first_validation_is_no_75(forks: Forks, after_stage1: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(after_stage1)
    ended = forks.run(repository, ("stopped_in_validation", {"which": 0, "names": MANY}))
    parts = ended.error(128 + signal.SIGTERM, "CutOff")
    assert parts["what"] == "stopped by SIGTERM before the first checkpoint"
    assert "nothing to continue from" in parts["why"]
    assert "train " not in ended.out
    assert not (repository.run_directory() / "validation-start.json").exists()
    assert repository.checkpoints() == []


def test_a_signal_in_the_last_validation_keeps_what_was_trained(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy
) -> None:
    repository = copy_of(after_stage1)
    ended = forks.run(repository, ("stopped_in_validation", {"which": 1, "names": MANY}))
    assert ended.error(75, "StoppedEarly")["what"] == "stopped by SIGTERM"
    run = repository.run_directory()
    assert (run / "validation-start.json").exists()
    assert not (run / "validation-trained.json").exists()
    assert proved(repository)[-1] == STEPS
    again = forks.run(repository)
    assert again.code == 0, again
    assert "train " not in again.out
    same_bits(repository, whole)
    scores = "validation-trained.json"
    assert (run / scores).read_bytes() == (whole.run_directory() / scores).read_bytes()


def test_signals_while_a_checkpoint_is_written(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy
) -> None:
    repository = copy_of(after_stage1)
    ended = forks.run(repository, ("stopped_in_save", {"step": 2 * SAVE_EVERY, "names": MANY}))
    stopped_at = proved(repository)[-1]
    what = ended.error(75, "StoppedEarly")["what"]
    assert what == f"stopped as asked after step {stopped_at} of {STEPS}"
    assert 2 * SAVE_EVERY < stopped_at <= 3 * SAVE_EVERY, "the step after the one that was being saved, or soon after"
    assert 2 * SAVE_EVERY in proved(repository), "the checkpoint in flight was brought to its end"
    _nothing_torn(repository)


def test_a_kill_while_the_disk_holds_up_the_last_checkpoint_leaves_the_one_before(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy
) -> None:
    """SIGTERM, and SIGKILL before the checkpoint is complete."""
    repository = copy_of(after_stage1)
    waiting, noted = repository.path / "waiting", repository.path / "noted"
    stuck = ("stuck_in_save", {"step": 2 * SAVE_EVERY, "waiting": str(waiting), "noted": str(noted)})
    with forks.started(repository, stuck) as (running,):
        running.wait_for(waiting.exists, "a checkpoint in flight")
        for number in (signal.SIGTERM, signal.SIGUSR1):
            running.send(number)
        running.wait_for(noted.exists, "notice of the signal")
        running.kill()
        assert running.end().code == -9
    assert proved(repository) == [SAVE_EVERY]
    assert list((repository.run_directory() / "checkpoints").glob(f"{TEMPORARY}*")), "nothing was being written"
    again = forks.run(repository)
    assert again.code == 0, again
    assert f"train     step {SAVE_EVERY + 1}/{STEPS}" in again.out
    same_bits(repository, whole)
    _nothing_torn(repository)


def _nothing_torn(repository: Repository) -> None:
    checkpoints = repository.run_directory() / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        f"step-{step:08d}" for step in repository.checkpoints()
    ]


# --- F20: losses that are no number


def guarded(repository: Repository) -> None:
    """Three left-out updates in a row are too many, once."""
    repository.edit(lambda values: values.update(guard={"rollback_after": 3, "max_rollbacks": 1}))


def left_out(repository: Repository) -> dict[int, float]:
    """`train/skipped` by step, as it was recorded."""
    found = {}
    for path in sorted(repository.run_directory().glob("spool/attempt-*.jsonl")):
        for event in map(json.loads, path.read_text().splitlines()):
            if event["event"] == "metrics" and "train/skipped" in event["values"]:
                found[event["step"]] = event["values"]["train/skipped"]
                assert ("train/loss" in event["values"]) == (event["values"]["train/skipped"] == 0.0)
    return found


def test_losses_that_are_no_number_on_one_rank_of_two(forks: Forks, whole: Repository, copy_of: MakeCopy) -> None:
    """One step, another one, then three in a row, which send the run back; it ends in order."""
    repository = copy_of(whole)
    divide(repository, 2, 2)
    guarded(repository)
    bad = {"4": "nan", "6": "inf", "8": "nan", "9": "-inf", "10": "nan"}
    ended = forks.run(repository, ("no_number", {"losses": bad, "on_rank": 1}), ranks=2)
    assert ended.code == 0, ended
    assert left_out(repository) == {step: float(str(step) in bad) for step in range(1, STEPS + 1)}
    run = repository.run_directory()
    rollbacks = json.loads((run / "rollbacks.json").read_text())["rollbacks"]
    assert [(one["checkpoint"], one["resume_at"]) for one in rollbacks] == [(6, 10)]
    told = (run / "log.txt").read_text()
    rows = examples(whole)
    for step in map(int, bad):
        (line,) = {line.split("update left out: ")[1] for line in told.splitlines() if f": step {step} (rows" in line}
        assert "is no number" in line
        assert line.startswith(f"step {step} (rows ")
        assert any(f"{dataset}/" in line or dataset in line for dataset, *_ in rows[step][0])
    assert "going back to the weights of step 6, and on at step 11" in told
    metrics = read_metrics(repository.path / "artifacts/molmo2/stage2/metrics.json")["stage2"]
    assert metrics["train/skipped_steps"] == 5
    assert finite(run / WEIGHTS)
    assert all(finite(file) for file in run.glob("checkpoints/step-*/state-*.safetensors"))


def test_too_many_of_them_stop_the_run_with_the_rows(forks: Forks, whole: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(whole)
    guarded(repository)
    bad = dict.fromkeys(("4", "5", "6", "9", "10", "11"), "nan")
    parts = forks.run(repository, ("no_number", {"losses": bad})).error(1, "Diverged")
    assert parts["what"].startswith("3 updates in a row were left out, after 1 rollbacks: step 9 (rows ")
    assert "--step 8" in parts["fix"]
    states = list(repository.run_directory().glob("checkpoints/step-*/state-*.safetensors"))
    assert states
    assert all(map(finite, states)), "a state that is no number was saved"


def test_negative_control_without_the_guard_one_such_step_is_the_end_of_the_weights(
    forks: Forks, whole: Repository, copy_of: MakeCopy
) -> None:
    """Only the loss of step 3 is spoiled, but that of step 4 is no number either; and such a state is not saved."""
    repository = copy_of(whole)
    guarded(repository)
    ended = forks.run(repository, ("no_number", {"losses": {"3": "nan"}}), ("without_guard", {}))
    assert ended.error(1, "CheckpointError")["what"] == "the score of step 4 is nan"
    (spool,) = repository.run_directory().glob("spool/attempt-*.jsonl")
    events = [event for event in map(json.loads, spool.read_text().splitlines()) if event["event"] == "nonfinite"]
    assert [(event["step"], event["values"]["train/loss"]) for event in events] == [(3, "nan"), (4, "nan")]
    assert proved(repository) == [2]


# --- devices that are too small


def test_a_step_that_does_not_fit_goes_on_with_smaller_micro_batches(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy
) -> None:
    repository = copy_of(after_stage1)
    tight = ("out_of_memory", {"above": 1})
    repository.edit(lambda values: values["engine"].update(micro_batch=4))
    parts = forks.run(repository, tight).error(1, "OutOfDeviceMemory")
    assert "out of memory with micro_batch=4" in parts["what"]
    assert "Tried to allocate 4 GiB" in parts["what"]
    assert "engine.fit: true" in parts["fix"]
    assert "micro_batch 4 -> 2" in parts["fix"]
    assert not (repository.run_directory() / "fit.json").exists()
    repository.edit(lambda values: values["engine"].update(fit=True))
    ended = forks.run(repository, tight)
    assert ended.code == 0, ended
    found = json.loads((repository.run_directory() / "fit.json").read_text())
    assert found["changes"] == ["micro_batch 4 -> 2", "micro_batch 2 -> 1"]
    told = (repository.run_directory() / "log.txt").read_text()
    assert all(f"out of device memory: {change}; the global batch stays" in told for change in found["changes"])
    same_losses(repository, whole)


def test_a_rank_that_does_not_fit_ends_all_and_the_next_attempt_fits(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy
) -> None:
    repository = copy_of(after_stage1)
    repository.edit(lambda values: values.update(engine=values["engine"] | {"micro_batch": 2, "fit": True}))
    tight = ("out_of_memory", {"above": 1})
    parts = forks.run(repository, tight, ranks=2).error(1, "OutOfDeviceMemory")
    # Whichever of the two is told first.
    assert parts["what"] in {f"rank {rank} of 2 ran out of device memory" for rank in range(2)}
    assert "run the same command again" in parts["fix"]
    ended = forks.run(repository, tight, ranks=2)
    assert ended.code == 0, ended
    same_losses(repository, whole)


# --- F28: a checkpoint of another run


def test_a_checkpoint_of_another_run_is_passed_over_with_both_names(
    forks: Forks, after_stage1: Repository, whole: Repository, copy_of: MakeCopy, tmp_path: Path
) -> None:
    repository = after_stage1.copy(tmp_path / "stopped", without=())
    forks.run(repository, ("stopped_after", {"step": 4}))
    run = repository.run_directory()
    assert proved(repository)[-1] == 4
    foreign = repository.run_directory("stage1") / "checkpoints" / "step-00000006"
    copied = run / "checkpoints" / foreign.name
    shutil.copytree(foreign, copied)
    forged = repository.copy(tmp_path / "forged", without=())
    ended = forks.run(repository)
    assert ended.code == 0, ended
    assert f"train     step 5/{STEPS}" in ended.out
    (told,) = [line for line in (run / "log.txt").read_text().splitlines() if "is not used" in line]
    assert str(copied) in told
    assert run.name in told
    assert repository.run_directory("stage1").name in told
    same_bits(repository, whole)

    # Negative control: with the other run's name taken from it, nothing tells that checkpoint from the run's own.
    manifest = forged.run_directory() / "checkpoints" / foreign.name / MANIFEST
    own = json.loads((forged.run_directory() / "checkpoints/step-00000004" / MANIFEST).read_text())
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"identity": own["identity"]}))
    manifest.with_name(COMPLETE).write_text(digest_file(manifest))
    ended = forks.run(forged, ("stopped_after", {"step": 7}))
    assert f"train     step 7/{STEPS}" in ended.out
