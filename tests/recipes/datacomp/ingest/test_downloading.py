"""Blocks of images: an exact account of every row, stopped, shared out, damaged, and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.loopback.photos import cut, is_lost, photo_server
from tests.recipes.datacomp.ingest.small_study import row, small_study, write_rows
from trackyard.acquire.images.fetch import Lost, StoredImage, UrlImages
from trackyard.acquire.images.outcomes import AcceptanceError
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.datacomp.ingest import downloading
from trackyard.recipes.datacomp.ingest.blocks import AGAIN, finished_blocks, planned_blocks
from trackyard.recipes.datacomp.ingest.downloading import download
from trackyard.recipes.datacomp.ingest.metadata import metadata
from trackyard.recipes.datacomp.ingest.mini_web import expected_outcome
from trackyard.recipes.datacomp.ingest.selecting import select
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study

REPOSITORY = Path(__file__).resolve().parents[4]
REAL = REPOSITORY.parent / "shared/data/real"
NEEDS_REAL = pytest.mark.skipif(not REAL.is_dir(), reason="shared/data/real lies beside the project, not in it")
SHARDS = {"images": {"urls_per_shard": 8}}
FILES = {"kind": "files", "files": ["rows.parquet"]}
LOOPBACK = ["127.0.0.1/32"]
CANARY = "hf_" + "CanaryToken" * 3


def silent(_: str) -> None:
    """Nobody listens."""


def selected(root: Path, **data: Any) -> Study:
    """A mini study whose rows are selected."""
    study = small_study(root, **data)
    metadata(study, silent)
    select(study, silent)
    return study


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """96 rows in one block of 12 shards, fetched without a stop."""
    study = selected(tmp_path_factory.mktemp("whole"), **SHARDS)
    download(study, None, silent)
    return study


@pytest.fixture
def copied(whole: Study, tmp_path: Path) -> Study:
    shutil.copytree(whole.artifacts, tmp_path / "artifacts/datacomp")
    return small_study(tmp_path, **SHARDS)


def account(study: Study) -> dict[str, Any]:
    return dict(read_result(study.document("download"), "download").body)


def mtimes(study: Study) -> dict[str, int]:
    found = study.images.rglob("part-*")
    return {path.relative_to(study.images).as_posix(): path.stat().st_mtime_ns for path in found}


def test_the_histogram_of_causes_is_exact(whole: Study) -> None:
    body = account(whole)
    expected = Counter(expected_outcome(number) for number in range(96))
    assert {"ok": body["ok"], **body["causes"]} == expected
    assert len(body["causes"]) == 23
    assert body["attempted"] == body["rows"] == body["ok"] + sum(body["causes"].values()) == 96
    assert body["acceptance"] == body["ok"] / 96
    assert [shard["rows"] for shard in body["shards"]] == [8] * 12
    assert sum(shard["ok"] for shard in body["shards"]) == body["ok"]
    assert body["bytes_in"] > sum(path.stat().st_size for path in whole.images.glob("*/part-?????.parquet")) / 2
    assert body["aborted"] is None
    # Each row has its own outcome: none was put in the place of another.
    (block,) = finished_blocks(whole)
    images, rows = UrlImages.open(block), pq.read_table(whole.metadata / "rows-00000.parquet").to_pylist()
    for number, one in enumerate(rows):
        found, outcome = images.find(one["url"]), expected_outcome(number)
        if outcome in ("ok", "duplicate"):
            assert isinstance(found, StoredImage)
        else:
            assert found == Lost(outcome), number


def test_a_finished_block_is_not_fetched_again(copied: Study) -> None:
    before, said = mtimes(copied), list[str]()
    download(copied, None, said.append)
    assert mtimes(copied) == before
    assert account(copied)["rows_per_s"] is None
    assert [line for line in said if line.startswith("download ")] == [
        f"download  {account(copied)['ok']} images of 96 addresses (75.0%) in 1 blocks"
    ]


def test_a_deleted_shard_is_named_and_only_it_is_fetched_again(copied: Study) -> None:
    """F27; a reader is told which, and what brings it."""
    before, body = mtimes(copied), account(copied)
    block = copied.images / "block-00000"
    (block / "part-00003.parquet").unlink()
    cut_short = block / "part-00005.outcomes.parquet"
    cut_short.write_bytes(cut_short.read_bytes()[:-1])
    for name in ("part-00007.parquet", "part-00007.outcomes.parquet", "part-00007.json"):
        (block / name).unlink()
    names = [f"block-00000/part-0000{number}.parquet" for number in (3, 5, 7)]
    with pytest.raises(DataError) as caught:
        finished_blocks(copied)
    assert caught.value.what == f"3 of 12 shards are absent or cut: {', '.join(names)}"
    assert caught.value.fix.startswith(AGAIN)
    said: list[str] = []
    download(copied, None, said.append)
    assert f"  absent or cut since the last run, fetched again: {', '.join(names)}" in said
    after = mtimes(copied)
    fresh = {name.partition("/")[2][:10] for name in after if after[name] != before[name]}
    assert fresh == {"part-00003", "part-00005", "part-00007"}
    assert account(copied)["shards"] == body["shards"]
    assert finished_blocks(copied) == (block,)


def test_an_account_that_is_damaged_is_made_again_from_the_markers(copied: Study) -> None:
    body, path = account(copied), copied.document("download")
    path.write_text(path.read_text().replace('"attempted": 96', '"attempted": 95'))
    with pytest.raises(DataError, match="was altered"):
        finished_blocks(copied)
    said: list[str] = []
    download(copied, None, said.append)
    assert any("the last account cannot be used" in line for line in said)
    assert account(copied) == body | {"rows_per_s": None}


def run(root: str) -> None:
    """In a process that is killed."""
    download(small_study(Path(root), **SHARDS), None, print)


def test_a_killed_run_goes_on_and_ends_with_the_same_shards(whole: Study, tmp_path: Path) -> None:
    for place in ("metadata", "select"):
        shutil.copytree(whole.artifacts / place, tmp_path / "artifacts/datacomp" / place)
    study = small_study(tmp_path, **SHARDS)
    program = "import sys; from tests.recipes.datacomp.ingest.test_downloading import run; run(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY) as process:
        deadline = time.monotonic() + 60
        while len(list(study.images.glob("*/part-?????.json"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    there = mtimes(study)
    assert not study.document("download").exists()
    download(study, None, silent)
    assert account(study)["shards"] == account(whole)["shards"]
    assert account(study)["causes"] == account(whole)["causes"]
    assert {name: mtimes(study)[name] for name in there if name.endswith(".json")} == {
        name: moment for name, moment in there.items() if name.endswith(".json")
    }


def test_machines_share_the_blocks_and_one_makes_the_account(tmp_path: Path) -> None:
    """Blocks of 16: planned are ceil(20 / 0.6) = 34 rows in 3 blocks; 2 are not enough for 30 images of 96 rows."""
    data: dict[str, Any] = {"block_rows": 16, "source": {"kind": "mini", "mini_rows": 60}}
    study = selected(tmp_path, **data)
    assert planned_blocks(study.parameters.data) == 3
    download(study, "1/2", silent)
    assert sorted(path.name for path in study.images.iterdir()) == ["block-00001"]
    download(study, "0/2", silent)
    assert sorted(path.name for path in study.images.iterdir()) == ["block-00000", "block-00001", "block-00002"]
    before = mtimes(study)
    download(study, None, silent)
    assert mtimes(study) == before
    assert account(study)["attempted"] == 48
    # More are wanted: one block more, up to the end of the rows, and nothing again.
    more = small_study(tmp_path, samples=account(study)["ok"] + 1, planned_acceptance=1.0, **data)
    select(more, silent)
    download(more, None, silent)
    assert mtimes(more).items() > before.items()
    body = account(more)
    assert body["attempted"] == 60
    assert body["rows_per_s"] > 0
    for item in ("2/2", "1", "0/0", "-1/2", "a/b"):
        with pytest.raises(ConfigError, match="is no part of the work"):
            download(study, item, silent)


def test_images_of_other_rows_or_rules_are_not_mixed(copied: Study) -> None:
    other = small_study(copied.root, seed=5, **SHARDS)
    select(other, silent)
    with pytest.raises(ConfigError, match="another list of URLs"):
        download(other, None, silent)
    select(copied, silent)
    with pytest.raises(ConfigError, match="max_side=896, now 512"):
        download(small_study(copied.root, images=SHARDS["images"] | {"max_side": 512}), None, silent)


@NEEDS_REAL
def test_losses_that_are_not_ordinary_stop_the_run_and_are_in_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged over all blocks together: the first one alone is within the band, the second is not there at all."""
    study = small_study(
        tmp_path, block_rows=32, images={"acceptance": (0.6, 0.99)}, source=FILES, allow_addresses=LOOPBACK
    )
    write_rows(study, [row(f"{number}", f"http://h{number}.test/{number}") for number in range(64)])
    select(study, silent)
    rows = pq.read_table(study.selected).to_pylist()
    here = {f"h{one['uid']}.test" for one in rows[:32]}
    with photo_server(REAL / "photos") as port:
        monkeypatch.setattr(downloading, "look_up", lookup(here, port))
        with pytest.raises(AcceptanceError) as caught:
            download(study, None, silent)
    body = account(study)
    assert body["aborted"] == caught.value.what
    assert body["attempted"] == 64
    assert body["ok"] <= 32
    assert caught.value.fix.endswith(AGAIN)


