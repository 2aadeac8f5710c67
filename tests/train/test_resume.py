"""Resuming: any split of a state into any other, strict names, and no damaged byte gets through."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file

from tests.tiny_state import KINDS, LONE, SHAPES, Board, on_threads, same, state_of, values
from tests.train.newest import newest_valid
from trackyard.digest import digest_file
from trackyard.errors import CheckpointError
from trackyard.train.checkpoint import MANIFEST, complete_checkpoints, directory_name
from trackyard.train.ranks import Ranks
from trackyard.train.resume import load_checkpoint, resume
from trackyard.train.saver import Saver
from trackyard.train.state import TrainingState

IDENTITY = {"run_id": "abc", "plan": "f00"}
SIZES = {name: torch.Size(shape).numel() for name, shape in SHAPES.items()}
Pieces = list[dict[str, tuple[int, int]]]


def cut(points: Mapping[str, list[int]], world: int) -> Pieces:
    """Ranges of every rank, from world - 1 cuts of each tensor."""
    edges = {name: [0, *sorted(points[name])[: world - 1], size] for name, size in SIZES.items()}
    return [{name: (edges[name][rank], edges[name][rank + 1]) for name in SIZES} for rank in range(world)]


def splits(world: int) -> st.SearchStrategy[Pieces]:
    cuts = {
        name: st.lists(st.integers(0, size), min_size=world - 1, max_size=world - 1) for name, size in SIZES.items()
    }
    return st.fixed_dictionaries(cuts).map(lambda points: cut(points, world))


def save(root: Path, step: int, states: list[TrainingState], host: dict[str, Any], **given: Any) -> Path:
    def work(ranks: Ranks) -> Path | None:
        saver = Saver(root, ranks=ranks, state=states[ranks.rank], identity=IDENTITY, keep=9, **given)
        saver.save(step, host)
        return saver.finish()

    found = on_threads(len(states), work)
    assert found == [root / directory_name(step)] * len(states), found
    return root / directory_name(step)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3).flatmap(splits), st.integers(1, 4).flatmap(splits))
def test_any_split_is_read_into_any_other(
    tmp_path_factory: pytest.TempPathFactory, written: Pieces, held: Pieces
) -> None:
    root = tmp_path_factory.mktemp("split")
    truth = values(SHAPES, 1)
    path = save(root, 7, [state_of(truth, pieces, step=7) for pieces in written], {"plan": "p"})
    states = [state_of(values(SHAPES, 2), pieces) for pieces in held]
    hosts = on_threads(len(held), lambda ranks: load_checkpoint(path, states[ranks.rank], IDENTITY, ranks=ranks))
    assert hosts == [{"plan": "p", "step": 7}] * len(held)
    assert all(same(state, truth) for state in states)
    assert all(state.steps[0].item() == 7 for state in states if state.held)


def halves() -> Pieces:
    return [{name: (size * rank // 2, size * (rank + 1) // 2) for name, size in SIZES.items()} for rank in range(2)]


def test_the_host_state_and_the_generators_come_back(tmp_path: Path) -> None:
    guard = {
        "mean": torch.tensor([1.5, 2.5], dtype=torch.float64),
        "skipped": torch.tensor(3),
        "on": torch.tensor(True),
    }
    host = {"plan": "p", "loss": 0.1 + 0.2, "guard": guard, "rows": [1, "two", None], "order": np.arange(3)}
    torch.manual_seed(5)
    np.random.seed(5)
    np.random.standard_normal()  # leaves a second one behind
    path = save(tmp_path, 1, [state_of(values(SHAPES, 0))], host)
    wanted = torch.rand(4), np.random.standard_normal(3), np.random.rand(3)
    found = load_checkpoint(path, state_of(values(SHAPES, 1)), IDENTITY, ranks=LONE)
    assert torch.equal(torch.rand(4), wanted[0])
    assert np.array_equal(np.random.standard_normal(3), wanted[1])
    assert np.array_equal(np.random.rand(3), wanted[2])
    assert found["loss"] == host["loss"]
    assert found["rows"] == host["rows"]
    assert found["step"] == 1
    assert all(torch.equal(found["guard"][name], tensor) for name, tensor in guard.items())
    assert found["order"].tolist() == [0, 1, 2]


def test_names_and_shapes_must_be_those_of_the_model(tmp_path: Path) -> None:
    truth = values(SHAPES, 1)
    path = save(tmp_path, 1, [state_of(truth)], {})
    more = values(SHAPES | {"head.extra.weight": (2,), "head.bias": (2,)}, 2)
    state = state_of(more)
    with pytest.raises(CheckpointError, match=r"lacks head.bias, head.extra.weight\n"):
        load_checkpoint(path, state, IDENTITY, ranks=LONE)
    with pytest.raises(CheckpointError, match=r"lacks head.extra.weight\n"):
        load_checkpoint(path, state, IDENTITY, ranks=LONE, allow_missing=("head.bias", "head"))
    load_checkpoint(path, state, IDENTITY, ranks=LONE, allow_missing=("head.",))
    assert torch.equal(state.held[0].tensors["master"], truth["master"]["embed.weight"].reshape(-1))
    assert torch.equal(state.held[-1].tensors["master"], more["master"]["head.bias"]), "left as it was"
    fewer = {name: shape for name, shape in SHAPES.items() if name != "scale"}
    with pytest.raises(CheckpointError, match="what the model does not have: scale"):
        load_checkpoint(path, state_of(values(fewer, 2)), IDENTITY, ranks=LONE, allow_missing=("scale",))
    with pytest.raises(CheckpointError, match=r"layer.bias has shape \(16,\), the model's has \(4, 4\)"):
        load_checkpoint(path, state_of(values(SHAPES | {"layer.bias": (4, 4)}, 2)), IDENTITY, ranks=LONE)


def test_moments_of_unequal_age_do_not_fit_one_group(tmp_path: Path) -> None:
    truth = values(SHAPES, 1)
    path = save(tmp_path, 1, [state_of(truth, pieces, step=rank) for rank, pieces in enumerate(halves())], {})
    with pytest.raises(CheckpointError, match=r"have seen \[0.0, 1.0\] updates"):
        load_checkpoint(path, state_of(truth), IDENTITY, ranks=LONE)


def flip(path: Path, chance: random.Random) -> None:
    with open(path, "r+b") as handle:
        at = chance.randrange(path.stat().st_size)
        handle.seek(at)
        byte = handle.read(1)[0]
        handle.seek(at)
        handle.write(bytes([byte ^ 1 << chance.randrange(8)]))


def zero_page(path: Path, chance: random.Random) -> None:
    with open(path, "r+b") as handle:
        handle.seek(4096 * chance.randrange(1, path.stat().st_size // 4096))
        handle.write(bytes(4096))


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def swap(path: Path, chance: random.Random) -> None:
    other = path.with_name("state-00000.safetensors" if "00001" in path.name else "state-00001.safetensors")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


Damage = Callable[[Path, random.Random], object]
DAMAGES: list[tuple[str, Damage]] = [
    *((f"flip {number}", flip) for number in range(40)),
    *((f"zeroed page {number}", zero_page) for number in range(10)),
    *((f"truncation {number}", truncate) for number in range(4)),
    ("missing", lambda path, _: path.unlink()),
    ("swapped", swap),
    ("emptied", lambda path, _: path.write_bytes(b"")),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 and 2 of two ranks, some pages long."""
    root = tmp_path_factory.mktemp("sound")
    for step in (1, 2):
        truth = values(LARGE, step)
        pieces = [{"weight": (0, 3000)}, {"weight": (3000, 6000), "bias": (0, 50)}]
        save(root, step, [state_of(truth, piece, step=step) for piece in pieces], {"seen": torch.tensor([step])})
    return root


