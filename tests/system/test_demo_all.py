"""The whole demo as a new user runs it: every pipeline, one MLflow, one report. Looked at in headless Chromium."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.browser import LONGEST_S, chromium, leaving, requested, wait_for
from tests.system.commands import run
from tests.system.everything import PERSON, SECRET, Everything
from trackyard.record.metric_names import family

pytestmark = pytest.mark.system

TRACKS = ("molmo2", "pile_ffn", "datacomp", "nine")
HEADLINE = {
    "molmo2": "validation/loss", "pile_ffn": "test/ppl", "datacomp": "train/loss", "nine": "latency/",
}  # fmt: skip

TREE = {
    "molmo2": ("stage1", "stage2", "stage3"),
    "pile_ffn": ("study", "arm baseline"),
    "datacomp": ("study", "arm world"),
    "nine": ("sweep", "configuration"),
}
"""A name that MLflow's table of the track shows, and those that it shows when one row after the other is expanded."""
EXPAND = """
const button = document.querySelectorAll(".ag-row button[data-component-id*=runnamecellrenderer]")[arguments[0]];
if (button) button.click();
return Boolean(button);
"""
"""Show the runs below a run, if its row has come."""


@pytest.fixture(scope="module")
def stored(served: str) -> dict[str, list[Any]]:
    """Runs in MLflow by experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=served)
    return {
        experiment.name: list(client.search_runs([experiment.experiment_id], max_results=1000))
        for experiment in client.search_experiments()
    }


def test_every_pipeline_ran_once_and_the_report_last(everything: Everything) -> None:
    ran = everything.ran()
    assert max(Counter(ran).values()) == 1
    assert ran[-1] == "compare"
    pipelines = {name.rpartition(":")[0] for name in ran}
    assert pipelines == {"", *(f"pipelines/{track}/dvc.yaml" for track in TRACKS if track != "molmo2")}
    print(f"make demo-all took {everything.seconds:.0f} s for {len(ran)} stages")


def test_nothing_is_run_twice(everything: Everything) -> None:
    again = run(["dvc", "repro", "compare"], everything.clone).stdout
    assert "Running stage" not in again
    assert "up to date" in again


def test_the_three_tracks_are_in_one_mlflow(stored: dict[str, list[Any]]) -> None:
    assert set(TRACKS) <= set(stored)
    names: set[str] = set()
    for track in TRACKS:
        own = [found for found in stored[track] if "trackyard.run_id" in found.data.tags]
        assert own, track
        ids = [found.data.tags["trackyard.run_id"] for found in own]
        assert len(ids) == len(set(ids)), "a run is there twice"
        assert {found.info.status for found in own} == {"FINISHED"}
        assert any(name.startswith(HEADLINE[track]) for found in own for name in found.data.metrics), track
        assert any(found.inputs.dataset_inputs for found in own), track
        names |= {name for found in stored[track] for name in found.data.metrics}
    assert len(names) > 50
    for name in names:
        assert family(name)


def test_runs_are_a_tree(stored: dict[str, list[Any]]) -> None:
    """Stages below the stage they continue, seeds below arms, configurations below the sweep, attempts below runs."""
    for track in TRACKS:
        by_id = {found.info.run_id: found for found in stored[track]}
        parents = {run_id: found.data.tags.get("mlflow.parentRunId") for run_id, found in by_id.items()}
        assert {parent for parent in parents.values() if parent} <= set(by_id), "a parent of another experiment"
        assert sum(parent is not None for parent in parents.values()) >= 2, track
    tree = {found.info.run_id: found for found in stored["molmo2"]}
    stages = {
        found.data.tags["trackyard.stage"]: found for found in tree.values() if "trackyard.run_id" in found.data.tags
    }
    assert stages["stage3"].data.tags["mlflow.parentRunId"] == stages["stage2"].info.run_id
    assert stages["stage2"].data.tags["mlflow.parentRunId"] == stages["stage1"].info.run_id


def test_models_are_registered_with_the_version_that_dvc_tracks(served: str, everything: Everything) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=served)
    versions = client.search_model_versions()
    assert {version.name.split("-")[0] for version in versions} >= {"molmo2", "pile", "theworld"}
    locks = "".join(
        path.read_text() for path in [everything.clone / "dvc.lock", *everything.clone.glob("pipelines/*/dvc.lock")]
    )
    for version in versions:
        assert version.run_id
        assert version.tags["trackyard.dvc_md5"] in locks


@pytest.mark.browser
def test_mlflow_in_a_browser(served: str, stored: dict[str, list[Any]], tmp_path: Path) -> None:
    """The tables of runs of all tracks, and three runs of three tracks side by side; nothing leaves the machine."""
    from mlflow import MlflowClient
    from selenium.webdriver.support.ui import WebDriverWait

    experiments = {found.name: found.experiment_id for found in MlflowClient(tracking_uri=served).search_experiments()}
    keep = Path(os.environ.get("TRACKYARD_SCREENSHOTS", str(tmp_path)))
    with chromium(tmp_path / "profile") as driver:
        for track, (top, *below) in TREE.items():
            wait_for(driver, f"{served}/#/experiments/{experiments[track]}/runs", [top])
            for level, name in enumerate(below):
                WebDriverWait(driver, LONGEST_S).until(lambda page, level=level: page.execute_script(EXPAND, level))
                wait_for(driver, None, [name])
            driver.save_screenshot(str(keep / f"runs-{track}.png"))
        three = [
            next(found for found in stored[track] if "train/loss" in found.data.metrics).info.run_id
            for track in ("molmo2", "pile_ffn", "datacomp")
        ]
        asked = json.dumps([experiments[track] for track in ("molmo2", "pile_ffn", "datacomp")]).replace(" ", "")
        shown = wait_for(
            driver,
            f"{served}/#/compare-runs?runs={json.dumps(three)}&experiments={asked}",
            ["train/loss", "train/tokens"],
        )
        driver.save_screenshot(str(keep / "compare.png"))
        for run_id in three:
            assert run_id in shown or run_id in driver.page_source
        addresses = requested(driver)
    assert len(addresses) > 20
    assert leaving(addresses) == []
    assert leaving([*addresses, "https://example.org/x.js"]) == ["https://example.org/x.js"]
    assert (keep / "compare.png").stat().st_size > 20_000


@pytest.mark.browser
def test_the_report_in_a_browser(everything: Everything, tmp_path: Path) -> None:
    page = everything.clone / "report" / "index.html"
    keep = Path(os.environ.get("TRACKYARD_SCREENSHOTS", str(tmp_path)))
    metrics = json.loads((everything.clone / "artifacts" / "molmo2" / "stage3" / "metrics.json").read_text())
    counting = metrics["stage3"]["validation"]["counting"]
    for width in (1280, 390):
        with chromium(tmp_path / f"profile-{width}", width=width, height=900) as driver:
            shown = wait_for(driver, page.as_uri(), ["Molmo2", "Pile-FFN", "TheWorld"])
            assert f"{counting:.1%}" in shown.replace("\u202f", "").replace(" %", "%")
            for words in ("perplexity", "captions", "lineage", "licence"):
                assert words in shown.lower(), words
            assert driver.execute_script("return document.querySelectorAll('svg').length") >= 6
            driver.set_window_size(width, 2400)
            driver.save_screenshot(str(keep / f"report-{width}.png"))
            assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
            assert {address.split(":")[0] for address in requested(driver)} <= {"file", "data", "chrome"}


PROVED = (
    "artifacts/molmo2/stage3/export",
    "artifacts/pile_ffn/export/nonneg_mlp_both/42",
    "artifacts/datacomp/export/world/42",
    "artifacts/pile_ffn/results",
    "artifacts/datacomp/results",
    "artifacts/nine/results/report.md",
    "report/index.html",
)


@pytest.mark.parametrize("path", PROVED)
def test_the_whole_chain_is_proved(everything: Everything, path: str) -> None:
    """Exports, tables, a file of a table, and the report, back to data and code."""
    done = run(["trackyard", "lineage", "verify", path], everything.clone)
    links, trusted, hashed = re.search(
        r"^(\d+) links proved, (\d+) taken on trust, ([\d,]+) files", done.stdout, re.M
    ).groups()  # type: ignore[union-attr]
    assert int(links) >= 5
    assert trusted == "0"
    assert int(hashed.replace(",", "")) > 5
    assert re.search(r"^proved .*code", done.stdout, re.M)


@contextmanager
def changed(path: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """Another content of a file; one that it shares with DVC's cache is left alone there."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    path.write_bytes(change(before))
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(before)
        path.chmod(mode)


