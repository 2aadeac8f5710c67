"""Prove that an image is what its definition says: run at the end of each build, and again by `apptainer test`.

    python prove.py LOCK cpu|train [CUDA]

LOCK: requirements.lock as it was installed. CUDA: version that torch must be built for, as 13.0. Standard library only:
nothing of trackyard is in an image. Exit 0: proved, and how many things; 1: every one that is wrong, on a line each.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import site
import subprocess  # noqa: TID251 - trackyard.runner is not in an image
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

IMPORTED = (
    "aiohttp", "av", "blake3", "datasets", "deepspeed", "diffusers", "lm_eval", "mlflow", "numba", "PIL", "pyarrow",
    "pycocoevalcap.cider.cider", "pydantic", "safetensors", "scipy", "simplejpeg", "tokenizers", "torch",
    "transformers",
)  # fmt: skip
OPERATIONS = {
    "fused_adam": "deepspeed.ops.adam.fused_adam_op",
    "pin_memory": "deepspeed.ops.pin_memory.pin_memory_op",
    "utils": "deepspeed.ops.utils_op",
}
"""Of DeepSpeed, and the modules that they are compiled to; as containers/train.def builds them."""
VERBS = ("libibverbs.so.1", "librdmacm.so.1", "libmlx5.so.1")
"""Without them NCCL falls back from InfiniBand to sockets (pains 12)."""
TORCH_BRINGS = re.compile(r"(nvidia-|cuda-|triton$)")
"""Accelerator libraries of torch's CUDA build, which requirements.lock leaves to it."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, str]:
    """Version of each pinned package, by its normalised name."""
    pins = re.findall(r"^([A-Za-z0-9][\w.-]*)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {plain(name): version for name, version in pins}


def packages(lock: Path, kind: str) -> Iterator[str | None]:
    """A problem, or None, for each package that is pinned or installed."""
    pins = locked(lock)
    there = {plain(one.metadata["Name"]): one.version for one in metadata.distributions()}
    for name, version in pins.items():
        # A build of the same version may carry a local label: 2.13.0+cpu.
        found = there.get(name, "absent")
        yield None if found.split("+")[0] == version else f"{name} is {found}, the lock has {version}"
    for name in sorted(there.keys() - pins.keys() - {"pip"}):
        allowed = kind == "train" and TORCH_BRINGS.match(name)
        yield None if allowed else f"{name} {there[name]} is installed and not in the lock"


def imports(names: tuple[str, ...]) -> Iterator[str | None]:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever an import raises is the finding
            yield f"import {name}: {type(error).__name__}: {error}"
        else:
            yield None


def isolation() -> Iterator[str | None]:
    yield None if os.environ.get("PYTHONNOUSERSITE") == "1" else "PYTHONNOUSERSITE is not 1"
    yield None if not site.ENABLE_USER_SITE else f"packages of a home directory are seen: {site.getusersitepackages()}"
    yield None if sys.version_info[:2] == (3, 11) else f"Python {sys.version.split()[0]}, the lock is of 3.11"


def programs() -> Iterator[str | None]:
    """Java cuts captions into words."""
    java = shutil.which("java")
    ran = java is not None and subprocess.run([java, "-version"], capture_output=True, check=False).returncode == 0
    yield None if ran else "java does not run"


def acceleration(cuda: str | None) -> Iterator[str | None]:
    absent = list(imports(("torch",)))
    yield from absent
    if any(absent):
        return
    import torch

    built = torch.version.cuda
    wrong = (built is not None) if cuda is None else not (built or "").startswith(cuda)
    yield f"torch is built for CUDA {built}, wanted {cuda}" if wrong else None
    if cuda is None:
        return
    yield None if torch.backends.cuda.is_flash_attention_available() else "torch has no flash attention"
    yield None if shutil.which("nvcc") is None else "nvcc is there: operations must not need it, and it is large"
    from deepspeed.git_version_info import installed_ops

    for name in OPERATIONS:
        yield None if installed_ops.get(name) else f"DeepSpeed's {name} was not compiled"
    yield from imports(tuple(OPERATIONS.values()))
    for name in VERBS:
        try:
            ctypes.CDLL(name)
        except OSError as error:
            yield f"{name}: {error}"
        else:
            yield None


def main(lock: str, kind: str, cuda: str | None = None) -> int:
    checks: list[Callable[[], Iterator[str | None]]] = [
        isolation,
        lambda: packages(Path(lock), kind),
        lambda: imports(IMPORTED),
        programs,
        lambda: acceleration(cuda),
    ]
    found = [one for check in checks for one in check()]
    problems = [one for one in found if one is not None]
    for one in problems:
        sys.stderr.write(f"{one}\n")
    sys.stdout.write(f"{kind} image: {len(found) - len(problems)} of {len(found)} proved\n")
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