LARGE = {"weight": (60, 100), "bias": (50,)}


def damaged_copy(sound: Path, root: Path, number: int) -> tuple[Path, Path]:
    """A copy of both checkpoints, the newer one damaged; the file and the root."""
    shutil.copytree(sound, root)
    name, damage = DAMAGES[number]
    files = sorted((root / directory_name(2)).glob("*.safetensors"))
    large = [file for file in files if file.name.startswith("state")]
    file = random.Random(number).choice(files if damage in (flip, truncate) else large)
    damage(file, random.Random(name))
    return file, root


def test_every_damage_is_found_and_named_and_the_one_before_is_taken(sound: Path, tmp_path: Path) -> None:
    before = values(LARGE, 1)
    for number, (name, _) in enumerate(DAMAGES):
        file, root = damaged_copy(sound, tmp_path / str(number), number)
        state = state_of(values(LARGE, 9))
        path, host, rejected = resume(root, state, IDENTITY, ranks=LONE)
        assert path == root / directory_name(1), name
        assert same(state, before)
        assert host["seen"].tolist() == [1]
        assert [item.path for item in rejected] == [root / directory_name(2)]
        problem = rejected[0].problem
        # After a swap the first of both is the one that is named.
        named = file if str(file) in problem else file.with_name("state-00000.safetensors")
        assert str(named) in problem
        assert "expected blake3" in problem
        readable = named.is_file() and named.stat().st_size > 0
        assert (digest_file(named) if readable else "no") in problem, name
        assert newest_valid(root, IDENTITY)[0] == root / directory_name(1), "what only verifies finds it too"


