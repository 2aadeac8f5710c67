"""What jobs ask for: settled within the limits, or refused with the nearest that would be granted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.launch.charges import service_units_per_hour
from trackyard.launch.requests import as_options, nearest, request_for, settle, shape_of
from trackyard.launch.sites import Jobs, Need, Partition, Shape, Site, load_site
from trackyard.launch.slurm.batch import Request
from trackyard.parameters import parse_parameters

ROOT = Path(__file__).resolve().parents[2]
PAID = {"TRACKYARD_ACCOUNT": "proj-1"}
MIB = 2**20


@pytest.fixture(scope="module")
def anvil() -> Site:
    return load_site("anvil", ROOT)


def asked(**values: Any) -> Shape:
    return Shape(**({"minutes": 60} | values))


@st.composite
def partitions(draw: st.DrawFn) -> Partition:
    gpus = draw(st.integers(0, 8))
    limits = st.none() | st.integers(1, 20)
    return Partition(
        device="h100" if gpus else "cpu",
        gpus_per_node=gpus,
        nodes=draw(st.integers(1, 12)),
        cores_per_node=draw(st.integers(1, 64)),
        memory_gb_per_node=draw(st.none() | st.floats(1, 2000)),
        max_hours=draw(st.none() | st.floats(0.5, 96)),
        max_gpus_per_user=draw(limits),
        max_gpus_per_account=draw(limits),
        needs_gpus=gpus > 0 and draw(st.booleans()),
    )


@st.composite
def sites(draw: st.DrawFn) -> Site:
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    return Site(
        name="drawn",
        scheduler="slurm",
        default_partition=names[0],
        partitions={name: draw(partitions()) for name in names},
        jobs=Jobs(signal_lead_s=draw(st.integers(1, 1500))),
    )


@st.composite
def shapes(draw: st.DrawFn, site: Site) -> Shape:
    return Shape(
        partition=draw(st.none() | st.sampled_from(sorted(site.partitions))),
        nodes=draw(st.integers(1, 20)),
        tasks_per_node=draw(st.integers(1, 10)),
        gpus_per_node=draw(st.integers(0, 10)),
        cores_per_task=draw(st.integers(1, 80)),
        memory_gb_per_node=draw(st.none() | st.floats(0.5, 4000)),
        minutes=draw(st.integers(1, 10_000)),
    )


def assert_within(site: Site, request: Request) -> None:
    """Written anew, not as `requests` has it: the limits are the site's words."""
    one = site.partitions[request.partition]
    assert request.nodes <= one.nodes
    assert request.gpus_per_node <= one.gpus_per_node
    assert request.gpus <= min(one.max_gpus_per_user or 10**6, one.max_gpus_per_account or 10**6)
    assert request.tasks_per_node * request.cores_per_task <= one.cores_per_node
    assert request.gpus or not one.needs_gpus
    if request.gpus:
        assert request.tasks_per_node <= request.gpus_per_node
    if one.max_hours is not None:
        assert request.minutes <= one.max_hours * 60
    assert request.minutes * 60 > site.jobs.signal_lead_s
    if request.memory_mb_per_node is not None and one.memory_gb_per_node is not None:
        assert request.memory_mb_per_node * MIB <= one.memory_gb_per_node * 1e9


@given(st.data())
def test_what_is_settled_is_within_the_limits_and_is_what_was_asked(data: st.DataObject) -> None:
    site = data.draw(sites())
    shape = data.draw(shapes(site))
    try:
        request = settle(site, "train", shape, environment=PAID)
    except ConfigError:
        # Refused exactly where something else would be nearest.
        assert nearest(site, shape) != shape
        return
    assert nearest(site, shape) == shape
    assert_within(site, request)
    assert (request.nodes, request.gpus_per_node, request.tasks_per_node, request.minutes) == (
        shape.nodes, shape.gpus_per_node, shape.tasks_per_node, shape.minutes,
    )  # fmt: skip
    assert request.partition == (shape.partition or site.default_partition)


