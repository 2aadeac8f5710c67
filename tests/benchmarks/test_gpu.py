"""The GPU benchmarks at tiny sizes on a CPU: they run, compare before they time, and claim nothing without a device."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as every
from benchmarks.gpu import gpu_lm, gpu_proj, gpu_vlm, sync_free
from benchmarks.harness import Unequal
from trackyard.models.theworld.branch import SoftPrompt

CPU = torch.device("cpu")
SCRIPTS = {"gpu_lm": gpu_lm, "gpu_proj": gpu_proj, "gpu_vlm": gpu_vlm}


@pytest.fixture(autouse=True)
def launcher_variables() -> Iterator[None]:
    """A lone engine sets the variables of a launcher; the Trainer would take them for several processes."""
    before = dict(os.environ)
    torch.set_num_threads(1)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine could be measured")
def test_without_a_gpu_nothing_is_claimed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for script in (*SCRIPTS.values(), sync_free):
        assert script.main(["--out", str(tmp_path / "record.json")]) == 3
        assert "torch finds no CUDA device" in capsys.readouterr().err
    assert sync_free.main(["--tiny"]) == 3
    assert every.main([]) == 3
    assert every.main(["gpu_everything"]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_tiny_run_goes_all_the_way_and_judges_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"{name}.json"
    assert SCRIPTS[name].main(["--tiny", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["benchmark"] == name
    assert record["verdict"] != "reached"
    for workload in record["workloads"]:
        assert workload["tiny"]
        assert workload["targets"] == []
        assert workload["device"]["device"] == "CPU"
        assert len(workload["figures"]) == 2
        for figure in workload["figures"].values():
            assert figure["rate"] > 0
            assert len(figure["rounds"]) == 2


def test_a_trainer_that_trains_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = gpu_lm.CONTENDERS[gpu_lm.OURS]
    monkeypatch.setitem(gpu_lm.CONTENDERS, gpu_lm.PEER, lambda job: ours(replace(job, flaw=True)))
    with pytest.raises(Unequal, match="unequal training"):
        gpu_lm.compare(tiny=True)


def test_a_comparison_that_finds_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_lm, "difference", lambda one, other: None)
    with pytest.raises(Unequal, match="proves nothing"):
        gpu_lm.compare(tiny=True)


def test_packed_rows_that_see_each_other_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gpu_vlm.packed

    def mixed(*arguments: Any) -> Any:
        found = packed(*arguments)
        return replace(found, examples=found.examples.clip(max=0), segments=found.segments.clip(max=0))

    monkeypatch.setattr(gpu_vlm, "packed", mixed)
    with pytest.raises(Unequal, match="nothing is timed"):
        gpu_vlm.compare(CPU)


def test_a_world_branch_that_is_not_connected_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free vectors in its place are the same for every latent."""

    def vectors(size: Any, mode: Any, gemma: Any) -> Any:
        return SoftPrompt.initial(size.world(mode), size.latent, gemma, 1.0, seed=1)

    monkeypatch.setattr(gpu_proj, "branch_of", vectors)
    with pytest.raises(Unequal, match="other latents were not noticed"):
        gpu_proj.compare(CPU)


def test_a_sample_that_sees_its_neighbour_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = gpu_proj.pack

    def mixed(samples: Any) -> Any:
        found = pack(samples)
        return replace(found, segments=found.segments.clip(max=0))

    monkeypatch.setattr(gpu_proj, "pack", mixed)
    with pytest.raises(Unequal, match="nothing is timed"):
        gpu_proj.compare(CPU)


def test_ours_trains_the_real_branch_and_nothing_else() -> None:
    """theworld spec section 4, at the real widths without weights."""
    from trackyard.models.theworld.parameters import total_trainable

    size = gpu_proj.GEMMA3_4B
    totals = {mode: total_trainable(size.world(mode), size.latent, size.hidden) for mode in ("spatial", "channel")}
    assert totals == {"spatial": 6_604_801, "channel": 17_049_601}
    assert [size.length(mode) for mode in ("spatial", "channel")] == [4_410, 330]


@pytest.mark.parametrize("make", [sync_free.window_step, sync_free.pack_step])
def test_the_steps_that_must_not_wait_are_steps(make: Any) -> None:
    step = make(CPU, tiny=True, compiled=False)
    first, second = float(step(0).loss), float(step(1).loss)
    assert 0 < second < 20
    assert first != second


def test_plain_waits_are_counted() -> None:
    with sync_free.counted() as found:
        pass
    assert found == []
    with pytest.raises((AssertionError, RuntimeError)), sync_free.counted() as found:
        torch.cuda.synchronize()
    assert len(found) == 1
    assert "synchronize" in found[0]


def test_a_smaller_device_gets_a_shallower_model() -> None:
    assert gpu_vlm.size_of(False, 150e9).layers == 36
    assert 10 <= gpu_vlm.size_of(False, 85e9).layers < 36
    assert gpu_vlm.size_of(True, 0.0).layers == gpu_vlm.TINY.layers


def test_useful_work_does_not_count_padding() -> None:
    packs = gpu_vlm.packs_of(gpu_vlm.TINY, 2)
    tokens, flops = gpu_vlm.work_of(gpu_vlm.TINY, packs)
    assert tokens == sum(len(row.tree) for pack in packs for row in pack)
    assert tokens < 2 * gpu_vlm.TINY.length
    half, part = gpu_vlm.work_of(gpu_vlm.TINY, packs[:1])
    assert 0 < part < flops
    assert half < tokens


def test_names_of_all_scripts() -> None:
    scripts: dict[str, ModuleType] = {**SCRIPTS, "sync_free": sync_free}
    assert set(every.NAMES) == set(scripts)
    assert all(script.__doc__ for script in scripts.values())
