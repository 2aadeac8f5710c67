"""Child of test_state.py: worlds of gloo processes, one after the other, each going on where the last one saved.

Standard input: JSON list of worlds; standard output: a line of JSON, the losses of each. DeepSpeed is imported once,
before any world is forked, since that takes longer than everything else.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from trackyard.train.engine import _deepspeed
from trackyard.train.ranks import Ranks
from trackyard.train.resume import resume
from trackyard.train.saver import Saver
from trackyard.train.state import TrainingState

IDENTITY = {"run_id": "chain"}
ROWS = 8
RATES = {"first": 1e-2, "second": 3e-3}


def model() -> torch.nn.Module:
    """Sizes that no number of ranks divides, and a frozen part."""
    torch.manual_seed(0)
    parts = {"frozen": torch.nn.Linear(6, 5), "first": torch.nn.Linear(5, 7), "second": torch.nn.Linear(7, 3)}
    made = torch.nn.Sequential()
    for name, part in parts.items():
        made.add_module(name, part)
    made.frozen.requires_grad_(False)
    return made


def engine(world: int, spec: dict[str, Any]) -> Any:
    """DeepSpeed as trackyard.train.engine sets it up."""
    made = model()
    groups = [
        {"params": list(getattr(made, name).parameters()), "lr": rate, "name": name} for name, rate in RATES.items()
    ]
    zero: dict[str, Any] = {"stage": spec["stage"]}
    if spec.get("offload"):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
    found, *_ = _deepspeed().initialize(
        model=made,
        optimizer=torch.optim.AdamW(groups, weight_decay=0.01, fused=True),
        config={
            "train_batch_size": ROWS,
            "train_micro_batch_size_per_gpu": ROWS // world,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": 1.0,
            "bf16": {"enabled": spec["dtype"] == "bf16"},
            "data_types": {"grad_accum_dtype": "fp32"},
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**12,
        },
    )
    return found


def train(found: Any, names: dict[str, Any], first: int, last: int, ranks: Ranks) -> list[float]:
    """Losses of steps `first` to `last`, each over rows that depend on its number alone."""
    dtype = next(iter(names.values())).dtype
    losses = []
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        inputs, targets = torch.randn(ROWS, 6, generator=generator), torch.randn(ROWS, 3, generator=generator)
        share = slice(ranks.rank * ROWS // ranks.world, (ranks.rank + 1) * ROWS // ranks.world)
        loss = (found(inputs[share].to(dtype)).float() - targets[share]).square().mean()
        found.backward(loss)
        found.step()
        losses.append(ranks.total([loss.item() / ranks.world])[0])
    return losses


def run(rank: int, world: int, spec: dict[str, Any], results: Any) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    store = dist.FileStore(spec["store"], world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    group = dist.group.WORLD
    assert group is not None
    ranks = Ranks(rank=rank, world=world, context=1, context_group=None, host_group=group)
    made = engine(world, spec)
    names = dict(made.module.named_parameters())
    state = TrainingState.of(made, names)
    if spec.get("stale"):  # the negative control: the weights of the model do not follow the masters
        state = replace(state, refresh=lambda: None)
    root = Path(spec["root"])
    path, host, rejected = resume(root, state, IDENTITY, ranks=ranks)
    assert not rejected, rejected
    first = int(host.get("step", 0))
    if path is not None:
        assert host["seen"].tolist() == [first], host
        again = Saver(root / "again", ranks=ranks, state=state, identity=IDENTITY, keep=9)
        again.save(first, {"seen": torch.tensor([first])})
        again.finish()
    saver = Saver(root, ranks=ranks, state=state, identity=IDENTITY, keep=9, never=path)
    last = first + spec["steps"]
    losses = train(made, names, first, last, ranks)
    if spec.get("save", True):
        saver.save(last, {"seen": torch.tensor([last])})
        saver.finish()
    if rank == 0:
        results.put({"losses": losses, "counts": sorted({float(step) for step in state.steps})})
    ranks.barrier()
    # DeepSpeed sometimes aborts while the interpreter ends, after all work is done.
    sys.stdout.flush()
    results.close()
    results.join_thread()
    os._exit(0)


def main() -> int:
    torch.set_num_threads(1)
    _deepspeed()
    # What DeepSpeed imports only when an engine is made, torch's compiler among it.
    importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    importlib.import_module("deepspeed.runtime.zero.stage3")
    fork = multiprocessing.get_context("fork")
    found = []
    for number, spec in enumerate(json.load(sys.stdin)):
        results = fork.Queue()
        spec["store"] = f"{spec['root']}.store-{number}"
        world = spec["world"]
        processes = [fork.Process(target=run, args=(rank, world, spec, results)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(100)
        if any(process.exitcode for process in processes):
            sys.stderr.write(f"world {number} {spec}: exit codes {[process.exitcode for process in processes]}\n")
            return 1
        found.append(results.get(timeout=10))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
