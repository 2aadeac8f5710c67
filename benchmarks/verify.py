"""Verification of files against their record, side by side with `md5sum -c` and `dvc status`.

    python benchmarks/verify.py                     # 9 GB of disk, under ten minutes on 2 cores
    python benchmarks/verify.py --scale 0.01        # the same in small: does it run?

Three workloads: 4 GB in 40 files, 4 GB in 20,000 files, and 20,000 small files. Every tool is a child process and pays
for its own start. The page cache is warm: the data are read by an untimed round first. `dvc status` trusts times, so
every file is touched before each round, or DVC would read nothing; a second comparison leaves the files alone, and sets
our fast mode against a `dvc status` that reads nothing. Nothing is timed before every tool has called the data clean
and ours has found and named a flipped bit. Source: performance spec sections 10.1 and B10.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trackyard.acquire.files.tree import manifest_of
from trackyard.schema import write_document

SCHEMA = "trackyard-benchmark/1"
ROOT = Path(__file__).resolve().parents[1]
TARGET = 3.0
"""Wall time of the peer over ours, at least."""
STEADY = 0.1
"""Interquartile range over median, at most: else the machine was busy with other things, and figures say little."""
GIGABYTES = 9
OURS = """
import sys
from pathlib import Path
from trackyard.acquire.files.tree import FileManifest, verify_files
data, record, mode, cache = sys.argv[1:]
report = verify_files(Path(data), manifest=FileManifest.read(Path(record)), mode=mode, cache=Path(cache))
print(f"{report.examined} examined, {report.hashed} read", *report.problems(), sep="\\n")
sys.exit(not report.ok)
"""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """files of `size` bytes each, different and incompressible; folders of at most 1,000."""

    name: str
    files: int
    size: int
    rounds: int


WORKLOADS = (
    Workload(name="4 GB in 40 files", files=40, size=100_000_000, rounds=7),
    Workload(name="4 GB in 20,000 files", files=20_000, size=200_000, rounds=5),
    Workload(name="262 MB in 20,000 files", files=20_000, size=13_083, rounds=9),
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One child process. wall, cpu: seconds, cpu of itself and its children."""

    code: int
    output: str
    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """A DVC repository with the data, and beside the data what the tools compare them with."""

    root: Path
    environment: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.root / "data"

    def ours(self, mode: str) -> Ran:
        argv = [sys.executable, "-c", OURS, str(self.data), str(self.root), mode, str(self.root / "proved.json")]
        return run(argv, self)

    def md5sum(self) -> Ran:
        return run(["md5sum", "-c", "--quiet", "data.md5"], self)

    def dvc(self, *arguments: str) -> Ran:
        return run([str(Path(sys.executable).with_name("dvc")), *arguments], self)


def run(argv: Sequence[str], place: Place) -> Ran:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        argv, cwd=place.root, env=dict(place.environment), capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(code=done.returncode, output=done.stdout + done.stderr, wall=wall, cpu=cpu)


