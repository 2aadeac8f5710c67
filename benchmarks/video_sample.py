"""Frames of a video at 2 per second, beside decord and PyAV: `python -m benchmarks.video_sample`.

Two clips of 20 s, 960x540 at 30 frames/s, H.264 with x264's three B-frames between others, a key frame every 30 and
every 250 frames; 41 frames of each at 378 x 378, as files on disk, from opening on. Ours stretch as the model's stock
processor does (whole frame to RGB, bilinear); peers scale by their own means, which costs them less. Frames must be
those of equal presentation times and colours. `trackyard, approximate` shows the nearest frame that others refer to,
with its own time. Seeking per frame is left out where key frames are 250 apart: it is ten times behind there.
Source: performance spec sections 8.4 and 10.2 (B16).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import Contender, Target, compare, judge, write_record
from benchmarks.measured import report
from benchmarks.video_sample_peer import EVERY, FPS, PEERS, SECONDS, SIDE, WANTED, Shown, answer
from trackyard.acquire.media import frame_table
from trackyard.feed.resize import resize_bilinear
from trackyard.feed.video_frames import iter_frames, nearest_frames

WIDTH, HEIGHT, PAN_X, PAN_Y = 960, 540, 440, 240
EXACT, APPROXIMATE = "trackyard", "trackyard, approximate"
COLOUR = 1.5
"""Mean difference of cell colours, of 255, that another scaler may make; frames 1/30 s apart differ by more."""
SLACK = 1000 * EVERY // FPS // 2
"""Milliseconds by which an approximate frame may be off: half the distance between wanted ones."""


def pictures() -> Iterator[NDArray[np.uint8]]:
    """A camera that moves over a soft scene, and five things that move in it: uint8 [540, 960, 3]."""
    source = np.random.default_rng(0)
    scene = np.zeros((HEIGHT + PAN_Y, WIDTH + PAN_X, 3))
    for octave in range(3, 8):
        grid = source.integers(0, 256, (3 * 2**octave // 4, 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((WIDTH + PAN_X, HEIGHT + PAN_Y), Image.Resampling.BICUBIC)
        scene += (np.asarray(layer) - 128.0) * 0.54 * 2.0 ** (3 - octave)
    background = np.clip(scene + 128, 0, 255).astype(np.uint8)
    things = [
        np.asarray(
            Image.fromarray(source.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
                (160, 120), Image.Resampling.BICUBIC
            )
        )
        for _ in range(5)
    ]
    for number in range(FPS * SECONDS):
        t = number / FPS
        x, y = int(PAN_X / 2 * (1 + np.sin(t / 2))), int(PAN_Y / 2 * (1 + np.cos(0.4 * t)))
        picture = background[y : y + HEIGHT, x : x + WIDTH].copy()
        for k, thing in enumerate(things):
            x = int((WIDTH - 160) * (1 + np.sin(t * (0.6 + 0.2 * k) + k)) / 2)
            y = int((HEIGHT - 120) * (1 + np.cos(t * (0.5 + 0.15 * k) + 2 * k)) / 2)
            picture[y : y + 120, x : x + 160] = thing
        yield picture


def make(clips: Mapping[int, Path]) -> None:
    """Encode the clips, by distance of key frames."""
    opened = []
    for gop, path in clips.items():
        container = av.open(str(path), "w")
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "veryfast",
            "g": f"{gop}",
            "keyint_min": f"{gop}",
            "sc_threshold": "0",
            "bf": "3",
            "b_strategy": "0",  # always three, so that the stream does not hang on the encoder's mood
        }
        opened.append((container, stream))
    for picture in pictures():
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        for container, stream in opened:
            container.mux(stream.encode(frame))
    for container, stream in opened:
        container.mux(stream.encode(None))
        container.close()


def sample(clip: str, wanted: Sequence[int], *, exact: bool) -> list[Shown]:
    """The wanted frames, or those near them, at SIDE x SIDE."""
    data = Path(clip).read_bytes()
    table = frame_table(data, clip)
    if exact:
        whole = zip(wanted, iter_frames(data, clip, wanted, table=table), strict=True)
        found = ((index, resize_bilinear(frame, SIDE, SIDE)) for index, frame in whole)
    else:
        found = nearest_frames(data, clip, wanted, (SIDE, SIDE), table=table)
    return [(float(int(table.times[index]) * table.time_base), frame) for index, frame in found]


def agree(answers: Mapping[str, Any]) -> str | None:
    """Equal times and colours; the approximate frames near in time. None also proves that it tells neighbours apart."""
    exact, near = answers[EXACT], answers[APPROXIMATE]
    late = max(abs(a - b) for a, b in zip(exact["times"], near["times"], strict=True))
    if late > SLACK:
        return f"an approximate frame is {late} ms off"
    for name, found in answers.items():
        if name == APPROXIMATE:
            continue
        if found["times"] != exact["times"]:
            return f"{name} shows frames of other times"
        if _apart(found, exact) > COLOUR:
            return f"{name} shows other colours, by {_apart(found, exact):.1f}"
    if near["times"] != exact["times"] and _apart(near, exact) <= COLOUR:
        return "the comparison of colours does not tell frames apart"
    return None


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest mean difference of the cells of a frame."""
    return float(np.abs(np.array(one["colours"]) - np.array(other["colours"])).mean(axis=1).max())


def measure(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    clips = {gop: scratch / f"{gop}.mp4" for gop in (30, 250)}
    make(clips)
    workloads = []
    for gop, clip in clips.items():
        ours = [
            Contender(name=name, argv=["benchmarks/video_sample.py", "--child", name, str(clip)])
            for name in (EXACT, APPROXIMATE)
        ]
        peers = [
            Contender(name=name, argv=["benchmarks/video_sample_peer.py", "--child", name, str(clip)], peer=True)
            for name in PEERS
            if gop == FPS or name != "PyAV seek per frame"
        ]
        figures = compare([*ours, *peers], metric="cpu_s", agree=agree, rounds=rounds)
        near = {APPROXIMATE: dict(figures.pop(APPROXIMATE))}
        near[APPROXIMATE].pop("ours_over_it")
        for name in (peer.name for peer in peers):
            near[name] = dict(figures[name])
            if "rate" in near[name]:
                near[name]["ours_over_it"] = near[APPROXIMATE]["rate"] / near[name]["rate"]
        for label, found, ratio in (("exact", figures, 1.0), ("approximate", near, 1.5)):
            workloads.append(
                {
                    "name": f"key frame every {gop}, {label}",
                    "unit": "frames/cpu-s",
                    "figures": found,
                    "targets": judge(found, [Target(peer="best", ratio=ratio)]),
                }
            )
    return workloads


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", nargs="?")
    parser.add_argument("--child", choices=(EXACT, APPROXIMATE))
    parser.add_argument("--scratch", type=Path, help="where the clips are made; a folder in it is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        exact = given.child == EXACT
        sample(given.clip, WANTED[:2], exact=exact)  # as the peers do
        report(lambda: answer(sample(given.clip, WANTED, exact=exact)))
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workloads = measure(Path(scratch), given.rounds)
    return 0 if write_record("video_sample", workloads, packages=("av", "numpy"), peers=("decord", "av")) else 1


if __name__ == "__main__":
    sys.exit(main())
