"""Saving in the background: short for training, whole or invisible on disk, its errors never lost, kills survived."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tiny_state import KINDS, LONE, SHAPES, TIMEOUT_S, Board, on_threads, same, state_of, values
from tests.train.newest import newest_valid
from trackyard.errors import CheckpointError
from trackyard.train import saver as saver_module
from trackyard.train.checkpoint import complete_checkpoints, directory_name, step_of
from trackyard.train.parts import collect_parts
from trackyard.train.ranks import Ranks
from trackyard.train.resume import load_checkpoint
from trackyard.train.saver import Saver
from trackyard.train.state import TrainingState

ROOT = Path(__file__).parents[2]
IDENTITY = {"run_id": "abc"}


def make(root: Path, state: TrainingState, ranks: Ranks = LONE, **given: Any) -> Saver:
    return Saver(root, ranks=ranks, state=state, identity=IDENTITY, **({"keep": 2} | given))


def steps(root: Path) -> list[int | None]:
    return [step_of(path) for path in complete_checkpoints(root)]


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The background does not write before this is set."""
    opened = threading.Event()
    real = saver_module.write_tensor_file

    def wait(*given: Any) -> Any:
        assert opened.wait(30)
        return real(*given)

    monkeypatch.setattr(saver_module, "write_tensor_file", wait)
    yield opened
    opened.set()


def test_training_goes_on_while_the_state_of_that_step_is_written(tmp_path: Path, gate: threading.Event) -> None:
    truth = values(SHAPES, 1)
    state = state_of(truth, step=5)
    saver = make(tmp_path / "deep" / "root", state)
    saver.save(5, {"seen": torch.tensor([5])})
    assert not complete_checkpoints(tmp_path / "deep" / "root")
    for piece in state.held:  # the next update
        piece.tensors["master"].zero_()
    state.steps[0].fill_(6)
    gate.set()
    path = saver.finish()
    assert path is not None
    found = state_of(values(SHAPES, 2))
    load_checkpoint(path, found, IDENTITY, ranks=LONE)
    assert same(found, truth)
    assert found.steps[0].item() == 5
    assert saver.finish() == path, "again and again the same"


def test_the_next_save_waits_for_the_one_in_flight(tmp_path: Path, gate: threading.Event) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    saver.save(1, {})
    threading.Timer(0.2, gate.set).start()
    saver.save(2, {})
    assert steps(tmp_path)[0] == 1, "complete before the buffers were filled again"
    saver.finish()
    assert steps(tmp_path) == [1, 2]


def test_waiting_has_an_end(tmp_path: Path, gate: threading.Event) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)), deadline_s=0.1)
    saver.save(1, {})
    with pytest.raises(CheckpointError, match="still being written after 0 s"):
        saver.save(2, {})
    gate.set()
    saver._deadline_s = 30  # the disk is fast again
    assert saver.finish() == tmp_path / directory_name(1)


def test_a_step_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    state = state_of(values(SHAPES, 1))
    first = make(tmp_path, state)
    first.save(3, {})
    path = first.finish()
    assert path is not None
    written = path.stat().st_mtime_ns
    second = make(tmp_path, state, never=path)
    second.save(3, {})
    assert second.finish() == path
    first.save(3, {})
    assert first.finish() == path
    assert path.stat().st_mtime_ns == written


def test_one_set_of_buffers(tmp_path: Path) -> None:
    state = state_of(values(SHAPES, 1))
    saver = make(tmp_path, state)
    body = saver._body.data_ptr()
    for step in (1, 2, 3):
        saver.save(step, {})
    saver.finish()
    assert saver._body.data_ptr() == body
    elements = sum(piece.numel for piece in state.written)
    assert saver._body.numel() - 4 * (3 * elements + 1) in range(4096)


def test_the_best_is_kept_besides_the_newest(tmp_path: Path) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    for step, score in enumerate((3.0, 1.0, None, 2.0, 5.0), start=1):
        saver.save(step, {}, score)
    saver.finish()
    assert steps(tmp_path) == [2, 4, 5]
    with pytest.raises(CheckpointError, match="score of step 6 is nan"):
        saver.save(6, {}, float("nan"))