def prepare(root: Path, workload: Workload) -> Place:
    """Write the data and every tool's record of them."""
    place = Place(
        root=root,
        environment=os.environ
        | {
            "DVC_SITE_CACHE_DIR": str(root / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(root / "global"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    random = np.random.default_rng(20260801)
    lines = []
    for number in range(workload.files):
        folder = place.data / f"{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:06}.bin"
        path.write_bytes(random.bytes(workload.size))
        lines.append(str(path.relative_to(root)))
    manifest_of(place.data, name=workload.name, source={"seed": 20260801}).write(root)
    with open(root / "data.md5", "w") as sums:
        for start in range(0, len(lines), 1000):
            subprocess.run(["md5sum", *lines[start : start + 1000]], cwd=root, stdout=sums, check=True)
    for arguments in (("init", "--no-scm", "-q"), ("config", "core.check_update", "false"), ("add", "-q", "data")):
        expect(place.dvc(*arguments), 0)
    return place


def expect(ran: Ran, code: int, *texts: str) -> None:
    """End the benchmark where a tool did not say what it must: unequal answers mean no result."""
    if ran.code != code or any(text not in ran.output for text in texts):
        sys.exit(f"expected exit {code} and {texts}, got exit {ran.code}:\n{ran.output}")


def touch(place: Place) -> None:
    for folder, _, names in os.walk(place.data):
        for name in names:
            os.utime(f"{folder}/{name}")


def compare_answers(place: Place, workload: Workload) -> dict[str, bool]:
    """Every tool calls the data clean; then who finds one flipped bit under an unchanged size and time."""
    expect(place.ours("full"), 0, f"{workload.files} examined, {workload.files} read")
    expect(place.md5sum(), 0)
    expect(place.dvc("status"), 0, "up to date")
    path = place.data / f"{(workload.files - 1) // 1000:03}" / f"{workload.files - 1:06}.bin"
    name = str(path.relative_to(place.data))
    status = path.stat()
    flip(path, workload.size // 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    expect(place.ours("full"), 1, f"{name}: blake3")
    found = {
        "ours, full": True,
        "ours, fast": place.ours("fast").code == 1,
        "md5sum -c": place.md5sum().code == 1,
        "dvc status": "up to date" not in place.dvc("status").output,
    }
    flip(path, workload.size // 2)
    expect(place.ours("full"), 0)
    return found


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ 1]))


def measure(
    tools: Mapping[str, Callable[[], Ran]], rounds: int, before: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Interleave the tools, after a round that does not count. The first tool is ours."""
    times: dict[str, list[Ran]] = {name: [] for name in tools}
    for number in range(rounds + 1):
        before()
        for name, tool in tools.items():
            ran = tool()
            expect(ran, 0)
            if number:
                times[name].append(ran)
    figures = {name: figure([ran.wall for ran in found], [ran.cpu for ran in found]) for name, found in times.items()}
    ours = figures[next(iter(tools))]
    for found in figures.values():
        if found is not ours:
            found["wall_ratio"] = round(found["wall_s"] / ours["wall_s"], 2)
            found["cpu_ratio"] = round(found["cpu_s"] / ours["cpu_s"], 2)
    return figures


def figure(walls: list[float], cpus: list[float]) -> dict[str, Any]:
    low, _, high = statistics.quantiles(walls, n=4, method="inclusive")
    middle = statistics.median(walls)
    return {
        "wall_s": round(middle, 4),
        "wall_iqr_s": round(high - low, 4),
        "steady": high - low <= STEADY * middle,
        "cpu_s": round(statistics.median(cpus), 4),
        "walls_s": [round(wall, 4) for wall in walls],
    }


def benchmark(workload: Workload, scratch: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="trackyard-verify-") as root:
        place = prepare(Path(root), workload)
        found = compare_answers(place, workload)
        tools = {
            "ours, full": lambda: place.ours("full"),
            "md5sum -c": place.md5sum,
            "dvc status": lambda: place.dvc("status"),
        }
        everything = measure(tools, workload.rounds, before=lambda: touch(place))
        unchanged = measure(
            {"ours, fast": lambda: place.ours("fast"), "dvc status": lambda: place.dvc("status")}, workload.rounds
        )
    total = workload.files * workload.size
    ours = everything["ours, full"]["wall_s"]
    ratios = {name: found["wall_ratio"] for name, found in everything.items() if "wall_ratio" in found}
    return {
        **asdict(workload),
        "bytes": total,
        "flipped_bit_found": found,
        "after_a_touch": everything,
        "unchanged": unchanged,
        "gigabytes_per_s": round(total / ours / 1e9, 2),
        "files_per_s": round(workload.files / ours),
        "files_per_s_unchanged": round(workload.files / unchanged["ours, fast"]["wall_s"]),
        "target_reached": {name: ratio >= TARGET for name, ratio in ratios.items()},
        "steady": all(found["steady"] for found in (*everything.values(), *unchanged.values())),
    }


def show(result: Mapping[str, Any]) -> None:
    print(f"\n{result['name']}, {result['rounds']} rounds, flipped bit found: {result['flipped_bit_found']}")
    for title in ("after_a_touch", "unchanged"):
        print(f"  {title.replace('_', ' '):14}   wall s    IQR    CPU s   wall ratio  CPU ratio")
        for name, found in result[title].items():
            ratios = f"{found['wall_ratio']:10.2f}x {found['cpu_ratio']:9.2f}x" if "wall_ratio" in found else ""
            print(f"    {name:12} {found['wall_s']:9.3f} {found['wall_iqr_s']:7.3f} {found['cpu_s']:7.3f} {ratios}")
    print(
        f"  ours: {result['gigabytes_per_s']} GB/s, {result['files_per_s']:,} files/s, unchanged "
        f"{result['files_per_s_unchanged']:,} files/s; {TARGET}x reached: {result['target_reached']}; "
        f"steady: {result['steady']}"
    )


def circumstances(scratch: Path) -> dict[str, Any]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sums = subprocess.run(["md5sum", "--version"], capture_output=True, text=True, check=True).stdout
    system = subprocess.run(["stat", "-f", "-c", "%T", scratch], capture_output=True, text=True, check=True).stdout
    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", "src", "benchmarks")),
        "machine": {
            "cpu": model,
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(memory / 1e9, 1),
            "kernel": platform.release(),
            "file_system": system.strip(),
            "page_cache": "warm",
        },
        "versions": {
            "python": platform.python_version(),
            "blake3": version("blake3"),
            "dvc": version("dvc"),
            "md5sum": sums.splitlines()[0].rsplit(" ", 1)[-1],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="folder on the disk to use")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each file's size")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "verify.json")
    options = parser.parse_args()
    free = shutil.disk_usage(options.scratch).free / 1e9
    if free < GIGABYTES * options.scale:
        sys.exit(f"{options.scratch} has {free:.1f} GB free, {GIGABYTES * options.scale:.1f} are needed; see --scratch")
    results = []
    for workload in WORKLOADS:
        scaled = Workload(**asdict(workload) | {"size": max(2, int(workload.size * options.scale))})
        results.append(benchmark(scaled, options.scratch))
        show(results[-1])
    body = {"benchmark": "verify", "target": TARGET, "scale": options.scale, **circumstances(options.scratch)}
    write_document(options.out, SCHEMA, json.loads(json.dumps(body | {"workloads": results})))
    print(f"\nwritten: {options.out}")


if __name__ == "__main__":
    main()
