"""Images by URL: trackyard and img2dataset on the same hostile server, in turns.

    python benchmarks/url_ingest.py --peer PYTHON     # PYTHON: an interpreter that has img2dataset; about 7 minutes

6,000 URLs of `image_server.py`, a process of its own, become shards of JPEGs of at most 384 pixels. Two comparisons:
with equal settings (connections, timeout, URLs per shard), and with the peer's best settings for this list, in which
ours have as many connections. Without --peer only ours run, and the peer is reported as missing. Nothing is timed
before both have accepted the same URLs and stored the same pictures. Source: performance specification, sections 10.1,
10.4 and B1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from image_server import trace
from PIL import Image

from trackyard.acquire.images.fetch import StoredImage, UrlImages
from trackyard.schema import write_document

SCHEMA = "trackyard-benchmark/1"
ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
SIDE = 384
TIMEOUT_S = 5
TARGET = 1.5
"""Images per second of ours over the peer's, at least."""
POINTS = 0.5
"""Percentage points of the URLs by which the accepted ones may differ."""
PIXELS = 4.0
"""Mean difference of 255 that another filter for averaging may make."""
STEADY = 0.1
"""Interquartile range over median, at most: else the machine was busy with other things, and figures say little."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

OURS = """
import json, sys, time
from pathlib import Path
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.http import FetchLimits
from trackyard.acquire.images.fetch import UrlImageParameters, UrlRow, fetch_images
urls, out, side, timeout, shard, connections = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
limits = FetchLimits(connect_s=timeout, stall_s=timeout, retries=0, in_flight=connections, per_host=connections)
parameters = UrlImageParameters(max_side=side, urls_per_shard=shard, limits=limits)
rows = [UrlRow(url) for url in Path(urls).read_text().split()]
started = time.perf_counter()
report = fetch_images(rows, Path(out), parameters=parameters, policy=AddressPolicy.parse(("127.0.0.1/32",)))
print(json.dumps({"seconds": time.perf_counter() - started, "ok": report.ok}))
"""

PEER = """
import glob, json, sys, time
from img2dataset import download
urls, out, side, timeout, shard, connections = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
started = time.perf_counter()
download(
    url_list=urls, input_format="txt", output_folder=out, output_format="parquet", image_size=side,
    resize_mode="keep_ratio_largest", resize_only_if_bigger=True, encode_format="jpg", encode_quality=95,
    processes_count=2, thread_count=connections // 2, number_sample_per_shard=shard, timeout=timeout, retries=0,
    extract_exif=False, compute_hash="sha256", enable_wandb=False,
)
seconds = time.perf_counter() - started
ok = sum(json.load(open(path))["successes"] for path in glob.glob(out + "/*_stats.json"))
print(json.dumps({"seconds": seconds, "ok": ok}))
"""

VERSIONS = "import importlib.metadata as m; print(*(m.version(n) for n in ('img2dataset', 'opencv-python-headless')))"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Settings of one comparison. connections: requests at once; shard: URLs per shard."""

    name: str
    connections: int
    shard: int
    rounds: int
    judged: bool = False
    """Whether the target is judged by this one."""


