"""What of the host is seen inside, and where compiled things go."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import EnvironmentLacking
from trackyard.launch.image.environment import PASSING, PASSING_PREFIXES, cache_variables, offline, passed_on

DIGEST = "sha256:" + "0123456789abcdef" * 4
LOCAL = "22 1 0:21 / / rw,relatime - ext4 /dev/vda rw\n"
SHARED = LOCAL + "30 22 0:40 / /scratch rw shared:5 - {kind} server rw\n"


def test_ranks_and_settings_pass_and_the_rest_stays_outside() -> None:
    passing = {
        "RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "n1", "MASTER_PORT": "2", "SLURM_PROCID": "1",
        "CUDA_VISIBLE_DEVICES": "0,1", "OMP_NUM_THREADS": "3", "NCCL_DEBUG": "INFO", "GLOO_SOCKET_IFNAME": "lo",
        "TRACKYARD_SITE": "anvil", "MLFLOW_TRACKING_URI": "x", "DVC_NO_ANALYTICS": "1", "TORCH_NCCL_TRACE": "1",
    }  # fmt: skip
    outside = {
        "PYTHONPATH": "/evil", "PYTHONHOME": "/evil", "PYTHONSTARTUP": "/evil", "LD_PRELOAD": "/evil", "HOME": "/h",
        "LD_LIBRARY_PATH": "/evil", "PATH": "/evil", "VIRTUAL_ENV": "/evil", "CONDA_PREFIX": "/evil", "HF_TOKEN": "t",
        "SSL_CERT_FILE": "/evil", "PIP_INDEX_URL": "x", "RANKED": "1", "XRANK": "1", "TMPDIR": "/evil", "NCCL": "1",
    }  # fmt: skip
    assert passed_on(passing | outside) == passing


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(PASSING)), st.text(min_size=1)), st.text()))
def test_passing_changes_no_value_and_adds_none(environment: dict[str, str]) -> None:
    passed = passed_on(environment)
    assert passed.items() <= environment.items()
    assert passed_on(passed) == passed
    assert all(name in PASSING or name.startswith(PASSING_PREFIXES) for name in passed)


def test_offline_is_the_one_switch_of_the_hub() -> None:
    assert offline() == {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_caches_lie_on_the_disk_of_the_node_by_image(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(LOCAL)
    found = cache_variables(Path("/local"), DIGEST, mounts=table)
    assert set(found) == {
        "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "CUDA_CACHE_PATH", "MPLCONFIGDIR",
        "XDG_CACHE_HOME",
    }  # fmt: skip
    assert all(Path(value).is_relative_to("/local") and "0123456789ab" in value for value in found.values())
    assert len(set(found.values())) == len(found)
    other = cache_variables(Path("/local"), "sha256:" + "f" * 64, mounts=table)
    assert not set(found.values()) & set(other.values())


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "beegfs", "9p"])
def test_a_cache_below_a_shared_mount_is_refused(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(SHARED.format(kind=kind))
    with pytest.raises(
        EnvironmentLacking, match=f"/scratch, a file system of kind {kind}, which nodes share"
    ) as raised:
        cache_variables(Path("/scratch/me/tmp"), DIGEST, mounts=table)
    assert "export TMPDIR=" in raised.value.fix
    assert cache_variables(Path("/scratch-of-mine"), DIGEST, mounts=table)
