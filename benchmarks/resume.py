"""A run killed at 80 % of an epoch goes on, beside webdataset, HF and MDS: `python -m benchmarks.resume`.

10,000 samples of 27 kB, a picture and a caption each, in batches of about 16. A resume is timed from a step's number to
its first batch, in a process that has imported what it needs. Ours opens plan and dataset anew for each, decodes,
writes the prompts and packs; peers go on from an opened dataset, in order of the file (webdataset, HF) or shuffled
(MDS), and decode the pictures. Before that, order: the batches after a kill are those of an uninterrupted pass, for
worlds of 1, 2 and 4 ranks and 0, 1 and 2 workers (tests/feed/test_elasticity.py goes through every combination).
Source: performance spec sections 8.7 and 10.2 (B9).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from benchmarks.harness import PEERS, ROOT, Contender, Target, Unequal, compare, judge, write_record
from benchmarks.limits import at_most
from benchmarks.measured import report
from benchmarks.resume_peer import SAMPLES, SHARE, SIDE, caption, pictures
from trackyard.digest import digest_bytes
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters
from trackyard.feed.loader import read_ahead
from trackyard.feed.sample import measure
from trackyard.feed.steps import PlanFeed
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.plan.build import build_plan
from trackyard.plan.inputs import DatasetInput, PlanInputs
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

LATE, EARLY = "trackyard, at 80 %", "trackyard, at 1 %"
PEER_NAMES = ("webdataset", "HF skip", "HF state_dict", "MDS")
SECONDS = 0.1
FLAT = 1.25
"""Seconds at 80 % over seconds at 1 %, at most."""
RESUMES = 10
PACKS = 4
PER_STEP = 4 * PACKS
FOLLOWING = 25
"""Steps after the kill that are compared: 100 batches of one pack."""
PARAMETERS = FeedParameters(
    geometry=VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1), max_crops=4), max_tokens=400, max_inputs=20
)


def rows(count: int) -> Iterator[Row]:
    for number, image in enumerate(pictures(count)):
        turns = (Turn(role="user", content="<|image|> Describe."), Turn(role="assistant", content=caption(number)))
        media = Media(kind="image", data=image, path=f"{number}.bmp", width=SIDE, height=SIDE)
        yield Row(id=f"{number:08}", task="user_qa", media=(media,), conversations=(turns,))


def make(scratch: Path, count: int) -> None:
    """Our shards, a tokenizer, and a plan of a little more than an epoch."""
    tokenizer = extend_tokenizer(train_tokenizer([caption(3), "Describe."], 512), 512)
    tokenizer.save_pretrained(scratch / "tokenizer")
    tokens = TokenTable.of(tokenizer)
    manifest = write_dataset(
        scratch / "samples", {"train": rows(count)}, dataset="samples", source={"seed": 0}, licence="CC0-1.0"
    )
    # Pictures are of one size and captions go round in fours, so four rows tell the lengths of all.
    measured = [measure(row, "samples", PARAMETERS, tokens) for row in rows(4)]
    columns = ("tokens", "visual", "inputs", "labels")
    plan = build_plan(
        inputs=PlanInputs(
            datasets={
                "samples": DatasetInput(
                    manifest_fingerprint=manifest.fingerprint,
                    index_fingerprint="measured while writing",
                    rows=np.arange(count),
                    excluded={},
                    **{name: np.resize([getattr(one, name) for one in measured], count) for name in columns},
                )
            },
            mixture=MixtureParameters(kind="proportional"),
            budget=Budget(tokens=PARAMETERS.max_tokens, inputs=PARAMETERS.max_inputs),
            packs_per_step=PACKS,
            steps=count // PER_STEP + FOLLOWING,
            seed=0,
        ),
        cache=scratch / "plans",
    )
    (scratch / "plan").symlink_to(plan.directory)


def opened(scratch: Path, rank: int = 0, world: int = 1) -> PlanFeed:
    tokens = TokenTable.of(PreTrainedTokenizerFast.from_pretrained(scratch / "tokenizer"))
    datasets = {"samples": SnapshotDataset.open(scratch / "samples")}
    plan = Plan.open(scratch / "plan")
    return PlanFeed(plan, datasets, PARAMETERS, tokens, rank=rank, world=world, micro_batch=1)


def step_at(plan: Plan, share: float) -> int:
    """The step that `share` of all rows come before."""
    return int(np.searchsorted(plan.step_table[:, 4].cumsum(), share * plan.step_table[:, 4].sum()))


def following(scratch: Path, world: int, workers: int, start: int) -> list[str]:
    """Digests of the batches of the FOLLOWING steps from `start`, of all ranks in global order."""
    packs: dict[tuple[int, int], str] = {}
    for rank in range(world):
        with read_ahead(opened(scratch, rank, world), start, start + FOLLOWING, workers=workers) as steps:
            for place, step in enumerate(steps):
                for slot, batch in zip(range(rank, PACKS, world), step.batches, strict=True):
                    arrays = (batch.input_ids, batch.weights, batch.visual.patches, batch.visual.pooling)
                    packs[place, slot] = digest_bytes(b"".join(array.tobytes() for array in arrays))
    return [pack for _, pack in sorted(packs.items())]


def doomed(scratch: Path, workers: int) -> None:
    """A run that is killed without warning, with batches decoded ahead."""
    feed = opened(scratch)
    kill = step_at(feed.plan, SHARE)
    with read_ahead(feed, kill - 2, feed.plan.steps, workers=workers) as steps:
        for step in steps:
            if step.step == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            for _ in step.batches:
                pass


def check_order(scratch: Path) -> None:
    """Raises Unequal unless every restart goes on as an uninterrupted pass does, and one step late is noticed."""
    command = [sys.executable, "benchmarks/resume.py", str(scratch), "--child"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    kill = step_at(Plan.open(scratch / "plan"), SHARE)
    feed = opened(scratch)
    with read_ahead(feed, kill - 5, feed.plan.steps) as steps:
        whole = [step.rows for step in islice(steps, 5, 5 + FOLLOWING)]
    if whole != [[row for slot in range(PACKS) for row in feed.plan.pack(kill + k, slot)] for k in range(FOLLOWING)]:
        raise Unequal("an uninterrupted pass is not the plan's")
    wanted = following(scratch, 1, 0, kill)
    for world, workers in ((1, 0), (1, 1), (1, 2), (2, 0), (4, 0)):
        argv = [*command, "doomed", "--workers", str(workers)]
        killed = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, check=False)
        if killed.returncode != -signal.SIGKILL:
            sys.exit(f"the run that should be killed ended with {killed.returncode}")
        if following(scratch, world, workers, kill) != wanted:
            raise Unequal(f"another order after a restart with world {world} and {workers} workers")
    if following(scratch, 1, 0, kill + 1) == wanted:
        raise Unequal("the comparison finds nothing")


def child(name: str, scratch: Path) -> None:
    """Time RESUMES resumes, each with plan and dataset opened anew."""
    started = time.perf_counter()
    source = opened(scratch).source
    plan = Plan.open(source.plan)
    at = step_at(plan, SHARE if name == LATE else 0.01)
    source.open().step(at + FOLLOWING)
    cold = time.perf_counter() - started
    wanted = [row for slot in range(PACKS) for row in plan.pack(at, slot)]

    def work() -> tuple[float, Any]:
        right = [source.open().step(at).rows == wanted for _ in range(RESUMES)]
        return len(right), all(right)

    report(work, step=at, first_in_the_process_s=cold)


def measure_all(scratch: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    make(scratch, count)
    if PEERS.is_file():
        argv = [str(PEERS), "benchmarks/resume_peer.py", "--make", "--samples", str(count), str(scratch / "peers")]
        subprocess.run(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    check_order(scratch)
    offline = {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(scratch / "cache")}
    ours = [
        Contender(name=name, argv=["benchmarks/resume.py", str(scratch), "--child", name], environment=offline)
        for name in (LATE, EARLY)
    ]
    peers = [
        Contender(
            name=name,
            argv=["benchmarks/resume_peer.py", str(scratch / "peers"), "--child", name],
            peer=True,
            environment=offline,
        )
        for name in PEER_NAMES
    ]
    figures = compare([*ours, *peers], metric="wall_s", rounds=rounds)
    late, early = (1 / figures[name]["rate"] for name in (LATE, EARLY))
    return [
        {
            "name": "from a step's number to its first batch",
            "unit": "resumes/s",
            "figures": figures,
            "seconds": {name: 1 / found["rate"] for name, found in figures.items() if "rate" in found},
            "targets": [
                at_most(f"{SECONDS} s", SECONDS, late),
                at_most(f"{FLAT} times the time at 1 %", FLAT, late / early),
                *judge(figures, [Target(peer=name, ratio=1.0) for name in PEER_NAMES]),
            ],
        }
    ]


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(LATE, EARLY, "doomed"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child == "doomed":
        doomed(given.directory, given.workers)
        return 0
    if given.child:
        child(given.child, given.directory)
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workloads = measure_all(Path(scratch), given.samples, given.rounds)
    ours = ("pyarrow", "pillow", "tokenizers", "transformers")
    theirs = ("webdataset", "datasets", "mosaicml-streaming", "torch")
    return 0 if write_record("resume", workloads, packages=ours, peers=theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