def lookup(known: set[str], port: int) -> Callable[[str, int], list[tuple[Any, ...]]]:
    def look(host: str, _: int) -> list[tuple[Any, ...]]:
        if host not in known:
            raise OSError(f"{host} is not known here")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    return look


@NEEDS_REAL
def test_a_thousand_real_rows_are_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their addresses, captions and order as they are, the pictures cut from photographs. A token in the environment
    and one in an address are in no output."""
    monkeypatch.setenv("HF_TOKEN", CANARY)
    table = pq.read_table(REAL / "url_list_1000.parquet").to_pydict()
    urls = [url.replace("127.0.0.1:8089", "photos.test") for url in table["URL"]]
    urls[7] = urls[7].replace("://", f"://me:{CANARY}@")
    root = tmp_path / "root"
    root.mkdir()
    pq.write_table(pa.table({"URL": urls, "TEXT": table["TEXT"]}), tmp_path / "list.parquet")
    source = {"kind": "files", "files": ["../list.parquet"], "columns": {"url": "URL", "text": "TEXT"}}
    study = small_study(root, source=source, samples=900, allow_addresses=LOOPBACK)
    said: list[str] = []
    metadata(study, said.append)
    select(study, said.append)
    with photo_server(REAL / "photos") as port:
        monkeypatch.setattr(downloading, "look_up", lookup({"photos.test"}, port))
        download(study, None, said.append)
    body = account(study)
    paths = {url: "/" + url.rpartition("/")[2] for url in urls}
    lost = {url for url in urls if is_lost(paths[url])} - {urls[7]}
    assert body["attempted"] == body["rows"] == 1000
    assert body["causes"] == {"http_404": len(lost), "bad_url": 1}
    assert body["ok"] == 999 - len(lost) > 850
    images = {block: UrlImages.open(block) for block in finished_blocks(study)}
    assert len(images) == 4
    rows = pq.read_table(study.selected).to_pylist()
    for number, one in enumerate(rows[::25]):
        found = images[study.images / f"block-{number * 25 // 256:05d}"].find(one["url"])
        url = next(url for url in urls if url.rpartition("/")[2] == one["url"].rpartition("/")[2])
        if url == urls[7]:
            assert found == Lost("bad_url")
        elif url in lost:
            assert found == Lost("http_404")
        else:
            assert isinstance(found, StoredImage)
            assert found.bytes == cut(REAL / "photos", paths[url])
    texts = dict(zip((path for path in paths.values()), table["TEXT"], strict=True))
    assert all(one["text"] == texts["/" + one["url"].rpartition("/")[2]] for one in rows)
    outputs = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert len(outputs) > 20
    assert not [data for data in (*outputs, "\n".join(said).encode()) if CANARY.encode() in data]
    assert json.dumps(body).count("[redacted]") == 0
    assert CANARY in os.environ["HF_TOKEN"]