def flipped(data: bytes) -> bytes:
    """One bit of one byte in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@contextmanager
def renamed(path: Path) -> Iterator[None]:
    other = path.with_name(f"{path.name}-elsewhere")
    path.rename(other)
    try:
        yield
    finally:
        other.rename(path)


def run_of(clone: Path, stage: str) -> Path:
    """The run directory of a stage."""
    (found,) = (clone / "runs" / "molmo2" / stage).iterdir()
    return found


def plan_of(clone: Path, stage: str) -> Path:
    link = json.loads((run_of(clone, stage) / "plan.json").read_text())
    return (run_of(clone, stage) / link["path"]).resolve()


def weights_of(clone: Path) -> Path:
    return sorted(run_of(clone, "stage3").glob("checkpoints/step-*/*.safetensors"))[0]


def other_plan(clone: Path) -> bytes:
    return (plan_of(clone, "stage2") / "plan.json").read_bytes()


FAULTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "one byte of a shard": (
        "link 'snapshot tallyqa' is wrong",
        lambda clone: changed(next((clone / "data/mini/tallyqa").rglob("*.parquet")), flipped),
    ),
    "another plan": (
        "link 'plan' is wrong",
        lambda clone: changed(plan_of(clone, "stage3") / "plan.json", lambda _: other_plan(clone)),
    ),
    "an edited checkpoint": ("link 'checkpoint' is wrong", lambda clone: changed(weights_of(clone), flipped)),
    "code changed after the run": (
        "link 'code' is wrong",
        lambda clone: changed(clone / "src/trackyard/digest.py", lambda code: code + b"\n"),
    ),
    "a renamed parent": (
        "links are unproved: parent: files (",
        lambda clone: renamed(clone / "artifacts/molmo2/stage2/export"),
    ),
}
"""What is broken -> what the proof says of it, and the breaking."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_chain_stops_at_the_broken_link(everything: Everything, fault: str) -> None:
    told, breaking = FAULTS[fault]
    path = "artifacts/molmo2/stage3/export"
    if fault == "an edited checkpoint":
        path = str(weights_of(everything.clone).parent.relative_to(everything.clone))
    assert run(["trackyard", "lineage", "verify", path], everything.clone, check=False).returncode == 0
    with breaking(everything.clone):
        done = run(["trackyard", "lineage", "verify", path], everything.clone, check=False)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"^what: .*{re.escape(told)}", done.stderr, re.M), done.stderr
    assert "\nfix: " in done.stderr


