"""`trackyard smoke` by torchrun on this machine; two nodes are in tests/cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trackyard.cli.smoke import smoke
from trackyard.errors import ConfigError
from trackyard.launch import executor
from trackyard.launch.sites import Site

ROOT = Path(__file__).resolve().parents[2]
SITE = """\
name: pair
default_partition: all
partitions:
  all: {device: any, cores_per_node: 2}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "pair.yaml").write_text(SITE)
    return tmp_path


@pytest.mark.system
def test_two_ranks_reach_each_other(repository: Path) -> None:
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python",
            sys.executable, "-m", "trackyard", "smoke", "--gib", "0.01", "--site", "pair", "--json"]  # fmt: skip
    done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema"], told["proved"], told["missing"]) == ("trackyard-smoke/1", None, [])
    assert (told["backend"], told["transports"], len(told["hosts"])) == ("gloo", ["tcp"], 2)
    # Of two ranks each link carries what the tensor holds.
    assert told["bus_gbyte_per_s"] == pytest.approx(0.01 * 2**30 / 1e9 / told["seconds"])


def test_one_process_proves_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="started as one process"):
        smoke(gib=0.01, site="pair", as_json=False)
    with pytest.raises(ConfigError, match="there is no site 'nowhere'"):
        smoke(gib=0.01, site="nowhere", as_json=False)


def test_where_the_site_names_an_image_the_network_is_measured_inside(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may have libraries that the image lacks."""
    (repository / "sites" / "pair.yaml").write_text(f"{SITE}image: cpu\n")
    monkeypatch.chdir(repository)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "2"),
                        ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TRACKYARD_IMAGE_DIGEST", raising=False)

    class Entered(Exception):
        pass

    def enter(root: Path, site: Site, needs: str, command: tuple[str, ...], *others: object) -> None:
        assert (needs, command) == ("train", ("trackyard", "smoke", "--gib", "0.01", "--site", "pair"))
        raise Entered

    monkeypatch.setattr(executor, "enter", enter)
    with pytest.raises(Entered):
        smoke(gib=0.01, site="pair", as_json=False)
