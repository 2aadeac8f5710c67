"""Machines, workloads and recorded runs that the tests of estimates share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from trackyard.estimate.calibration import Calibration, Case, Measured, cases_of
from trackyard.estimate.devices import DEVICES, Device
from trackyard.estimate.forecast import Machine
from trackyard.estimate.kept import decoder, encoder
from trackyard.estimate.workload import Attended, Lengths, Part, Workload
from trackyard.launch.sites import Partition, Site
from trackyard.recipes.pile_ffn.cost.sizes import workload as pile_ffn
from trackyard.recipes.stages import Asked, rebuild, workload
from trackyard.train.flops import Transformer, causal_pairs, decoder_work

ROOT = Path(__file__).resolve().parents[2]
CPU = DEVICES["cpu"]


def machine(device: Device, **partition: Any) -> Machine:
    """One partition of a device, without limits but those given."""
    facts: dict[str, Any] = {"device": "any", "gpus_per_node": 8, "nodes": 4, "cores_per_node": 64} | partition
    site = Site(name="test", default_partition="p", partitions={"p": Partition(**facts)})
    return Machine(site=site, partition_name="p", device=device)


def assumed(device: Device) -> Calibration:
    """What is expected of a device without any measurement."""
    return Calibration(rate=device.rate, reserved=device.reserved_bytes, source="assumed")


def language_model(
    shape: Transformer, *, parameters: int, length: int, packs: int, device: Device, world: int = 1, **engine: Any
) -> Workload:
    """A decoder that is trained whole in bf16, on plain text without padding."""
    tokens = packs * length
    work = tuple(
        decoder_work(shape, tokens=tokens, answers=tokens, pairs=packs * causal_pairs([length]), gradient="trained")
    )
    base = pile_ffn("pythia-1.4b", device)
    settings = {"precision": "bf16", "zero_stage": 1, "micro_batch": 1, "activation_checkpointing": "none"} | engine
    return replace(
        base,
        parts=(
            Part(
                name="lm",
                parameters=parameters,
                gradient="trained",
                layers=shape.layers,
                positions=length,
                kept=decoder(shape) if shape.gated else encoder(shape),
            ),
        ),
        attended=Attended(
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            length=length,
        ),
        useful=work,
        computed=work,
        tokens=tokens,
        packs_per_step=packs,
        vocab=shape.vocab,
        logits=length,
        autocast=False,
        engine=type(base.engine).model_validate(settings),
        world=world,
    )


def molmo2(stage: str, profile: str = "h100", device: Device | None = None, **asked: Any) -> Workload:
    """A stage of a shipped profile, on the budgets of its packs."""
    path = ROOT / "profiles" / f"{profile}.yaml"
    return workload(Asked(track="molmo2", stage=stage, profile=path, **asked), device or DEVICES[profile])


def recorded() -> list[Measured]:
    """The mini stages as they were measured on two cores of a development machine: benchmarks/estimate.py."""
    figures = {
        "stage1": ((2201.59, 696.50, 35.77, 588.60, 18.28), 0.318, 794_836_992),
        "stage2": ((2504.06, 1081.93, 65.52, 432.84, 22.03), 0.392, 836_000_000),
        "stage3": ((5730.55, 2624.45, 171.90, 888.25, 47.25), 1.002, 1_043_000_000),
    }
    found = []
    for stage, ((tokens, visual, inputs, labels, rows), seconds, peak) in figures.items():
        lengths = Lengths(tokens=tokens, visual=visual, inputs=inputs, labels=labels, rows=rows, source="a plan")
        found.append(
            Measured(
                device="cpu",
                track="molmo2",
                stage=stage,
                profile="mini",
                preset="",
                world=1,
                engine={},
                lengths=lengths,
                steps=20,
                step_s=seconds,
                tokens_per_s=tokens / seconds,
                peak_bytes=peak,
                commit="0" * 40,
            )
        )
    return found


def cases() -> list[Case]:
    return cases_of(recorded(), CPU, lambda one: rebuild(one, ROOT, CPU))
