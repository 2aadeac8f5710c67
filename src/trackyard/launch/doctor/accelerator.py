"""The build of torch against the driver. torch itself is imported only where there is a GPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.packages import REINSTALL
from trackyard.launch.image.lock_file import read_lock
from trackyard.launch.preflight import Seen, Skipped, Warned

_CUDA = re.compile(r"^cuda\b[^=]*= *'([\d.]+)'", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """torch as it is installed. cuda: the version that it was built for; None: for CPUs only."""

    version: str
    cuda: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """What NVML says. cuda: the newest version that the driver serves, such as (12, 8)."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[str, ...]


def torch_build() -> Build:
    """Read from the installed files, without an import. EnvironmentLacking where there is no torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise EnvironmentLacking(what="torch is not installed", why="every model is computed by it", fix=REINSTALL)
    found = _CUDA.search(Path(spec.origin).with_name("version.py").read_text())
    return Build(version=metadata.version("torch"), cuda=found[1] if found else None)


def nvidia_driver() -> Driver | None:
    """None where there is no driver; EnvironmentLacking where there is one that does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return None
    except pynvml.NVMLError as error:
        raise _silent(error) from error
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return Driver(
            version=pynvml.nvmlSystemGetDriverVersion(),
            cuda=(cuda // 1000, cuda % 1000 // 10),
            gpus=tuple(pynvml.nvmlDeviceGetName(handle) for handle in handles),
        )
    except pynvml.NVMLError as error:
        raise _silent(error) from error
    finally:
        pynvml.nvmlShutdown()


def _silent(error: Exception) -> EnvironmentLacking:
    return EnvironmentLacking(
        what=f"the NVIDIA driver does not answer: {error}",
        why="a job would be given GPUs that it cannot use",
        fix="nvidia-smi shows the driver's own words; leave the node and tell its operator",
    )


def torch_row(build: Build) -> Seen:
    """Which build it is."""
    return Seen(detail=f"{build.version}, built for {f'CUDA {build.cuda}' if build.cuda else 'CPUs'}", examined=1)


def driver_row(asked: Asked, build: Build, driver: Driver | None) -> Seen:
    """The driver serves the CUDA of what trains here: of the site's image, else of the build, which sees its GPUs."""
    if driver is None or not driver.gpus:
        return _without_gpu(asked)
    seen = f"driver {driver.version} (CUDA {driver.cuda[0]}.{driver.cuda[1]}), {len(driver.gpus)} x {driver.gpus[0]}"
    if asked.site.image is not None and not asked.in_image:
        return _of_image(asked, asked.site.image, driver, seen)
    if build.cuda is None:
        raise EnvironmentLacking(
            what=f"{seen}, and torch {build.version} is a build for CPUs",
            why="stages would be trained on the CPU beside idle GPUs",
            fix="rm -rf .venv && make setup, with your package configuration preferring no build for CPUs",
        )
    if driver.cuda[0] < int(build.cuda.partition(".")[0]):
        raise _too_old(f"{seen}, and torch {build.version} was built for CUDA {build.cuda}")
    count = _seen_by_torch()
    if count == 0:
        raise EnvironmentLacking(
            what=f"{seen}, and torch sees no GPU",
            why="a run would stop in its first second",
            fix="check CUDA_VISIBLE_DEVICES; inside an image, that it was entered with --nv",
        )
    return Seen(detail=f"{seen}; torch sees {count}", examined=len(driver.gpus))


def _of_image(asked: Asked, name: str, driver: Driver, seen: str) -> Seen:
    """torch of this environment trains nothing here; what the image holds is in its lock."""
    locked = read_lock(asked.root).images.get(name)
    if locked is None:
        raise Skipped(f"{seen}; not compared: the image {name} is not locked")
    if locked.cuda is None:
        raise Warned(
            what=f"{seen}, and the image {name} is one for CPUs",
            why="stages are trained on the CPU beside idle GPUs",
            fix=f"write `image: train` in {asked.site_file}, then trackyard image build train",
        )
    least = locked.driver_min
    if driver.cuda[0] < int(locked.cuda.partition(".")[0]) or (least and _parts(driver.version) < _parts(least)):
        needs = f" and needs driver {least} or newer" if least else ""
        raise _too_old(f"{seen}, and the image {name} is for CUDA {locked.cuda}{needs}")
    return Seen(detail=f"{seen}; the image {name} is for CUDA {locked.cuda}", examined=len(driver.gpus))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _too_old(what: str) -> EnvironmentLacking:
    return EnvironmentLacking(
        what=what,
        why="a driver serves CUDA of its own major version and older ones, so no kernel would start",
        fix="ask the operator for a newer driver, or use a partition that has one",
    )


def _seen_by_torch() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _without_gpu(asked: Asked) -> Seen:
    given = asked.environment.get("SLURM_GPUS_ON_NODE") or asked.environment.get("SLURM_JOB_GPUS")
    if asked.in_job and given:
        raise EnvironmentLacking(
            what=f"this job was given GPUs ({given}), and no NVIDIA driver answers",
            why="training would stop in its first second",
            fix="enter the image with --nv; else leave the node and tell its operator: nvidia-smi",
        )
    raise Skipped("no NVIDIA GPU here" + (": a login node has none" if asked.site.scheduler == "slurm" else ""))


def compiler_row(asked: Asked, driver: Driver | None, environment: Mapping[str, str]) -> Seen:
    """Operators of DeepSpeed are prebuilt in the image; outside of it they are compiled when first used (pains 10)."""
    if asked.in_image:
        return Seen(detail="operators are prebuilt in the image: no compiler needed", examined=1)
    if asked.site.image is not None:
        raise Skipped(f"stages run in the image {asked.site.image}: nothing is compiled in this environment")
    if driver is None or not driver.gpus:
        raise Skipped("no NVIDIA GPU here: no CUDA operator is compiled")
    home = environment.get("CUDA_HOME")
    if home and (Path(home) / "bin" / "nvcc").is_file():
        return Seen(detail=f"CUDA_HOME={home} has nvcc", examined=1)
    raise Warned(
        what=f"CUDA_HOME is {f'{home}, without bin/nvcc' if home else 'not set'}",
        why="outside of the image DeepSpeed compiles an operator when it is first used, and cannot",
        fix="run in the image (`image:` of the site), or `module load cuda` and export CUDA_HOME",
    )
