"""Rows about the interpreter, torch, Apptainer and the image: each fine, and each as it is told when it is not."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

from tests.launch.doctor.asking import CLUSTER, LOCAL, asking
from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.launch.doctor import accelerator, apptainer, packages
from trackyard.launch.doctor.accelerator import Build, Driver
from trackyard.launch.image.lock_file import Base, ImageLock, Locked, write_lock
from trackyard.launch.preflight import Seen, Skipped, Warned
from trackyard.record.image import IMAGE_VARIABLE

ROOT = Path(__file__).resolve().parents[3]
GPU_BUILD = Build(version="2.13.0", cuda="13.0")
DRIVER = Driver(version="580.1", cuda=(13, 0), gpus=("H100", "H100"))
IMAGED = {**LOCAL, "image": "cpu"}
HERE = "/somewhere/apptainer"
LOCKED = Locked(
    file="cpu.sif",
    def_sha256="1" * 64,
    build_args={},
    base=Base(name="debian", digest="sha256:" + "2" * 64),
    sif_sha256="3" * 64,
    sif_bytes=1,
    apptainer_version="1.4.5",
    package_lock_sha256="4" * 64,
    cuda=None,
    driver_min=None,
    sbom="containers/cpu.cdx.json",
    packages="containers/cpu.packages.txt",
    created="2026-01-01T00:00:00Z",
)


def test_the_interpreter() -> None:
    assert packages.python((3, 11, 9)).detail.startswith("Python 3.11.9 at ")
    with pytest.raises(EnvironmentLacking, match=r"Python 3\.12\.1"):
        packages.python((3, 12, 1))


def test_packages(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# pins\npytest=={pytest.__version__}\n")
    assert packages.dependencies(tmp_path).detail == "1 packages as locked"
    lock.write_text("pytest==0.0.1\nno-such-package==1\n")
    with pytest.raises(EnvironmentLacking, match="2 of 2 packages") as raised:
        packages.dependencies(tmp_path)
    assert f"pytest {pytest.__version__}, locked 0.0.1" in raised.value.what
    assert "no-such-package absent, locked 1" in raised.value.what


def test_packages_that_are_not_as_locked_are_installed_again_by_the_fix(tmp_path: Path) -> None:
    """`make setup` alone does nothing once it has ended with this lock."""
    inputs = [(ROOT / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / f".stamp-{hashlib.sha256(b''.join(inputs)).hexdigest()[:16]}").touch()
    with pytest.raises(EnvironmentLacking) as raised:
        packages.dependencies(write(tmp_path / "other", "no-such-package==1"))
    again = raised.value.fix.partition(", then ")[0]
    dry = {"before": "make -n setup", "by the fix": again.replace("make setup", "make -n setup")}
    told = {
        name: subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        for name, line in dry.items()
    }
    assert ("pip install" in told["before"], "pip install" in told["by the fix"]) == (False, True)


def write(root: Path, lock: str) -> Path:
    root.mkdir()
    (root / "requirements.lock").write_text(lock)
    return root


def test_torch_is_read_without_importing_it() -> None:
    spec = find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    stated = run_path(str(Path(spec.origin).with_name("version.py")))
    build = accelerator.torch_build()
    assert build == Build(version=metadata.version("torch"), cuda=stated["cuda"])
    wanted = f"built for CUDA {build.cuda}" if build.cuda else "built for CPUs"
    assert accelerator.torch_row(build).detail.endswith(wanted)


def test_torch_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentLacking, match="torch is not installed"):
        accelerator.torch_build()


def test_a_driver_that_serves_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_seen_by_torch", lambda: 2)
    seen = accelerator.driver_row(asking(tmp_path), GPU_BUILD, DRIVER)
    assert seen.detail == "driver 580.1 (CUDA 13.0), 2 x H100; torch sees 2"


@pytest.mark.parametrize(
    ("build", "driver", "seen", "what"),
    [
        (Build(version="2.13.0+cpu", cuda=None), DRIVER, 2, "is a build for CPUs"),
        (GPU_BUILD, Driver(version="535.1", cuda=(12, 2), gpus=("A100",)), 1, r"CUDA 12\.2.* built for CUDA 13\.0"),
        (GPU_BUILD, DRIVER, 0, "torch sees no GPU"),
    ],
)
def test_a_driver_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Build, driver: Driver, seen: int, what: str
) -> None:
    monkeypatch.setattr(accelerator, "_seen_by_torch", lambda: seen)
    with pytest.raises(EnvironmentLacking, match=what):
        accelerator.driver_row(asking(tmp_path), build, driver)


@pytest.mark.parametrize(
    ("cuda", "least", "what"),
    [
        ("13.0", "580.65.06", ""),
        ("12.8", None, ""),
        ("14.0", None, r"the image train is for CUDA 14\.0"),
        ("13.0", "580.101.1", r"needs driver 580\.101\.1 or newer"),
    ],
)
def test_a_driver_is_held_against_the_image_where_stages_run_in_one(
    tmp_path: Path, cuda: str, least: str | None, what: str
) -> None:
    """Not against the build of torch in this environment, which trains nothing there."""
    write_lock(tmp_path, ImageLock(images={"train": LOCKED.model_copy(update={"cuda": cuda, "driver_min": least})}))
    asked = asking(tmp_path, image="train")
    driver, host = Driver(version="580.95.05", cuda=(13, 0), gpus=("H100",)), Build(version="2.13.0+cpu", cuda=None)
    if what:
        with pytest.raises(EnvironmentLacking, match=what):
            accelerator.driver_row(asked, host, driver)
    else:
        assert accelerator.driver_row(asked, host, driver).detail.endswith(f"the image train is for CUDA {cuda}")


def test_an_image_for_cpus_beside_gpus_is_told(tmp_path: Path) -> None:
    write_lock(tmp_path, ImageLock(images={"cpu": LOCKED}))
    with pytest.raises(Warned, match="the image cpu is one for CPUs"):
        accelerator.driver_row(asking(tmp_path, site=IMAGED), GPU_BUILD, DRIVER)
    with pytest.raises(Skipped, match="the image train is not locked"):
        accelerator.driver_row(asking(tmp_path, image="train"), GPU_BUILD, DRIVER)


def test_no_driver_is_a_failure_only_where_gpus_were_given(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"no NVIDIA GPU here$"):
        accelerator.driver_row(asking(tmp_path), GPU_BUILD, None)
    with pytest.raises(Skipped, match="a login node has none"):
        accelerator.driver_row(asking(tmp_path, site=CLUSTER), GPU_BUILD, None)
    job = asking(tmp_path, site=CLUSTER, environment={"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4"})
    with pytest.raises(EnvironmentLacking, match=r"was given GPUs \(4\)"):
        accelerator.driver_row(job, GPU_BUILD, None)


def test_a_compiler_is_needed_outside_of_the_image_only(tmp_path: Path) -> None:
    inside = asking(tmp_path, environment={IMAGE_VARIABLE: "sha256:0"})
    assert "no compiler needed" in accelerator.compiler_row(inside, DRIVER, {}).detail
    with pytest.raises(Skipped, match="in the image cpu"):
        accelerator.compiler_row(asking(tmp_path, site=IMAGED), DRIVER, {})
    outside = asking(tmp_path)
    with pytest.raises(Skipped):
        accelerator.compiler_row(outside, None, {})
    with pytest.raises(Warned, match="CUDA_HOME is not set"):
        accelerator.compiler_row(outside, DRIVER, {})
    with pytest.raises(Warned, match="without bin/nvcc"):
        accelerator.compiler_row(outside, DRIVER, {"CUDA_HOME": str(tmp_path)})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").write_text("")
    assert "has nvcc" in accelerator.compiler_row(outside, DRIVER, {"CUDA_HOME": str(tmp_path)}).detail


def test_nvml_answers_or_there_is_no_driver() -> None:
    found = accelerator.nvidia_driver()
    assert found is None or found.gpus


ROWS: list[Callable[..., Seen]] = [
    apptainer.version,
    apptainer.squashfuse,
    apptainer.fuse,
    apptainer.user_namespaces,
    apptainer.subordinate_ids,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_apptainer_is_lacking_only_where_a_site_names_an_image(tmp_path: Path, row: Callable[..., Seen]) -> None:
    for where in (None, HERE):
        with pytest.raises(Skipped, match="names no image"):
            row(asking(tmp_path), where)
    with pytest.raises(Skipped, match="inside the image"):
        row(asking(tmp_path, site=IMAGED, environment={IMAGE_VARIABLE: "sha256:0"}), None)
    with pytest.raises(EnvironmentLacking, match="apptainer is not on PATH"):
        row(asking(tmp_path, site=IMAGED), None)


def test_the_version_of_apptainer(tmp_path: Path) -> None:
    seen = apptainer.version(
        asking(tmp_path, site=IMAGED, answers={"apptainer --version": "apptainer version 1.4.5\n"}), HERE
    )
    assert seen.detail == f"Apptainer 1.4.5 at {HERE}"
    with pytest.raises(Warned, match=r"Apptainer 1\.3\.6-1\.el8"):
        apptainer.version(
            asking(tmp_path, site=IMAGED, answers={"apptainer --version": "apptainer version 1.3.6-1.el8"}), HERE
        )
    with pytest.raises(EnvironmentLacking, match="ends with 255: broken"):
        apptainer.version(asking(tmp_path, site=IMAGED, answers={"apptainer --version": (255, "broken")}), HERE)


def test_squashfuse_on_path_or_beside_apptainer(tmp_path: Path) -> None:
    own = tmp_path / "libexec" / "apptainer" / "bin"
    own.mkdir(parents=True)
    answers = {"apptainer buildcfg": f"LIBEXECDIR={tmp_path / 'libexec'}\n"}
    asked = asking(tmp_path, answers, site=IMAGED, environment={"PATH": str(tmp_path / "empty")})
    with pytest.raises(EnvironmentLacking, match="no squashfuse"):
        apptainer.squashfuse(asked, HERE)
    program = own / "squashfuse_ll"
    program.write_text("")
    with pytest.raises(EnvironmentLacking, match="no squashfuse"):
        apptainer.squashfuse(asked, HERE)
    program.chmod(0o755)
    assert apptainer.squashfuse(asked, HERE).detail == str(program)


def test_the_fuse_device(tmp_path: Path) -> None:
    assert apptainer.fuse(asking(tmp_path, site=IMAGED), HERE, device=Path("/dev/null")).detail == "/dev/null opens"
    with pytest.raises(EnvironmentLacking, match="No such file"):
        apptainer.fuse(asking(tmp_path, site=IMAGED), HERE, device=tmp_path / "fuse")
    (tmp_path / "fuse").write_text("")
    with pytest.raises(EnvironmentLacking, match="it is no device"):
        apptainer.fuse(asking(tmp_path, site=IMAGED), HERE, device=tmp_path / "fuse")


DENIED = (1, "unshare failed: No space left on device")


def test_user_namespaces(tmp_path: Path) -> None:
    made = asking(tmp_path, {"unshare": ""}, site=IMAGED)
    assert apptainer.user_namespaces(made, HERE).detail.startswith("made one; at most ")
    built = {"apptainer buildcfg": str(tmp_path)}
    with pytest.raises(EnvironmentLacking, match=r"No space left on device; there is no .*/starter-suid"):
        apptainer.user_namespaces(asking(tmp_path, {"unshare": DENIED, **built}, site=IMAGED), HERE)


@pytest.mark.parametrize(
    ("mode", "owner", "flags", "configuration", "problem"),
    [
        (0o4755, 0, 0, "# allow setuid = no\nallow setuid = yes\n", ""),
        (0o4755, 0, 0, "", ""),
        (0o755, 0, 0, "", "is not setuid by root"),
        (0o4755, 1, 0, "", "is not setuid by root"),
        (0o4755, 0, os.ST_NOSUID, "", "mounted nosuid"),
        (0o4755, 0, 0, "allow setuid = no\n", "says allow setuid = no"),
    ],
)
def test_an_apptainer_that_is_setuid_needs_no_user_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: int, flags: int, configuration: str, problem: str
) -> None:
    starter, settings = tmp_path / "apptainer" / "bin" / "starter-suid", tmp_path / "apptainer.conf"
    starter.parent.mkdir(parents=True)
    starter.write_text("")
    starter.chmod(mode)
    settings.write_text(configuration)
    # Whoever runs the tests made the file.
    monkeypatch.setattr(apptainer, "ROOT", os.getuid() + owner)
    monkeypatch.setattr("os.statvfs", lambda path: SimpleNamespace(f_flag=flags))
    answers: dict[str, str | tuple[int, str]] = {
        "unshare": DENIED,
        "apptainer buildcfg LIBEXECDIR": f"{tmp_path}\n",
        "apptainer buildcfg APPTAINER_CONF_FILE": f"{settings}\n",
    }
    asked = asking(tmp_path, answers, site=IMAGED)
    if problem:
        with pytest.raises(EnvironmentLacking, match=problem):
            apptainer.user_namespaces(asked, HERE)
    else:
        assert "none is needed" in apptainer.user_namespaces(asked, HERE).detail


def test_subordinate_ids_are_needed_to_build_only(tmp_path: Path) -> None:
    users, groups = tmp_path / "subuid", tmp_path / "subgid"
    for file in (users, groups):
        file.write_text(f"somebody:100000:65536\n{os.getuid()}:165536:65536\n")
    asked = asking(tmp_path, site=IMAGED)
    assert "65536 subordinate ids" in apptainer.subordinate_ids(asked, HERE, files=(users, groups)).detail
    groups.write_text("somebody:100000:65536\n")
    with pytest.raises(Warned, match=r"subgid gives .* 0 ids"):
        apptainer.subordinate_ids(asked, HERE, files=(users, groups))


def test_the_image_of_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Skipped, match="in this environment"):
        apptainer.image(asking(tmp_path))
    with pytest.raises(Skipped, match="inside the image"):
        apptainer.image(asking(tmp_path, site=IMAGED, environment={IMAGE_VARIABLE: "sha256:0"}))
    digest = "sha256:" + "ab" * 32
    monkeypatch.setattr("trackyard.launch.image.finding.image_of", lambda *_: (tmp_path / "cpu.sif", digest))
    assert apptainer.image(asking(tmp_path, site=IMAGED)).detail.endswith("cpu.sif, sha256:abababababab… as locked")


def test_an_image_that_nobody_has_locked_fails(tmp_path: Path) -> None:
    with pytest.raises(TrackyardError, match=r"image\.lock\.json does not exist"):
        apptainer.image(asking(tmp_path, site=IMAGED))


def test_a_gpu_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def lost() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lost)
    with pytest.raises(EnvironmentLacking, match="the NVIDIA driver does not answer"):
        accelerator.nvidia_driver()