COMPARISONS = (
    Comparison(name="equal settings", connections=256, shard=1000, rounds=5, judged=True),
    Comparison(name="the peer's best for this list: one shard per process", connections=512, shard=3000, rounds=3),
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run of one tool. seconds: of the call, without the start of the interpreter. ok: images stored.

    rss: peak of the resident bytes summed over all processes. cpu: seconds of all processes.
    """

    seconds: float
    ok: int
    rss: int
    cpu: float


@dataclass
class Watch:
    """A process and its descendants, looked at ten times a second."""

    pid: int
    rss: int = 0
    cpu: dict[int, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.stop.wait(0.1):
            total = 0
            for pid in tree(self.pid):
                with contextlib.suppress(OSError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    self.cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS
                    total += int(fields[21]) * PAGE
            self.rss = max(self.rss, total)


def tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def run(python: str, program: str, urls: Path, out: Path, comparison: Comparison) -> Ran:
    """One timed run into an empty directory."""
    shutil.rmtree(out, ignore_errors=True)
    values = (SIDE, TIMEOUT_S, comparison.shard, comparison.connections)
    argv = [python, "-c", program, str(urls), str(out), *map(str, values)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        watch = Watch(child.pid)
        watching = threading.Thread(target=watch.watch)
        watching.start()
        told, complaints = child.communicate()
        watch.stop.set()
        watching.join()
    if child.returncode:
        sys.exit(f"{python} ended with {child.returncode}:\n{complaints}")
    said = json.loads(told.strip().splitlines()[-1])
    return Ran(seconds=said["seconds"], ok=said["ok"], rss=watch.rss, cpu=sum(watch.cpu.values()))


@contextlib.contextmanager
def server(urls: int) -> Iterator[int]:
    """The server in a process of its own; yields its port."""
    argv = [sys.executable, str(HERE / "image_server.py"), "--urls", str(urls)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def compare_outputs(urls: Sequence[str], ours: Path, peer: Path) -> dict[str, Any]:
    """Both accept the same URLs and store the same pictures, or there is no result."""
    images = UrlImages.open(ours)
    mine = {url: found for url in urls if isinstance(found := images.find(url), StoredImage)}
    theirs: dict[str, bytes] = {}
    for path in sorted(peer.glob("*.parquet")):
        columns = pq.read_table(path, columns=["url", "status", "jpg"]).to_pydict()
        for url, status, data in zip(columns["url"], columns["status"], columns["jpg"], strict=True):
            if status == "success":
                theirs[url] = data
    expected = {urls[number] for number in trace(len(urls)).numbers("ok")}
    differing = 100 * len(mine.keys() ^ theirs.keys()) / len(urls)
    chosen = sorted(mine.keys() & theirs.keys())[:: max(1, len(mine) // 300)]
    differences = [difference(mine[url].bytes, theirs[url]) for url in chosen]
    # Negative control: the measure tells two pictures apart.
    others = [difference(mine[a].bytes, theirs[b]) for a, b in pairwise(chosen)]
    found = {
        "accepted_by_ours": len(mine),
        "accepted_by_the_peer": len(theirs),
        "that_should_be": len(expected),
        "differing_points": round(differing, 3),
        "pictures_compared": len(differences),
        "mean_difference_of_255": round(statistics.mean(differences), 3),
        "mean_difference_of_two_pictures": round(statistics.mean(others), 1),
    }
    if mine.keys() - expected or differing > POINTS or not differences or max(differences) > PIXELS:
        sys.exit(f"outputs differ, so nothing is timed: {found}")
    return found


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two JPEGs of one size, of 255."""
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        if first.size != second.size:
            return 255.0
        pixels = np.asarray(first.convert("RGB"), dtype=int) - np.asarray(second.convert("RGB"), dtype=int)
    return float(np.abs(pixels).mean())


def figure(found: Sequence[Ran], urls: int) -> dict[str, Any]:
    rates = [ran.ok / ran.seconds for ran in found]
    low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
    return {
        "images_per_s": round(middle, 1),
        "images_per_s_iqr": round(high - low, 1),
        "steady": high - low <= STEADY * middle,
        "urls_per_s": round(urls / statistics.median([ran.seconds for ran in found]), 1),
        "seconds": [round(ran.seconds, 2) for ran in found],
        "cpu_s": round(statistics.median([ran.cpu for ran in found]), 2),
        "peak_rss_mb": round(statistics.median([ran.rss for ran in found]) / 1e6),
        "ok_share": round(statistics.median([ran.ok for ran in found]) / urls, 4),
    }


def compare(
    comparison: Comparison, urls: Sequence[str], listed: Path, scratch: Path, peer: str | None
) -> dict[str, Any]:
    """Both tools in turns, after a round whose outputs are compared and whose times do not count."""
    tools = {"ours": (sys.executable, OURS)} | ({"img2dataset": (peer, PEER)} if peer else {})
    outs = {name: scratch / name for name in tools}
    ran: dict[str, list[Ran]] = {name: [] for name in tools}
    outputs = None
    for number in range(comparison.rounds + 1):
        for name, (python, program) in tools.items():
            found = run(python, program, listed, outs[name], comparison)
            print(f"  {number or 'warm'} {name:12} {found.seconds:6.2f} s  {found.ok} images", flush=True)
            if number:
                ran[name].append(found)
        if not number and peer:
            outputs = compare_outputs(urls, outs["ours"], outs["img2dataset"])
    figures = {name: figure(found, len(urls)) for name, found in ran.items()}
    result: dict[str, Any] = {
        "name": comparison.name,
        "connections": comparison.connections,
        "timeout_s": TIMEOUT_S,
        "urls_per_shard": comparison.shard,
        "rounds": comparison.rounds,
        "judged": comparison.judged,
        "outputs": outputs,
        "figures": figures,
    }
    if peer:
        ours, theirs = figures["ours"], figures["img2dataset"]
        result["ratio"] = {
            "images_per_s": round(ours["images_per_s"] / theirs["images_per_s"], 3),
            "images_per_cpu_s": round(theirs["cpu_s"] / ours["cpu_s"] * ours["ok_share"] / theirs["ok_share"], 2),
            "peak_rss": round(ours["peak_rss_mb"] / theirs["peak_rss_mb"], 2),
        }
        result["reached"] = {
            "images_per_s": ours["images_per_s"] >= TARGET * theirs["images_per_s"],
            "memory": ours["peak_rss_mb"] <= theirs["peak_rss_mb"],
            "success": 100 * (ours["ok_share"] - theirs["ok_share"]) >= -POINTS,
            "steady": ours["steady"] and theirs["steady"],
        }
    return result


def verdict(results: Sequence[Mapping[str, Any]], peer: str | None) -> str:
    if peer is None:
        return "peer missing"
    missed = [name for found in results if found["judged"] for name, yes in found["reached"].items() if not yes]
    return f"missed: {', '.join(missed)}" if missed else "reached"


def circumstances(peer: str | None) -> dict[str, Any]:
    def told(*argv: str) -> str:
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    versions = {name: version(name) for name in ("aiohttp", "pillow", "pyarrow")}
    if peer:
        versions |= dict(zip(("img2dataset", "opencv"), told(peer, "-c", VERSIONS).split(), strict=True))
    return {
        "commit": told("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(told("git", "status", "--porcelain", "--", "src", "benchmarks")),
        "machine": {
            "cpu": next(line.split(":")[1].strip() for line in lines if line.startswith("model name")),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(PAGE * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "kernel": platform.release(),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **versions},
    }


def show(result: Mapping[str, Any]) -> None:
    print(f"\n{result['name']}: {result['connections']} connections, {result['urls_per_shard']} URLs per shard")
    print("               images/s    IQR   CPU s  peak MB    ok")
    for name, found in result["figures"].items():
        print(
            f"  {name:12} {found['images_per_s']:8.1f} {found['images_per_s_iqr']:6.1f} {found['cpu_s']:7.1f} "
            f"{found['peak_rss_mb']:8,} {found['ok_share']:6.1%}"
        )
    if "ratio" in result:
        print(f"  ours over img2dataset: {result['ratio']}\n  reached: {result['reached']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter that has img2dataset installed")
    parser.add_argument("--urls", type=int, default=6000)
    parser.add_argument("--rounds", type=int, help="instead of those of each comparison")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "url_ingest.json")
    options = parser.parse_args()
    described = circumstances(options.peer)
    results = []
    with tempfile.TemporaryDirectory(prefix="trackyard-urls-") as place, server(options.urls) as port:
        scratch = Path(place)
        urls = [f"http://127.0.0.1:{port}/{number}" for number in range(options.urls)]
        listed = scratch / "urls.txt"
        listed.write_text("\n".join(urls))
        for comparison in COMPARISONS:
            chosen = comparison
            if options.rounds:
                chosen = Comparison(**{**comparison.__dict__, "rounds": options.rounds})
            results.append(compare(chosen, urls, listed, scratch, options.peer))
            show(results[-1])
    body = {"benchmark": "url_ingest", "urls": options.urls, "target": TARGET, **described}
    body |= {"comparisons": results, "verdict": verdict(results, options.peer)}
    write_document(options.out, SCHEMA, body)
    print(f"\n{body['verdict']}; written: {options.out}")


if __name__ == "__main__":
    main()