def test_older_ones_stay_until_the_new_one_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)), keep=1)
    saver.save(1, {})
    saver.finish()
    real = saver_module.seal

    def seal(partial: Path, final: Path, manifest: Any) -> None:
        real(partial, final, manifest)
        (final / "state-00000.safetensors").write_bytes(b"what the disk made of it")

    with monkeypatch.context() as patch:
        patch.setattr(saver_module, "seal", seal)
        saver.save(2, {})
        with pytest.raises(CheckpointError, match=r"state-00000.*expected blake3"):
            saver.finish()
    assert newest_valid(tmp_path, IDENTITY)[0] == tmp_path / directory_name(1)
    saver.save(3, {})
    saver.finish()
    assert steps(tmp_path) == [3]


def test_what_is_not_json_or_tensor_is_refused_by_its_place(tmp_path: Path) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    for value, place in ((object(), "host/a/b"), (float("nan"), "host/a/b"), ({1: 2}, "host/a/b")):
        with pytest.raises(CheckpointError, match=place):
            saver.save(1, {"a": {"b": value}})
    assert not complete_checkpoints(tmp_path)


def three_parts(error: CheckpointError, root: Path, step: int = 2) -> None:
    assert str(root / directory_name(step)) in error.what
    assert "earlier checkpoints are untouched" in error.why
    assert f"df -h {root}" in error.fix


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond a size, as a full disk would; unprivileged."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_at_the_next_call_and_leaves_the_earlier_one(
    tmp_path: Path, file_limit: Callable[[int], None]
) -> None:
    large = {"w": (60_000,)}
    saver = make(tmp_path, state_of(values(large, 1)))
    saver.save(1, {})
    saver.finish()
    file_limit(100_000)
    saver.save(2, {})
    with pytest.raises(CheckpointError, match="File too large") as caught:
        saver.save(3, {})
    three_parts(caught.value, tmp_path)
    file_limit(10_000_000)
    assert names(tmp_path) == [directory_name(1)]
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])
    assert saver.finish() == tmp_path / directory_name(1), "an error is told once"
    saver.save(2, {})
    assert saver.finish() == tmp_path / directory_name(2), "with space again the same call succeeds"


@pytest.mark.parametrize("call", ["write_document", "write_atomic", "os.replace"])
def test_a_disk_that_fails_while_sealing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    saver.save(1, {})
    saver.finish()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"trackyard.train.checkpoint.{call}", fail)
        saver.save(2, {})
        with pytest.raises(CheckpointError, match="No space left") as caught:
            saver.finish()
    three_parts(caught.value, tmp_path)
    assert names(tmp_path) == [directory_name(1)]


def test_any_other_failure_of_the_background_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    monkeypatch.setattr(saver_module, "tensor_file_of", lambda *_: 1 / 0)
    saver.save(1, {})
    with pytest.raises(CheckpointError, match="division by zero"):
        saver.finish()


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    saver = make(tmp_path / "file" / "root", state_of(values(SHAPES, 1)))
    with pytest.raises(CheckpointError, match="Not a directory"):
        saver.save(1, {})


def test_a_disk_that_turns_read_only_leaves_the_earlier_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        root = disk / "checkpoints"
        saver = make(root, state_of(values(SHAPES, 1)))
        saver.save(1, {})
        saver.finish()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(CheckpointError, match="Read-only file system") as caught:
            saver.save(2, {})
        assert "earlier checkpoints are untouched" in caught.value.why
        assert newest_valid(root, IDENTITY) == (root / directory_name(1), [])
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


SIZES = {name: torch.Size(shape).numel() for name, shape in SHAPES.items()}


def halves(seed: int) -> list[TrainingState]:
    parts = ({name: (size * rank // 2, size * (rank + 1) // 2) for name, size in SIZES.items()} for rank in range(2))
    return [state_of(values(SHAPES, seed), part) for part in parts]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(2)
    monkeypatch.setattr("trackyard.train.agreement.dist", made)
    return made


def failing(rank: int, real: Any) -> Any:
    def write(path: Path, *given: Any) -> Any:
        if path.name == f"state-{rank:05d}.safetensors":
            raise OSError(28, "No space left on device")
        return real(path, *given)

    return write


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_on_one_rank_is_raised_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board, rank: int
) -> None:
    states = halves(1)

    def work(ranks: Ranks) -> list[str]:
        saver = make(tmp_path, states[ranks.rank], ranks)
        saver.save(1, {})
        saver.finish()
        ranks.barrier()
        if ranks.rank == 0:
            monkeypatch.setattr(saver_module, "write_tensor_file", failing(rank, saver_module.write_tensor_file))
        ranks.barrier()
        saver.save(2, {})
        told = []
        for call in (saver.finish, saver.finish):
            try:
                told.append(str(call()))
            except CheckpointError as error:
                told.append(error.what)
        return told

    found = on_threads(2, work, board)
    assert found[0] == found[1]
    assert "No space left on device" in found[0][0]
    assert found[0][1] == str(tmp_path / directory_name(1)), "and is told once"
    assert not list(tmp_path.glob("step-00000002"))
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])