def test_without_digests_most_damage_is_silent(sound: Path, tmp_path: Path) -> None:
    """The control: the format's own reader takes flipped bits and zeroed pages for tensors."""
    silent = 0
    for number in range(50):
        file, _ = damaged_copy(sound, tmp_path / str(number), number)
        try:
            load_file(file)
        except (SafetensorError, UnicodeDecodeError, KeyError):
            continue
        silent += 1
    assert silent > 25


def test_an_empty_directory_and_a_newer_invalid_one_are_passed_over(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound, root)
    (root / directory_name(7)).mkdir()
    shutil.copytree(root / directory_name(2), root / directory_name(8))
    state = state_of(values(LARGE, 9))
    path, _, rejected = resume(root, state, IDENTITY, ranks=LONE)
    assert path == root / directory_name(2)
    assert [item.path.name for item in rejected] == [directory_name(8)]
    assert same(state, values(LARGE, 2))
    assert len(complete_checkpoints(root)) == 3
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_checkpoint(root / directory_name(7), state, IDENTITY, ranks=LONE)


def test_what_fails_the_proof_changes_nothing(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound / directory_name(2), root / directory_name(2))
    truncate(root / directory_name(2) / "state-00001.safetensors", random.Random(0))
    own = values(LARGE, 9)
    state = state_of(own)
    path, host, rejected = resume(root, state, IDENTITY, ranks=LONE)
    assert (path, host, len(rejected)) == (None, {}, 1)
    assert same(state, own)


def test_what_one_rank_finds_all_ranks_pass_over(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound, root)
    flip(root / directory_name(2) / "state-00001.safetensors", random.Random(1))
    board = Board(2)
    monkeypatch.setattr("trackyard.train.agreement.dist", board)
    # Rank 0 needs nothing of the damaged file.
    pieces = [{"weight": (0, 2000)}, {"weight": (2000, 6000), "bias": (0, 50)}]
    states = [state_of(values(LARGE, 9), piece) for piece in pieces]
    found = on_threads(2, lambda ranks: resume(root, states[ranks.rank], IDENTITY, ranks=ranks), board)
    assert [path for path, _, _ in found] == [root / directory_name(1)] * 2
    assert all("state-00001" in rejected[0].problem for _, _, rejected in found)
    assert all(same(state, values(LARGE, 1)) for state in states)


class Canary:
    """Executes itself when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


CANARY = Path("/nonexistent")


def test_nothing_is_unpickled(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody listed with its right digest, but that is a pickle."""
    monkeypatch.setattr(f"{__name__}.CANARY", tmp_path / "canary")
    root = tmp_path / "root"
    shutil.copytree(sound / directory_name(2), root / directory_name(2))
    target = root / directory_name(2) / "state-00001.safetensors"
    torch.save({"master/weight": Canary()}, target)
    manifest = root / directory_name(2) / MANIFEST
    expected = digest_file(sound / directory_name(2) / target.name)
    manifest.write_text(manifest.read_text().replace(expected, digest_file(target)))
    (root / directory_name(2) / "COMPLETE").write_text(digest_file(manifest))
    path, _, rejected = resume(root, state_of(values(LARGE, 9)), IDENTITY, ranks=LONE)
    assert path is None
    assert "not a file of tensors" in rejected[0].problem
    assert not (tmp_path / "canary").exists()
    torch.load(shutil.copy(target, tmp_path / "same.pt"), weights_only=False)
    assert (tmp_path / "canary").exists(), "the control: an unsafe reader executes it"


def test_kinds_are_what_adamw_keeps() -> None:
    assert KINDS == ("master", "exp_avg", "exp_avg_sq")
