"""The shipped catalogue against the studies' table, row by row, and against the profiles that name its datasets."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.catalog.entries import UNPINNED, Entry, load_catalogue
from trackyard.catalog.reference import load_founding_names
from trackyard.catalog.selection import find, select

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT.parent / "shared" / "spec" / "datasets.csv"
MINI = [
    "pixmo-cap", "pixmo-points", "pixmo-count", "cosyn-point", "tulu", "docvqa", "chartqa", "textvqa", "tallyqa",
    "a-okvqa", "vqa-v2", "molmo2-multiimageqa", "molmo2-multiimagepoint", "molmo2-cap", "molmo2-capqa", "next-qa",
    "molmo2-videopoint", "molmo2-videotrack",
]  # fmt: skip
"""Datasets of the mini snapshot."""
LICENCE_BASIS = {
    "HF card / repo docs": "card",
    "recalled, verify": "recalled",
    "sibling cards; verify": "assumed",
    "verify": "assumed",
    "": "unknown",
}


@cache
def shipped() -> dict[str, Entry]:
    return load_catalogue(ROOT / "catalog")


@cache
def by_title() -> dict[str, Entry]:
    return {entry.title: entry for entry in shipped().values()}


@pytest.fixture(scope="module")
def rows() -> list[tuple[dict[str, str], Entry]]:
    """Every row of the table with its entry."""
    if not TABLE.is_file():
        pytest.skip("the table of the studies (datasets.csv) is not beside this checkout")
    with TABLE.open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert len(table) == 181
    missing = [row["name"] for row in table if row["name"] not in by_title()]
    assert not missing
    return [(row, by_title()[row["name"]]) for row in table]


def test_every_row_is_an_entry_of_its_own(rows: list[tuple[dict[str, str], Entry]]) -> None:
    assert len({entry.name for _, entry in rows}) == 181
    for row, entry in rows:
        assert (row["role"], row["group"], row["access"]) == (entry.roles[0], entry.group, entry.access)
        assert row["media"].replace("video frames", "video-frames") == entry.media


def test_counts(rows: list[tuple[dict[str, str], Entry]]) -> None:
    for row, entry in rows:
        expected = entry.expected
        if row["n_examples"]:
            assert expected.examples.value == int(row["n_examples"]), entry.name
        if row["n_visual"] and entry.media != "text":
            assert expected.visual.value == int(row["n_visual"]), entry.name
        if row["n_annotations"]:
            assert expected.annotations.value == int(row["n_annotations"]), entry.name


def test_founding_facts(rows: list[tuple[dict[str, str], Entry]]) -> None:
    for row, entry in rows:
        assert entry.founding_stages == tuple(int(stage) for stage in row["seed_stage"].split(";") if stage)
        assert entry.founding_bytes == (round(float(row["seed_size_gb"]) * 1e9) if row["seed_size_gb"] else None)


def test_mixture(rows: list[tuple[dict[str, str], Entry]]) -> None:
    for row, entry in rows:
        assert entry.mixture.rate_percent == (float(row["sft_rate_pct"]) if row["sft_rate_pct"] else None)
        if row["cap_or_weight"].isdigit():
            assert entry.mixture.cap == int(row["cap_or_weight"])
        if "reference entries: " in row["note"] and "*" not in row["note"]:
            first = row["note"].split("reference entries: ")[1].split(",")[0].split("/")[0].split("(")[0].split(";")[0]
            assert not first.strip() or entry.mixture.entries[0] == first.strip(), entry.name


def test_repositories(rows: list[tuple[dict[str, str], Entry]]) -> None:
    renamed = {
        "openwebtext": "Skylion007/openwebtext",
        "lambada": "EleutherAI/lambada_openai",
        "hellaswag": "Rowan/hellaswag",
        "winogrande": "allenai/winogrande",
        "truthful_qa": "truthfulqa/truthful_qa",
    }
    for row, entry in rows:
        repos = {source.repo for source in entry.hub}
        wanted = {repo.strip() for repo in row["hf_id"].split(";") if repo.strip()}
        if entry.roles != ("source",):
            assert repos >= {renamed.get(repo, repo) for repo in wanted}, entry.name


def test_licences(rows: list[tuple[dict[str, str], Entry]]) -> None:
    for row, entry in rows:
        if row["licence"]:
            assert entry.licence.basis == LICENCE_BASIS[row["licence_basis"]]
            assert row["licence"].startswith(entry.licence.name)


def test_every_founding_name_is_listed_and_leads_to_its_row(rows: list[tuple[dict[str, str], Entry]]) -> None:
    documents = load_founding_names(ROOT / "catalog").documents
    listed = {(number, name) for number, document in documents.items() for name in document.names}
    found = set()
    for row, entry in rows:
        for number in filter(None, row["seed"].split(";")):
            for name in row["seed_name"].split(" | "):
                assert documents[number].names[name] == entry.name
                found.add((number, name))
    assert listed == found


def test_names_of_the_mini_snapshot() -> None:
    assert len(MINI) == 18
    assert [name for name in MINI if name not in shipped()] == []


def datasets(values: Any) -> set[str]:
    """Every dataset that a profile names."""
    found: set[str] = set()
    for stage in ("stage1", "stage2", "stage3"):
        mixture = values[stage]["mixture"]
        found |= {name for ratios in mixture.get("ratios", {}).values() for name in ratios}
        for group in mixture.get("groups", {}).values():
            for entry in group["entries"]:
                found |= set(entry["dataset"] if isinstance(entry["dataset"], list) else [entry["dataset"]])
        found |= set(mixture.get("reference_rows", {}))
    return found | {name for names in values["validation"]["datasets"].values() for name in names}


@pytest.mark.parametrize("profile", ["mini", "seed", "report"])
def test_datasets_of_the_profiles(profile: str) -> None:
    values = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())["molmo2"]
    assert datasets(values)
    for name in datasets(values):
        find(shipped(), name)


def test_the_report_profile_draws_from_all_of_stage_2() -> None:
    values = yaml.safe_load((ROOT / "profiles" / "report.yaml").read_text())["molmo2"]
    found = {find(shipped(), name).name for name in datasets(values)}
    assert found == {entry.name for entry in select(shipped(), ["stage2"])}


def test_reference_rows_of_the_report_profile_are_the_catalogue_s() -> None:
    values = yaml.safe_load((ROOT / "profiles" / "report.yaml").read_text())["molmo2"]
    sums: dict[str, int] = {}
    for name, count in values["stage2"]["mixture"]["reference_rows"].items():
        entry = find(shipped(), name).name
        sums[entry] = sums.get(entry, 0) + count
    for name, count in sums.items():
        assert shipped()[name].expected.examples.value == count


def test_what_the_studies_pin_is_pinned() -> None:
    pinned = {source.repo: source.revision for entry in shipped().values() for source in entry.hub}
    assert pinned["monology/pile-uncopyrighted"] == "3be90335b66f24456a5d6659d9c8d208c0357119"
    assert [repo for repo, revision in pinned.items() if revision != UNPINNED] == ["monology/pile-uncopyrighted"]


def test_url_lists() -> None:
    """Columns read on the hub's cards and in the release; the digests of Molmo2-MultiImagePoint are of addresses."""
    columns = {
        entry.name: (entry.recipe.url_column, entry.recipe.sha256_column)
        for entry in shipped().values()
        if entry.recipe.kind == "urls" and "train" in entry.roles
    }
    assert columns == {
        "pixmo-cap": ("image_url", None),
        "pixmo-capqa": ("image_url", None),
        "pixmo-askmodelanything": ("image_url", "image_sha256"),
        "molmo2-multiimageqa": ("image_urls", None),
        "pixmo-points": ("image_url", "image_sha256"),
        "molmo2-multiimagepoint": ("image_urls", None),
        "pixmo-count": ("image_url", "image_sha256"),
        "datacomp-small": ("url", "sha256"),
    }
    assert shipped()["datacomp-small"].recipe.acceptance == (0.35, 0.98)


