"""The state of real DeepSpeed engines: what one world and ZeRO stage saved, another one continues."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny_state import KINDS, SHAPES, state_of, values
from trackyard.errors import ConfigError
from trackyard.train.checkpoint import MANIFEST, complete_checkpoints
from trackyard.train.state import Fragment, TrainingState, _share

ROOT = Path(__file__).parents[2]
CHAINS: dict[str, list[dict[str, Any]]] = {
    "fp32": [
        {"world": 2, "stage": 2},
        {"world": 1, "stage": 1},
        {"world": 4, "stage": 3},
        {"world": 2, "stage": 0},
        {"world": 1, "stage": 2, "offload": True},
        {"world": 2, "stage": 3, "offload": True},
    ],
    "bf16": [{"world": 2, "stage": 2}, {"world": 1, "stage": 1}, {"world": 2, "stage": 3}],
}
STEPS = 2
"""Updates of each world of a chain."""


def assembled(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Whole tensors from the manifest and the library of the format, without our reader."""
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    flat = {
        f"{kind}/{name}": torch.full((torch.Size(shape).numel(),), float("nan"))
        for name, shape in manifest["tensors"].items()
        for kind in KINDS
    }
    counts = set()
    for file in manifest["files"]:
        stored = load_file(checkpoint / file["path"])
        for name, (start, numel, group) in file["fragments"].items():
            counts.add(float(stored["step"][group]))
            for kind in KINDS:
                place = flat[f"{kind}/{name}"][start : start + numel]
                assert place.isnan().all(), "an element is written once"
                place.copy_(stored[f"{kind}/{name}"].reshape(-1))
    assert not any(tensor.isnan().any() for tensor in flat.values()), "every element is written"
    return flat | {"step": torch.tensor(sorted(counts))}


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Losses of every chain, of the same steps in one world, and of a world whose model did not follow the masters."""
    directory = tmp_path_factory.mktemp("chains")
    worlds: list[dict[str, Any]] = []
    for dtype, chain in CHAINS.items():
        shared = {"dtype": dtype, "steps": STEPS, "root": str(directory / dtype)}
        worlds += [shared | world for world in chain]
        alone = {"world": 1, "stage": 0 if dtype == "fp32" else 2, "dtype": dtype}
        worlds.append(alone | {"steps": STEPS * len(chain), "root": str(directory / f"{dtype}-alone"), "save": False})
    stale = {"stale": True, "save": False, "steps": STEPS, "root": str(directory / "stale")}
    worlds += [worlds[0] | {"root": stale["root"]}, worlds[0] | stale]
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.zero_worlds"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        input=json.dumps(worlds),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {"directory": directory, "worlds": worlds, "found": found}


def losses(chains: dict[str, Any], root: str) -> list[float]:
    pairs = zip(chains["worlds"], chains["found"], strict=True)
    return [loss for world, found in pairs if Path(world["root"]).name == root for loss in found["losses"]]


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_other_ranks_and_stages_go_on_with_the_same_losses(
    chains: dict[str, Any], dtype: str, tolerance: float
) -> None:
    assert losses(chains, dtype) == pytest.approx(losses(chains, f"{dtype}-alone"), rel=tolerance)
    counts = [found["counts"] for world, found in zip(chains["worlds"], chains["found"], strict=True)]
    assert counts[: len(CHAINS["fp32"])] == [[STEPS * (number + 1)] for number in range(len(CHAINS["fp32"]))]


def test_without_the_refresh_the_losses_are_others(chains: dict[str, Any]) -> None:
    stale, right = losses(chains, "stale")[STEPS:], losses(chains, "fp32")[STEPS : 2 * STEPS]
    assert stale != pytest.approx(right, rel=1e-2)


@pytest.mark.parametrize("dtype", CHAINS)
def test_every_state_is_restored_to_the_bit(chains: dict[str, Any], dtype: str) -> None:
    """Each world writes again, under its own ranks and stage, what it has loaded."""
    root = chains["directory"] / dtype
    again = complete_checkpoints(root / "again")
    assert len(again) == len(CHAINS[dtype]) - 1
    for copy in again:
        first, second = assembled(root / copy.name), assembled(copy)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert first["exp_avg_sq/first.weight"].any(), "there are moments to restore"
    assert not any("frozen" in name for name in first)


def test_ranks_share_a_whole_state_evenly() -> None:
    state = state_of(values(SHAPES, 0))
    shares = [list(_share(state.held, rank, 3)) for rank in range(3)]
    sizes = [sum(piece.numel for piece in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    rebuilt: dict[str, list[torch.Tensor]] = {}
    for piece in (piece for share in shares for piece in share):
        assert piece.start == sum(len(part) for part in rebuilt.get(piece.name, []))
        rebuilt.setdefault(piece.name, []).append(piece.tensors["exp_avg"])
    for whole in state.held:
        assert torch.equal(torch.cat(rebuilt[whole.name]), whole.tensors["exp_avg"])


def test_a_piece_is_a_view() -> None:
    whole = state_of(values(SHAPES, 0)).held[0]
    whole.part(3, 5).tensors["master"].fill_(7)
    assert isinstance(whole, Fragment)
    assert (whole.tensors["master"] == 7).nonzero().flatten().tolist() == [3, 4]


class FakeEngine:
    """What `TrainingState.of` asks before it looks at tensors."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def zero_optimization_stage(self) -> int:
        return 0


def test_a_state_that_cannot_be_reached_is_refused() -> None:
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="weights that are not fp32"):
        TrainingState.of(FakeEngine(object()), dict(layer.named_parameters()))
    forgetful = torch.optim.AdamW([layer.weight])
    with pytest.raises(ConfigError, match="bias is trained, but belongs to no group"):
        TrainingState.of(FakeEngine(forgetful), dict(layer.named_parameters()))
    half = torch.nn.Linear(2, 2).bfloat16()
    with pytest.raises(ConfigError, match="not contiguous fp32"):
        TrainingState.of(FakeEngine(torch.optim.AdamW(half.parameters())), dict(half.named_parameters()))