def test_no_secret_and_no_person_is_in_any_file(everything: Everything) -> None:
    """What stood in the environment of everything. Negative control: a word that belongs there is found."""
    wanted = dict.fromkeys((SECRET.encode(), PERSON.encode(), b"trackyard-lineage/2"), 0)
    examined = 0
    for path in everything.clone.rglob("*"):
        if path.is_file() and not {".git", "tests"} & set(path.parts):
            data, examined = path.read_bytes(), examined + 1
            for word in wanted:
                wanted[word] += word in data
    assert examined > 500
    assert wanted.pop(b"trackyard-lineage/2") > 10
    assert set(wanted.values()) == {0}
    assert SECRET not in everything.out


def test_the_arms_are_ranked(everything: Everything) -> None:
    """Each arm that is trained is one row of both seeds, the best first; the model before all arms has no rank."""
    told = run(["trackyard", "compare", "--track", "pile_ffn"], everything.clone).stdout
    arms = yaml.safe_load((everything.clone / "params.yaml").read_text())["pile_ffn"]["arms"]
    rows = [line.split() for line in told.splitlines() if " train " in line]
    assert sorted(word for row in rows for word in row if word in arms) == sorted(arms)
    assert len(arms) == 6
    means = [float(row[row.index("±") - 1]) for row in rows]
    assert means == sorted(means)
    assert "test/nll" in told


def test_the_report_is_written_again(everything: Everything) -> None:
    """Of the same results it is the same page."""
    page = everything.clone / "report" / "index.html"
    before = page.read_bytes()
    assert "report/index.html" in run(["trackyard", "report"], everything.clone).stdout
    assert page.read_bytes() == before


def test_nothing_waits_for_mlflow(served: str, everything: Everything) -> None:
    """`served` has delivered what the stages had no time for."""
    told = run(["trackyard", "record", "status"], everything.clone).stdout
    assert ", 0 pending" in told
    assert "trackyard record sync" not in told, "no next step is offered where nothing is left to do"