def test_a_rank_that_begins_when_rank_0_has_given_up_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board
) -> None:
    states, real = halves(1), Saver._wait_for
    given_up = threading.Event()

    def late(saver: Saver, job: Any) -> None:
        if saver._ranks.rank == 1:
            assert given_up.wait(60)
        real(saver, job)

    def removed(path: Path, **given: Any) -> None:
        shutil.rmtree(path, **given)
        threading.Timer(0.2, given_up.set).start()

    monkeypatch.setattr(Saver, "_wait_for", late)
    monkeypatch.setattr(saver_module, "write_tensor_file", failing(0, saver_module.write_tensor_file))
    monkeypatch.setattr(saver_module, "shutil", SimpleNamespace(rmtree=removed))

    def work(ranks: Ranks) -> str:
        # Longer than the ranks of this test wait for each other.
        saver = make(tmp_path, states[ranks.rank], ranks, deadline_s=1.5 * TIMEOUT_S)
        saver.save(1, {})
        with pytest.raises(CheckpointError) as raised:
            saver.finish()
        return raised.value.what

    for what in on_threads(2, work, board):
        assert "No space left on device" in what


def test_a_rank_that_never_delivers_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("partial").mkdir()
    with pytest.raises(TimeoutError, match="rank 1, 2 did not finish"):
        collect_parts(tmp_path / "partial", (1, 2), deadline=0.0)


class Server:
    """Processes that save and are killed, without importing torch for each."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.saving"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, root: Path, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        plain = {"root": str(root), "seed": 0, "kill": None, "crash": None, "naive": False, "saves": 3}
        self.process.stdin.write(json.dumps(plain | order) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(20)


KILLS = 25


def test_random_kills_leave_nothing_that_cannot_be_loaded(tmp_path: Path, server: Server) -> None:
    """Each attempt resumes from what the one before left, and is killed in its turn."""
    root = tmp_path / "ours"
    server(root, saves=1)
    reached = [1]
    for number in range(KILLS):
        found = server(root, kill=0.1, seed=number)
        assert found["status"] == -9
        assert found["bad"] == 0, found
        assert found["complete"] >= 1
        assert found["whole"], "every element is of the step that the manifest says"
        assert found["step"] >= reached[-1]
        reached.append(found["step"])
    assert reached[-1] > 2, "they did save in between"
    server(root, saves=1)
    assert all(name.startswith("step-") for name in names(root)), "nothing is left of the killed ones"
    assert len(complete_checkpoints(root)) <= 4


def test_the_naive_save_does_not_survive_them(tmp_path: Path, server: Server) -> None:
    found = [server(tmp_path / "naive", naive=True, kill=0.05, seed=number)["loadable"] for number in range(15)]
    assert not all(found)


@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("after-data", 2),
        ("before-manifest", 2),
        ("between-rename-and-complete", 2),
        ("between-complete-and-rotation", 3),
    ],
)
def test_a_death_at_each_named_point(tmp_path: Path, server: Server, place: str, step: int) -> None:
    assert server(tmp_path, saves=2)["step"] == 2
    found = server(tmp_path, saves=3, crash=place)
    assert found["status"] == -9
    assert (found["step"], found["bad"], found["whole"]) == (step, 0, True)
    again = server(tmp_path, saves=2)
    assert (again["status"], again["step"], again["whole"]) == (0, step + 2, True)
    assert all(name.startswith("step-") for name in names(tmp_path))


def test_an_unarmed_point_does_nothing(tmp_path: Path, server: Server) -> None:
    assert server(tmp_path, saves=3, crash="of another name")["step"] == 3


def test_kinds_of_a_written_state(tmp_path: Path) -> None:
    saver = make(tmp_path, state_of(values(SHAPES, 1)))
    assert set(saver._layout.tensors) == {"step", *(f"{kind}/{name}" for kind in KINDS for name in SHAPES)}
