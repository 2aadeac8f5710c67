"""The proof of an image: this environment, which is of the same lock, passes; each thing that is wrong is named."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "containers" / "prove.py"
LOCK = ROOT / "requirements.lock"


@pytest.fixture
def prove() -> ModuleType:
    specification = importlib.util.spec_from_file_location("prove", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def problems(found: object) -> list[str]:
    assert hasattr(found, "__iter__")
    return [one for one in found if one is not None]


def test_every_pin_of_the_lock_is_looked_at(prove: ModuleType) -> None:
    pins = prove.locked(LOCK)
    assert pins["torch"] == "2.13.0"
    assert len(pins) == sum("==" in line and not line.startswith("#") for line in LOCK.read_text().splitlines())
    # In a process of its own: once setuptools has been imported, packages that it brings hide those of the environment.
    program = "import json, sys; import prove; from pathlib import Path; "
    program += "print(json.dumps(list(prove.packages(Path(sys.argv[1]), 'train'))))"
    argv = [sys.executable, "-c", program, str(LOCK)]
    done = subprocess.run(argv, cwd=PROGRAM.parent, capture_output=True, text=True, check=True)
    looked = json.loads(done.stdout)
    assert len(looked) >= len(pins)
    # trackyard itself, and what a machine of a developer has beside it, is in no image.
    assert [one for one in looked if one and "not in the lock" not in one] == []
    assert "is installed and not in the lock" in " ".join(problems(looked))


def test_another_version_and_an_absent_package_are_named(prove: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# numpy==1.0\nnumpy==1.0\nNo_Such.Package==2\ntorch==2.13.0\n")
    found = problems(prove.packages(lock, "cpu"))
    assert any(one.startswith("numpy is ") and one.endswith("the lock has 1.0") for one in found)
    assert "no-such-package is absent, the lock has 2" in found
    assert not any(one.startswith("torch is") for one in found)


@pytest.mark.parametrize(("name", "beside"), [("nvidia-cublas", True), ("triton", True), ("tritonclient", False)])
def test_torch_brings_its_accelerator_libraries(prove: ModuleType, name: str, beside: bool) -> None:
    assert bool(prove.TORCH_BRINGS.match(name)) is beside


def test_imports_that_fail_are_named(prove: ModuleType) -> None:
    assert problems(prove.imports(("json", "no_such_module"))) == [
        "import no_such_module: ModuleNotFoundError: No module named 'no_such_module'"
    ]


def test_packages_of_a_home_directory_are_a_problem(prove: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    assert problems(prove.isolation()) == []
    monkeypatch.delenv("PYTHONNOUSERSITE")
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    found = problems(prove.isolation())
    assert found[0] == "PYTHONNOUSERSITE is not 1"
    assert found[1].startswith("packages of a home directory are seen: ")


def test_java_that_is_absent_is_named(prove: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert problems(prove.programs()) == ["java does not run"]


def test_the_train_image_is_refused_without_cuda(prove: ModuleType) -> None:
    """Here torch is the CPU build: nothing of what the train image promises is there."""
    assert problems(prove.acceleration(None)) == []
    found = problems(prove.acceleration("13.0"))
    assert found[0] == "torch is built for CUDA None, wanted 13.0"
    assert "DeepSpeed's fused_adam was not compiled" in found
    assert any(one.startswith("import deepspeed.ops.adam.fused_adam_op: ") for one in found)


def test_it_ends_with_1_and_says_all_that_is_wrong(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("no-such-package==2\n")
    argv = [sys.executable, "-S", str(PROGRAM), str(lock), "cpu"]
    done = subprocess.run(argv, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no-such-package is absent, the lock has 2\n" in done.stderr
    assert "java does not run\n" in done.stderr
    assert done.stdout.startswith("cpu image: ")
    assert done.stdout.endswith(" proved\n")