@given(st.data())
def test_the_nearest_possible_is_granted_and_asks_for_no_more(data: st.DataObject) -> None:
    site = data.draw(sites())
    shape = data.draw(shapes(site))
    found = nearest(site, shape)
    assert_within(site, settle(site, "train", found, environment=PAID))
    assert found.nodes * found.gpus_per_node <= max(shape.nodes * shape.gpus_per_node, shape.nodes)
    assert found.cores_per_task <= shape.cores_per_task
    assert found.minutes <= max(shape.minutes, site.jobs.signal_lead_s // 60 + 1)


@given(st.data())
def test_gpus_are_given_up_only_where_no_partition_has_any(data: st.DataObject) -> None:
    site = data.draw(sites())
    shape = data.draw(shapes(site))
    assume(shape.gpus_per_node)
    there = any(one.gpus_per_node for one in site.partitions.values())
    assert (nearest(site, shape).gpus_per_node > 0) is there


@pytest.mark.parametrize(
    ("shape", "told", "possible"),
    [
        ({"partition": "ai", "nodes": 4, "gpus_per_node": 4, "tasks_per_node": 4},
         "16 GPUs, 12 may be in use of one user", (3, 4, 4)),
        ({"partition": "ai", "gpus_per_node": 8, "tasks_per_node": 8}, "8 GPUs on a node, it has 4", (2, 4, 4)),
        ({"partition": "gpu-debug", "gpus_per_node": 4}, "4 GPUs, 2 may be in use of one user", (1, 2, 1)),
        ({"partition": "gpu", "nodes": 17, "gpus_per_node": 1}, "17 nodes, a job may have 16", (12, 1, 1)),
        ({"partition": "shared", "nodes": 2}, "2 nodes, a job may have 1", (1, 0, 1)),
        ({"partition": "ai", "gpus_per_node": 1, "tasks_per_node": 2}, "2 ranks on a node with 1 GPUs", (1, 1, 1)),
    ],
)  # fmt: skip
def test_refusals_of_anvil(anvil: Site, shape: dict[str, Any], told: str, possible: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError) as refused:
        settle(anvil, "train", asked(**shape), environment=PAID)
    assert told in refused.value.what
    found = nearest(anvil, asked(**shape))
    assert (found.nodes, found.gpus_per_node, found.tasks_per_node) == possible
    assert f"--nodes {possible[0]} --tasks-per-node {possible[2]} --gpus-per-node {possible[1]}" in refused.value.fix


@pytest.mark.parametrize(
    ("shape", "told", "field", "possible"),
    [
        ({"partition": "shared", "minutes": 6000}, "6000 minutes, a job may take 5760", "minutes", 5760),
        ({"partition": "shared", "minutes": 10}, "jobs.signal_lead_s=600 s are for saving", "minutes", 11),
        ({"partition": "shared", "cores_per_task": 129}, "129 cores on a node", "cores_per_task", 128),
        ({"partition": "shared", "memory_gb_per_node": 300}, "300 GB of memory on a node, it has 254 GB",
         "memory_gb_per_node", 254),
        ({"partition": "ai"}, "no GPU, it takes only jobs with GPUs", "partition", "shared"),
        ({"partition": "wide", "gpus_per_node": 2}, "2 GPUs on a node, it has 0", "partition", "ai"),
    ],
)  # fmt: skip
def test_other_refusals_of_anvil(anvil: Site, shape: dict[str, Any], told: str, field: str, possible: object) -> None:
    with pytest.raises(ConfigError) as refused:
        settle(anvil, "cpu", asked(**shape), environment=PAID)
    assert refused.value.exit_code == 2
    assert told in refused.value.what
    assert getattr(nearest(anvil, asked(**shape)), field) == possible


def test_the_command_of_a_refusal_asks_for_the_nearest(anvil: Site) -> None:
    shape = asked(partition="ai", nodes=5, gpus_per_node=4, tasks_per_node=4, cores_per_task=24, memory_gb_per_node=480)
    with pytest.raises(ConfigError) as refused:
        settle(anvil, "train", shape, environment=PAID)
    (command,) = re.findall(r"`(trackyard site check [^`]+)`", refused.value.fix)
    words = shlex.split(command)
    assert words[3:6] == ["anvil", "--needs", "train"]
    assert " ".join(words[6:]) == as_options(nearest(anvil, shape))


@given(st.data())
def test_what_a_refusal_offers_is_granted_whatever_the_stage_needs(anvil: Site, data: st.DataObject) -> None:
    needs = data.draw(st.sampled_from(get_args(Need)))
    try:
        settle(anvil, needs, data.draw(shapes(anvil)), environment=PAID)
    except ConfigError as refused:
        (command,) = re.findall(r"`trackyard site check anvil --needs \w+ ([^`]+)`", refused.fix)
        words = shlex.split(command)
        offered = {name[2:].replace("-", "_"): value for name, value in zip(words[::2], words[1::2], strict=True)}
        if "memory_gb" in offered:
            offered["memory_gb_per_node"] = offered.pop("memory_gb")
        settle(anvil, needs, parse_parameters(Shape, read_numbers(offered), where="fix"), environment=PAID)


def read_numbers(words: dict[str, str]) -> dict[str, Any]:
    """As the command line reads them."""
    return {
        name: word if name == "partition" else float(word) if name == "memory_gb_per_node" else int(word)
        for name, word in words.items()
    }


def test_a_stage_without_ranks_is_offered_one_node(anvil: Site) -> None:
    with pytest.raises(ConfigError, match="8 GPUs on a node, it has 4") as refused:
        settle(anvil, "gpu", asked(partition="ai", gpus_per_node=8), environment=PAID)
    assert "--nodes 1 --tasks-per-node 1 --gpus-per-node 4" in refused.value.fix


def test_what_anvil_is_asked_for(anvil: Site) -> None:
    train = request_for(anvil, "train", environment=PAID)
    assert train == Request(
        partition="ai", account="proj-1", nodes=1, tasks_per_node=4, gpus_per_node=4, cores_per_task=24,
        memory_mb_per_node=int(480e9 // MIB), minutes=2880,
    )  # fmt: skip
    assert request_for(anvil, "gpu", environment=PAID).gpus == 1
    assert request_for(anvil, "cpu", environment=PAID).partition == "shared"


@pytest.mark.parametrize("value", [None, "", "a b", "-x", "a\nb", "a;b"])
def test_an_account_that_is_none_is_refused(anvil: Site, value: str | None) -> None:
    with pytest.raises(ConfigError, match="TRACKYARD_ACCOUNT is") as refused:
        request_for(anvil, "train", environment={} if value is None else {"TRACKYARD_ACCOUNT": value})
    assert "export TRACKYARD_ACCOUNT=NAME" in refused.value.fix


def test_a_site_without_account_asks_for_none(anvil: Site) -> None:
    free = anvil.model_copy(update={"account_variable": None})
    assert request_for(free, "train", environment=PAID).account is None


def test_what_needs_the_network_comes_first_on_a_login_node(anvil: Site) -> None:
    with pytest.raises(ConfigError, match="fetch needs the internet, and no job of site anvil") as refused:
        request_for(anvil, "network", environment=PAID, stage="pipelines/pile_ffn/dvc.yaml:fetch")
    assert refused.value.fix == "env -u TRACKYARD_SITE dvc repro pipelines/pile_ffn/dvc.yaml:fetch"


def test_without_scheduler_or_shape_nothing_is_asked_for(anvil: Site) -> None:
    with pytest.raises(ConfigError, match="site local has no scheduler") as refused:
        shape_of(load_site("local", ROOT), "train", stage="stage2")
    assert refused.value.fix.startswith("dvc repro stage2 ")
    with pytest.raises(ConfigError, match="no shape for stages that need 'gpu'") as refused:
        shape_of(anvil.model_copy(update={"shapes": {"cpu": anvil.shapes["cpu"]}}), "gpu")
    assert "write shapes.gpu into sites/anvil.yaml" in refused.value.fix


@pytest.mark.parametrize("name", ["anvil", "slurm-template"])
def test_shipped_shapes_are_granted(name: str) -> None:
    site = load_site(name, ROOT)
    assert set(get_args(Need)) - set(site.shapes) <= {"network"}
    for needs, shape in site.shapes.items():
        assert_within(site, settle(site, needs, shape, environment=PAID))


def units(site: Site, **shape: Any) -> float | None:
    request = settle(site, "train", asked(**shape), environment=PAID)
    return service_units_per_hour(site.partitions[request.partition], request)


def test_prices_of_anvil(anvil: Site) -> None:
    """hpc spec section 7: a GPU-hour with up to 120 GB; cores or their share of memory, whichever is more."""
    assert units(anvil, partition="ai", nodes=3, gpus_per_node=4, memory_gb_per_node=480) == 12
    assert units(anvil, partition="ai", gpus_per_node=1, memory_gb_per_node=240) == pytest.approx(2, abs=1e-4)
    assert units(anvil, partition="shared", cores_per_task=8) == 8
    assert units(anvil, partition="highmem", memory_gb_per_node=500) == pytest.approx(4 * 64, rel=1e-3)
    assert units(anvil, partition="shared", memory_gb_per_node=16 * 1896 * MIB / 1e9) == pytest.approx(16, abs=1e-3)
    assert units(anvil, partition="wholenode", nodes=2) == 256
    assert units(anvil, partition="highmem", cores_per_task=3) == 12
    free = anvil.partitions["shared"].model_copy(update={"service_units_per_core_hour": None})
    assert service_units_per_hour(free, request_for(anvil, "cpu", environment=PAID)) is None
    for needs, limit in (("train", 4), ("gpu", 1), ("cpu", 32)):
        request = request_for(anvil, needs, environment=PAID)  # type: ignore[arg-type]
        assert service_units_per_hour(anvil.partitions[request.partition], request) == limit, "pays for memory too"


@pytest.mark.parametrize("needs", ["cpu", "gpu", "network"])
def test_only_trainings_have_ranks(anvil: Site, needs: Need) -> None:
    """Sixteen tasks of another stage would each do all of it, over each other."""
    shape = asked(partition="shared", tasks_per_node=16, cores_per_task=2)
    with pytest.raises(ConfigError, match="16 tasks, each of which would do the whole stage") as refused:
        settle(anvil, needs, shape, environment=PAID)
    assert "--tasks-per-node 1" in refused.value.fix
    assert "--cores-per-task 32" in refused.value.fix
    assert settle(anvil, "train", shape, environment=PAID).tasks_per_node == 16
