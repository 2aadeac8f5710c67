"""A cached latent, checked, beside decoding and encoding its picture: `python -m benchmarks.feature_cache`.

256 latents of the real size, 16 x 64 x 64 in 16 bits (131,072 bytes), in random order and batches of 8, page cache
warm. Ours opens the shards and reads every latent once, so that each is compared with its digest. The other way decodes
a JPEG of 1024 x 768 pixels (quality 88), squashes it to 512 x 512 and encodes it with a stub: every eighth pixel, mixed
into 16 channels. A real encoder takes thousands of times as long, so the ratio is a lower bound. Latents of both are
compared bit by bit before. That a cache of another encoder is refused is part of the record. Source: performance spec
section 10.2 (B19), reliability F28.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decode_resize import picture
from benchmarks.harness import Contender, Target, compare, equal_answers, judge, write_record
from benchmarks.measured import report
from trackyard.digest import digest_bytes
from trackyard.errors import IdentityError
from trackyard.feed.resized import decode_resized
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import Latents
from trackyard.snapshot.latent_writer import LatentWriter

CACHED, COMPUTED = "cached latent, checked", "decode, resize, encode stub"
COUNT, PICTURES, BATCH, SIZE, QUALITY = 256, 16, 8, 512, 88
"""Images, of which so many are distinct scenes: the others differ in their last bytes."""
PASSES = 40
"""Each opens the cache anew, so that everything is checked again."""
FACTS = EncoderFacts(
    repo="benchmarks/stub",
    revision="0" * 40,
    weights="1" * 64,
    config="2" * 64,
    preprocessing="squash-bicubic/1 to 512x512 in [-1, 1]",
    shape=(16, 64, 64),
)
STALE = {"revision": "3" * 40, "weights": "4" * 64, "preprocessing": "squash-bicubic/2 to 512x512 in [-1, 1]"}
MIX = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)

Latent = NDArray[np.float16]


def stub(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [16, 64, 64] of uint8 [512, 512, 3]."""
    some = pixels[::8, ::8].reshape(-1, 3).T.astype(np.float32)
    mixed: NDArray[np.float32] = MIX @ (some / 127.5 - 1)
    return mixed.reshape(16, 64, 64)


def computed(images: Sequence[bytes]) -> Iterator[Latent]:
    for at in range(0, len(images), BATCH):
        group = images[at : at + BATCH]
        yield np.stack([stub(decode_resized(data, "image", SIZE, SIZE)) for data in group]).astype(np.float16)


def cached(directory: Path, names: Sequence[str]) -> Iterator[Latent]:
    latents = Latents.open(directory, FACTS)
    for at in range(0, len(names), BATCH):
        yield latents.many(names[at : at + BATCH])


def make(directory: Path, count: int) -> None:
    """JPEG files, and the cache of their latents."""
    files: dict[str, bytes] = {}
    for number in range(count):
        if number < PICTURES:
            path = directory / "one.jpg"
            picture(number).save(path, quality=QUALITY)
            whole = path.read_bytes()
            path.unlink()
        else:
            # A comment after the end of a JPEG: other bytes and another name, the same work.
            whole = list(files.values())[number % PICTURES] + number.to_bytes(4, "big")
        files[digest_bytes(whole)] = whole
    (directory / "images").mkdir()
    for name, data in files.items():
        (directory / "images" / f"{name}.jpg").write_bytes(data)
    writer = LatentWriter(directory / "latents", FACTS, list(files))

    def encode(names: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        for name in names:
            yield stub(decode_resized(files[name], name, SIZE, SIZE))[None]

    for shard in writer.unfinished():
        writer.write(shard, encode)
    writer.finish(writer.assemble())


def child(name: str, directory: Path) -> None:
    paths = sorted((directory / "images").glob("*.jpg"))
    order = np.random.default_rng(1).permutation(len(paths)).tolist()
    names, images = [paths[k].stem for k in order], [paths[k].read_bytes() for k in order]

    def batches() -> Iterator[Latent]:
        return cached(directory / "latents", names) if name == CACHED else computed(images)

    content = [digest_bytes(latent.tobytes()) for batch in batches() for latent in batch]
    passes = PASSES if name == CACHED else 1

    def work() -> tuple[float, Any]:
        seen = sum(len(batch) for _ in range(passes) for batch in batches())
        return seen, content

    report(work)


def refused(directory: Path) -> dict[str, str]:
    """What is said to whoever asks for latents of another encoder; SystemExit if that is not refused."""
    said = {}
    for fact, value in STALE.items():
        try:
            Latents.open(directory, replace(FACTS, **{fact: value}))
        except IdentityError as error:
            said[fact] = error.what.replace(f"{directory} ", "the cache ")
        else:
            sys.exit(f"a cache with another {fact} was opened")
    return said


def measure(scratch: Path, count: int, rounds: int) -> dict[str, Any]:
    make(scratch, count)
    assert equal_answers({"one": ["a"], "other": ["b"]}), "the comparison finds nothing"
    figures = compare(
        [
            Contender(name=name, argv=["benchmarks/feature_cache.py", "--child", name, str(scratch)])
            for name in (CACHED, COMPUTED)
        ],
        metric="cpu_s",
        rounds=rounds,
    )
    return {
        "name": f"{count} latents of 131,072 bytes, random order, batches of {BATCH}",
        "unit": "samples/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer=COMPUTED, ratio=10.0)]),
        "stale_keys_refused": refused(scratch / "latents"),
    }


def main() -> int:
    """0 if the target is reached and figures are steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(CACHED, COMPUTED))
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--images", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.directory)
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workload = measure(Path(scratch), given.images, given.rounds)
    packages = ("xxhash", "numpy", "pyarrow", "simplejpeg", "torch")
    return 0 if write_record("feature_cache", [workload], packages=packages) else 1


if __name__ == "__main__":
    sys.exit(main())