def test_oddities_are_told() -> None:
    def told(name: str) -> str:
        return " ".join(shipped()[name].notes)

    assert "31,276" in told("synmultiimageqa-chart")
    assert "4,167" in told("pixmo-points")
    assert "namespace" in told("openwebtext")
    assert "evaluation packaging" in told("activitynet")
    assert {name for name, entry in shipped().items() for source in entry.hub if source.script_based} == {
        "text_vqa",
        "okvqa",
    }


def test_no_instructions_are_empty() -> None:
    for entry in shipped().values():
        if entry.manual is not None:
            assert entry.manual.page.startswith("http"), entry.name
            assert entry.manual.steps, entry.name
            assert not [path for path in entry.manual.layout if path.startswith(("/", "..")) or "\\" in path]


def test_a_lost_entry_is_noticed(rows: list[tuple[dict[str, str], Entry]]) -> None:
    """Negative control of the table's comparison."""
    titles = set(by_title()) - {"DocVQA"}
    assert [row["name"] for row, _ in rows if row["name"] not in titles] == ["DocVQA"]


def test_archives_have_plain_names_and_stay_below_their_entry() -> None:
    archives = [(entry.name, archive) for entry in shipped().values() for archive in entry.recipe.archives]
    assert len(archives) > 50
    assert len({(name, archive.name) for name, archive in archives}) == len(archives)
    for name, archive in archives:
        assert "/" not in archive.name, name
        assert archive.unpack is None or not (archive.unpack.startswith("/") or ".." in archive.unpack), name
        assert archive.url is None or archive.url.startswith("http"), name


def test_archives_without_address_come_with_instructions() -> None:
    for entry in shipped().values():
        if any(archive.url is None for archive in entry.recipe.archives):
            assert entry.manual is not None, entry.name
