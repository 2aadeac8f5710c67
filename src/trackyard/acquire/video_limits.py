"""What a video may ask for: how long it is, and how much its tables make FFmpeg allocate before the first packet.

FFmpeg makes 70 bytes of index for each sample that an MP4 states, from 8 bytes of file for all of them together: 1.9 kB
took 1.4 GB. It has no limit of its own, so the tables are read here first. Source: reliability spec F17 and section 6.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MAX_SECONDS = 24 * 3600
"""Longest duration; 8 hours are ordinary (molmo2 spec section 9)."""

MAX_FRAMES = 2_000_000
"""Most frames or packets of one video; 8 hours at 60 frames/s have 1,728,000."""

MAX_INDEX = 3_000_000
"""Most index entries of all tracks of an MP4 together: 210 MB; 8 hours at 30 frames/s with AAC sound need 2,214,000."""

MAX_PROBE_PIXELS = 2 * 10**11
"""Most pixels decoded to measure one video, a few minutes of one core: VP8 of 1080p for 53 minutes, as it is decoded
whole; 3,125 of the largest frames."""

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,ivf,h264,hevc,obu,nut,mxf,m4v"
)
"""Demuxers that are opened at all. FFmpeg knows hundreds, among them playlists that name other files."""

_TOP_LEVEL = frozenset((b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx"))
_TABLES = re.compile(rb"trak|moof|hdlr|stts|stsz|stz2|stsc|stco|co64|trun|elst|cmov")
_PER_ENTRY = 160
"""Samples of uncompressed sound that share an entry, at least; FFmpeg mostly takes 1,024."""


class OverLimit(Exception):
    """A video that asks for more than the limits, in a few words."""


def check_tables(data: bytes) -> None:
    """Refuse an MP4 or QuickTime file whose tables state more than `MAX_INDEX` entries. Raises OverLimit.

    FFmpeg finds tables in boxes of every kind, so their names are searched for everywhere but in the media data.
    """
    boxes = list(_boxes(data))
    if not any(kind in _TOP_LEVEL for kind, _, _ in boxes):
        return
    entries = 0
    for kind, start, end in boxes:
        if kind == b"mdat":
            continue
        found = list(_TABLES.finditer(data, start, end))
        cuts = [0, *(k for k, match in enumerate(found) if match[0] in (b"trak", b"moof")), len(found)]
        for first, last in pairwise(cuts):
            entries += _Tables(data, [(match[0], match.end()) for match in found[first:last]]).entries()
    if entries > MAX_INDEX:
        raise OverLimit(f"its tables state {entries:,} samples; {MAX_INDEX:,} are read")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the boxes at the top level, as FFmpeg passes over them."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        end = at + size if 8 <= size <= len(data) - at else len(data)
        yield kind, at, end
        at = end


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of one track or fragment. found: (kind, where its body begins, behind size and name)."""

    data: bytes
    found: list[tuple[bytes, int]]

    def word(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "big")

    def bodies(self, *kinds: bytes) -> list[int]:
        return [at for kind, at in self.found if kind in kinds]

    def entries(self) -> int:
        """Index entries that they lead to. Raises OverLimit."""
        if self.bodies(b"cmov"):
            raise OverLimit("its tables are compressed, which hides their size")
        samples = sum(self.word(at + 8) for at in self.bodies(b"stsz", b"stz2"))
        if samples > MAX_INDEX and self._is_plain_sound():
            samples = self._sound_entries()
        # Each edit may show all samples once more, with index entries of their own.
        edits = sum(self.word(at + 4) for at in self.bodies(b"elst"))
        return samples * max(1, edits) + sum(self.word(at + 4) for at in self.bodies(b"trun"))

    def _is_plain_sound(self) -> bool:
        """Uncompressed sound: each sample of one size and one tick, of which FFmpeg indexes runs. One table of each."""
        sizes, times = self.bodies(b"stsz", b"stz2"), self.bodies(b"stts")
        single = len(sizes) == len(times) == len(self.bodies(b"stsc")) == len(self.bodies(b"stco", b"co64")) == 1
        kinds = [self.data[at + 8 : at + 12] for at in self.bodies(b"hdlr")]
        return (
            single
            and self.word(sizes[0] + 4) > 0
            and (self.word(times[0] + 4), self.word(times[0] + 12)) == (1, 1)
            and b"soun" in kinds
            and b"vide" not in kinds
        )

    def _sound_entries(self) -> int:
        """Runs of samples in the chunks: rows of (first chunk, samples in each chunk, description)."""
        (chunks,), (runs,) = self.bodies(b"stco", b"co64"), self.bodies(b"stsc")
        rows = min(self.word(runs + 4), (len(self.data) - runs - 8) // 12)
        first = [self.word(runs + 8 + 12 * row) for row in range(rows)] + [self.word(chunks + 4) + 1]
        return sum(
            max(0, following - begin) * -(-self.word(runs + 12 + 12 * row) // _PER_ENTRY)
            for row, (begin, following) in enumerate(pairwise(first))
        )
