"""Under which circumstances times were measured, and that those of different machines are never put together.

Source: nine-datasets spec section 7 (recorded).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import torch

from trackyard.errors import DataError, EnvironmentLacking
from trackyard.runner import Runner

Kind = Literal["cpu", "cuda"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_ASKED = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
"""Of nvidia-smi: the driver, and MHz of the processors and the memory, as they are and at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What times depend on besides the model and the question. None: not readable here, or not of this kind.

    device: as its driver names it. kind: "cpu" marks times that are comparable with no GPU's. clocks_mhz: by the names
    of nvidia-smi. precision: of the weights. attention: transformers' name of the kernel. load_1min: mean number of
    runnable processes of the host, ourselves included. gpu_processes: on the same GPU besides this one.
    """

    device: str
    kind: Kind
    driver: str | None
    clocks_mhz: dict[str, float] | None
    precision: str
    attention: str
    compiled: bool
    cores: int
    threads: int
    load_1min: float | None
    gpu_processes: int | None
    torch: str

    @property
    def busy(self) -> str:
        """What else ran, in words; empty for a machine to ourselves."""
        found = []
        if self.gpu_processes:
            found.append(f"{self.gpu_processes} other processes on the GPU")
        # Ourselves count for as many as we have threads.
        if self.load_1min is not None and self.load_1min > self.threads + 0.5:
            found.append(f"load {self.load_1min:.1f} on {self.cores} cores")
        return ", ".join(found)

    def to_json(self) -> dict[str, Any]:
        """For documents."""
        return asdict(self)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """From a document. DataError for other fields than these."""
        names = set(cls.__dataclass_fields__)
        if set(body) != names or body["kind"] not in KINDS:
            raise DataError(
                what=f"circumstances with the fields {sorted(set(body) ^ names)} too many or too few, kind "
                f"{body.get('kind')!r}",
                why="whether these times may stand beside others cannot be told",
                fix="run the latency stage again: dvc repro pipelines/nine/dvc.yaml:latency",
            )
        return cls(**body)


def circumstances(model: torch.nn.Module, runner: Runner) -> Circumstances:
    """Of a model on its device, as the machine is now."""
    weights = list(model.parameters())
    device = weights[0].device
    cuda = device.type == "cuda"
    asked = _asked_of_driver(device, runner) if cuda else {}
    config = cast(Any, model).config.get_text_config(decoder=True)
    return Circumstances(
        device=torch.cuda.get_device_name(device) if cuda else _processor(),
        kind="cuda" if cuda else "cpu",
        driver=asked.pop("driver_version", None),
        clocks_mhz={name: float(value) for name, value in asked.items()} or None,
        precision=", ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})),
        attention=str(config._attn_implementation),
        compiled=is_compiled(model),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        load_1min=_load_1min(),
        gpu_processes=_others_on_gpu(device, runner) if cuda else None,
        torch=torch.__version__,
    )


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether torch.compile is in force for the model or a part of it."""
    return any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in model.modules())


def refuse_mixed(measured: Sequence[Circumstances]) -> None:
    """DataError unless all times are of one kind of device, and of the same device."""
    found = sorted({(each.kind, each.device) for each in measured})
    if len(found) > 1:
        named = "; ".join(f"{device} ({kind})" for kind, device in found)
        raise DataError(
            what=f"latencies of {len(found)} devices are to be put together: {named}",
            why="a frontier over them would compare the devices and not the configurations",
            fix="measure every configuration on one kind of machine, and the others' again",
        )


def _processor() -> str:
    """The CPU by its model name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _load_1min() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _asked_of_driver(device: torch.device, runner: Runner) -> dict[str, Any]:
    """Answers by their names; what the driver does not tell is left out."""
    lines = _nvidia_smi(device, f"--query-gpu={','.join(_ASKED)}", runner)
    values = [value.strip() for value in lines[0].split(",")] if lines else []
    if len(values) != len(_ASKED):
        return {}
    return {name: value for name, value in zip(_ASKED, values, strict=True) if not value.startswith("[")}


def _others_on_gpu(device: torch.device, runner: Runner) -> int | None:
    """Processes besides ours; None where the driver lists none, as in a container, although the model is there."""
    lines = _nvidia_smi(device, "--query-compute-apps=pid", runner)
    return len(lines) - 1 if lines else None


def _nvidia_smi(device: torch.device, query: str, runner: Runner) -> list[str] | None:
    """Lines of an answer about one GPU; None where the program is absent or refuses."""
    # By its own name: CUDA_VISIBLE_DEVICES renumbers GPUs for us and not for the driver's program.
    named = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        done = runner.run(["nvidia-smi", query, "--format=csv,noheader,nounits", f"--id={named}"], timeout_s=20.0)
    except EnvironmentLacking:
        return None
    return done.stdout.splitlines() if done.exit_code == 0 else None
