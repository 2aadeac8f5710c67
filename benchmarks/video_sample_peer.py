"""Peers of the benchmark of video sampling, in an environment without trackyard.

    python benchmarks/video_sample_peer.py --child decord CLIP        # one line of JSON

Each opens the file, shows the wanted frames at `SIDE` x `SIDE` pixels as it does that best, and tells their own times.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured import report

FPS, SECONDS, EVERY, SIDE = 30, 20, 15, 378
WANTED = [*range(0, FPS * SECONDS, EVERY), FPS * SECONDS - 1]
"""2 frames per second, last frame kept."""
CELLS, STRIDE = 9, 6
"""A frame is told by the mean colours of 9 x 9 cells of every sixth pixel: scalers differ in detail, not in these."""

Shown = tuple[float, NDArray[np.uint8]]
"""Presentation time in seconds, uint8 [SIDE, SIDE, 3]."""


def answer(shown: Sequence[Shown]) -> tuple[float, Any]:
    """(frames, times in milliseconds and mean colours of each)."""
    small = np.stack([picture[::STRIDE, ::STRIDE] for _, picture in shown]).astype(np.float32)
    side = SIDE // STRIDE // CELLS
    colours = small.reshape(len(shown), CELLS, side, CELLS, side, 3).mean(axis=(2, 4)).reshape(len(shown), -1)
    return len(shown), {
        "times": [round(1000 * time) for time, _ in shown],
        "colours": colours.round(1).tolist(),
    }


def decord(clip: str, wanted: Sequence[int]) -> list[Shown]:
    import decord

    reader = decord.VideoReader(clip, width=SIDE, height=SIDE, num_threads=1)
    pictures = reader.get_batch(wanted).asnumpy()
    return [(float(reader.get_frame_timestamp(index)[0]), one) for index, one in zip(wanted, pictures, strict=True)]


def sequential(clip: str, wanted: Sequence[int]) -> list[Shown]:
    import av

    shown, asked = [], frozenset(wanted)
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in asked:
                shown.append((frame.time, frame.reformat(SIDE, SIDE, "rgb24", threads=1).to_ndarray()))
            if len(shown) == len(asked):
                break
    return shown


def seek(clip: str, wanted: Sequence[int]) -> list[Shown]:
    import av

    shown = []
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for index in wanted:
            pts = round(index / FPS / stream.time_base)
            container.seek(pts, stream=stream)
            frame = next(frame for frame in container.decode(stream) if frame.pts >= pts)
            shown.append((frame.time, frame.reformat(SIDE, SIDE, "rgb24", threads=1).to_ndarray()))
    return shown


PEERS = {"decord get_batch": decord, "PyAV sequential": sequential, "PyAV seek per frame": seek}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip")
    parser.add_argument("--child", choices=PEERS, required=True)
    given = parser.parse_args()
    show = PEERS[given.child]
    show(given.clip, WANTED[:2])  # what is timed begins with everything imported and every table made
    report(lambda: answer(show(given.clip, WANTED)))


if __name__ == "__main__":
    main()
