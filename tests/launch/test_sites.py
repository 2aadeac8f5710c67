"""Sites: the shipped files parse, state the operator's facts, and a partition is found for a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import ConfigError
from trackyard.launch.sites import FOLDER, Jobs, Network, ObjectStore, Partition, Shape, Site, Storage, load_site

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / FOLDER).glob("*.yaml")))
def test_shipped_sites_are_named_as_their_files(name: str) -> None:
    assert load_site(name, ROOT).name == name


def test_facts_of_anvil() -> None:
    """hpc spec section 7."""
    site = load_site("anvil", ROOT)
    ai, gpu, debug = (site.partitions[name] for name in ("ai", "gpu", "gpu-debug"))
    assert (ai.nodes, ai.gpus_per_node, ai.cores_per_node, ai.device) == (21, 4, 96, "h100")
    assert (gpu.nodes, gpu.gpus_per_node, gpu.cores_per_node, gpu.device) == (16, 4, 128, "a100-40")
    assert (ai.max_hours, gpu.max_hours, debug.max_hours) == (48, 48, 0.5)
    assert (ai.max_gpus_per_user, gpu.max_gpus_per_user, debug.max_gpus_per_user) == (12, 12, 2)
    assert (ai.service_units_per_gpu_hour, ai.credits, gpu.credits) == (1, "AI", "GPU")
    assert site.scratch is not None
    assert site.project is not None
    assert (site.scratch.quota_tb, site.scratch.purged_after_days, site.project.quota_tb) == (100, 30, 5)
    assert (site.scratch.max_files, site.project.max_files) == (1_048_000, 1_048_000)
    assert site.home is not None
    assert site.home.quota_tb == 0.025
    assert not site.compute_has_network
    assert {name: (one.nodes, one.max_hours) for name, one in site.partitions.items() if one.device == "cpu"} == {
        "shared": (1, 96),
        "wholenode": (16, 96),
        "wide": (56, 12),
        "highmem": (1, 48),
        "debug": (2, 2),
    }
    assert (ai.max_gpus_per_account, gpu.max_gpus_per_account) == (32, 32)
    assert (debug.max_running_jobs, site.partitions["wide"].max_running_jobs) == (1, 5)
    assert {one.credits for one in site.partitions.values()} == {"AI", "GPU", "CPU"}
    assert site.partitions["highmem"].service_units_per_core_hour == 4
    assert site.object_store is not None
    assert site.object_store.endpoint == "https://s3.anvil.rcac.purdue.edu"
    assert (site.image, site.image_store) == ("train", Storage(path_variable="PROJECT"))


def test_no_site_file_names_an_account() -> None:
    for path in (ROOT / FOLDER).glob("*.yaml"):
        assert load_site(path.stem, ROOT).account_variable in (None, "TRACKYARD_ACCOUNT")


@pytest.mark.parametrize(
    ("device", "asked", "found"),
    [(None, None, "ai"), ("h100", None, "ai"), ("a100-40", None, "gpu"), ("h100", "gpu-debug", "gpu-debug")],
)
def test_partition_for_a_device(device: str | None, asked: str | None, found: str) -> None:
    assert load_site("anvil", ROOT).partition_for(device, asked) == found


def test_the_local_site_takes_any_device() -> None:
    assert load_site("local", ROOT).partition_for("h200") == "here"


def test_a_device_that_a_site_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigError, match="site anvil has no h200") as raised:
        load_site("anvil", ROOT).partition_for("h200")
    assert "ai: h100, gpu: a100-40" in raised.value.why


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no partition 'fast'"):
        load_site("anvil", ROOT).partition_for(None, "fast")
    with pytest.raises(ConfigError, match="there is no site 'nowhere'") as raised:
        load_site("nowhere", ROOT)
    assert "anvil, local, local-apptainer, slurm-template" in raised.value.why


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpu: {device: h100, cores_per_node: 8}", "gpus_per_node=0"),
        ("gpu: {device: cpu, gpus_per_node: 2, cores_per_node: 8}", "device=cpu with gpus_per_node=2"),
        ("gpu: {device: b200, gpus_per_node: 2, cores_per_node: 8}", "partitions.gpu.device='b200'"),
        (
            "gpu: {device: h100, gpus_per_node: 2, cores_per_node: 8, max_hour: 3}",
            "unknown parameter 'partitions.gpu.max_hour'",
        ),
        ("cpu: {device: cpu, cores_per_node: 8}", "default_partition='gpu' is none of"),
        ("gpu: {device: any, cores_per_node: 8, needs_gpus: true}", "needs_gpus without gpus_per_node"),
        (
            "gpu: {device: any, cores_per_node: 8}\nshapes: {cpu: {partition: fast, minutes: 5}}",
            "shapes.cpu.partition='fast' is none of ['gpu']",
        ),
        ("gpu: {device: any, cores_per_node: 8}\nshapes: {tpu: {minutes: 5}}", "shapes.tpu"),
        (
            "gpu: {device: any, cores_per_node: 8}\nshapes: {network: {minutes: 5}}",
            "shapes.network is in a partition without network",
        ),
        (
            "gpu: {device: any, cores_per_node: 8, max_hours: 0.1}\njobs: {signal_lead_s: 301}",
            "jobs.signal_lead_s=301 leaves no minute of what a job in gpu may take",
        ),
        ("gpu: {device: any, cores_per_node: 8}\nsbatch: {mem: 5G}", "sbatch.mem: trackyard sets it itself"),
        (
            "gpu: {device: any, cores_per_node: 8}\nsbatch: {quos: x}",
            "sbatch.quos: what a site may add is acctg-freq, ",
        ),
        ("gpu: {device: any, cores_per_node: 8}\nbinds: [/scratch]", "binds: '/scratch' is not SOURCE:TARGET"),
    ],
)
def test_a_site_that_contradicts_itself_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.yaml").write_text(f"name: mine\ndefault_partition: gpu\npartitions:\n  {text}\n")
    with pytest.raises(ConfigError) as raised:
        load_site("mine", tmp_path)
    assert told in raised.value.what


def test_a_partition_with_network_takes_what_needs_it(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.yaml").write_text(
        "name: mine\ndefault_partition: gpu\npartitions:\n  gpu: {device: any, cores_per_node: 8}\n"
        "  transfer: {device: cpu, cores_per_node: 8, has_network: true}\n"
        "shapes: {network: {partition: transfer, minutes: 5}}\njobs: {signal_lead_s: 60}\n"
        "binds: [/scratch:/scratch, /data:/data:ro]\n"
    )
    site = load_site("mine", tmp_path)
    assert [name for name in site.partitions if site.reaches_network(name)] == ["transfer"]


def test_the_template_shows_every_setting() -> None:
    """What a site file may say and the template does not, nobody finds."""
    told = (ROOT / FOLDER / "slurm-template.yaml").read_text()
    groups = (Site, Partition, Shape, Jobs, Network, Storage, ObjectStore)
    silent = {name for group in groups for name in group.model_fields if f"{name}:" not in told}
    assert silent == set()


def test_a_copy_that_keeps_another_name_is_refused(tmp_path: Path) -> None:
    """Jobs find their site by its name."""
    (tmp_path / "sites").mkdir()
    text = (ROOT / "sites" / "slurm-template.yaml").read_text()
    (tmp_path / "sites" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"sites/mine.yaml says name: slurm-template") as refused:
        load_site("mine", tmp_path)
    assert refused.value.fix == "write `name: mine` in sites/mine.yaml"
    (tmp_path / "sites" / "mine.yaml").write_text(text.replace("name: slurm-template", "name: mine"))
    assert load_site("mine", tmp_path).name == "mine"
