"""50,000 URLs, one in eight broken in known ways: all accounted for, through ten kills, in memory that does not grow.

Source: reliability F1 and F14, issue on the DataComp track (acceptance).
"""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.loopback.images import CAUSES, MAX_BYTES, ROOT, ImageServer, image_server, jpeg, sha256
from trackyard.acquire.images.fetch import (
    ImagesReport,
    Lost,
    StoredImage,
    UrlImageParameters,
    UrlImages,
    UrlRow,
    fetch_images,
)
from trackyard.acquire.images.markers import attempts
from trackyard.acquire.images.outcomes import ledger
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.http import FetchLimits

pytestmark = pytest.mark.system

TOTAL = 50_000
BROKEN = 6_000
SHARD = 1024
KILLS = 10
LIMIT_S = 240.0
"""Longest that a few shards may take before the test fails, on a machine with other work."""
GROWTH = 30_000_000
"""Bytes by which the largest of the processes may exceed the first one, which saw a tenth of the list."""
PARAMETERS = UrlImageParameters(
    limits=FetchLimits(
        connect_s=2, stall_s=2, total_s=6, max_bytes=MAX_BYTES, retries=1, backoff_s=0.1, per_host=256, in_flight=256
    ),
    urls_per_shard=SHARD,
    workers=2,
)


@dataclass(frozen=True)
class Plan:
    """The list, what should become of each URL, and the number of the image that each good one shows."""

    rows: list[UrlRow]
    outcomes: dict[str, str]
    images: dict[str, int]


def plan(server: ImageServer) -> Plan:
    """The same list in every process: broken and good URLs in random order, copies after what they copy or before."""
    kinds = [*CAUSES, "wrong", "copy", "file", "private", "unknown"]
    rows: list[tuple[UrlRow, str, int]] = []
    for number in range(TOTAL - BROKEN):
        digest = sha256(jpeg(number)) if number % 16 == 0 else None
        rows.append((UrlRow(server.url(f"/ok/{number}"), digest), "ok", number))
    for number in range(BROKEN):
        kind = kinds[number % len(kinds)]
        if kind == "wrong":
            row, cause = UrlRow(server.url(f"/ok/{TOTAL + number}"), sha256(jpeg(0))), "hash_mismatch"
        elif kind == "copy":
            row, cause = UrlRow(server.url(f"/copy/{number}")), "duplicate"
        elif kind == "file":
            row, cause = UrlRow(f"file:///etc/passwd?{number}"), "bad_url"
        elif kind == "private":
            row, cause = UrlRow(f"http://169.254.169.254/latest/{number}"), "blocked_address"
        elif kind == "unknown":
            row, cause = UrlRow(f"http://host-{number}.invalid/cat.jpg"), "dns"
        else:
            row, cause = UrlRow(server.url(f"/{kind}/{number}")), CAUSES[kind]
        rows.append((row, cause, number))
    random.Random(0).shuffle(rows)
    # Whichever of two equal images comes first in the list is the accepted one.
    first: set[int] = set()
    outcomes: dict[str, str] = {}
    images: dict[str, int] = {}
    for row, cause, number in rows:
        if cause in ("ok", "duplicate"):
            cause = "duplicate" if number in first else "ok"
            first.add(number)
            images[row.url] = number
        outcomes[row.url] = cause
    return Plan([row for row, _, _ in rows], outcomes, images)


def fetch(port: int, directory: Path) -> ImagesReport:
    """One run; called in a process that is killed, and then in this one."""
    rows = plan(ImageServer(None, port)).rows  # type: ignore[arg-type]
    return fetch_images(rows, directory, parameters=PARAMETERS, policy=AddressPolicy.parse(("127.0.0.0/8",)))


@pytest.fixture(scope="module")
def server() -> Iterator[ImageServer]:
    with image_server() as started:
        yield started


def finished(directory: Path) -> set[int]:
    return {shard for shard in range(TOTAL // SHARD + 1) if attempts(directory, shard)}


def peak_bytes(pid: int) -> int:
    """The most that a process has had in memory so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def kill_after(server: ImageServer, directory: Path, shards: int, seconds: float) -> int:
    """Run in a process of its own, and kill it that long after it has finished so many more shards.

    Returns the most memory that it has had.
    """
    there = len(finished(directory))
    program = (
        "import sys; from pathlib import Path; from tests.system.test_url_images import fetch\n"
        "fetch(int(sys.argv[1]), Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(server.port), str(directory)], cwd=ROOT) as process:
        deadline = time.monotonic() + LIMIT_S
        while len(finished(directory)) < there + shards:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(seconds)
        peak = peak_bytes(process.pid)
        process.send_signal(signal.SIGKILL)
    return peak


def test_every_url_is_accounted_for_through_ten_kills(server: ImageServer, tmp_path: Path) -> None:
    directory = tmp_path / "cats" / "images"
    delays = random.Random(1)
    peaks, done = list[int](), set[int]()
    for _ in range(KILLS):
        peaks.append(kill_after(server, directory, delays.randint(1, 4), delays.uniform(0, 1.0)))
        # Nothing that was finished is lost.
        assert done < finished(directory)
        done = finished(directory)
        assert not ledger(directory).complete
    assert max(peaks) - peaks[0] < GROWTH, peaks
    wanted = plan(server)
    in_done = {row.url for number, row in enumerate(wanted.rows) if number // SHARD in done}
    before = server.counts()
    report = fetch(server.port, directory)
    asked = server.counts() - before

    # What was finished before the last kill was not asked for again; the rest was.
    prefix = server.url("")
    assert not {url for url in in_done if asked[url.removeprefix(prefix)]}
    assert all(
        asked[url.removeprefix(prefix)]
        for url, cause in wanted.outcomes.items()
        if cause == "ok" and url not in in_done
    )

    # The ledger counts each kind exactly.
    assert report.counts == Counter(wanted.outcomes.values())
    assert report.attempted == len(wanted.rows) == TOTAL
    assert report.warnings == ()

    # Each URL finds its own image, or its own cause; nothing is there twice.
    images = UrlImages.open(directory)
    assert len(images) == len(wanted.images)
    digests: Counter[str] = Counter()
    for url, cause in wanted.outcomes.items():
        found = images.find(url)
        if url not in wanted.images:
            assert found == Lost(cause), url
            continue
        assert isinstance(found, StoredImage)
        data = jpeg(wanted.images[url])
        assert found.bytes == data
        assert found.sha256 == sha256(data)
        digests[found.sha256] += cause == "ok"
    assert set(digests.values()) == {1}
    for url in random.Random(2).sample(sorted(wanted.images), 500):
        found = images.find(url)
        assert isinstance(found, StoredImage)
        with Image.open(io.BytesIO(found.bytes)) as image:
            assert np.asarray(image).shape == (found.height, found.width, 3)
    assert images.verify().ok
    assert not list(directory.glob(".partial-*"))
