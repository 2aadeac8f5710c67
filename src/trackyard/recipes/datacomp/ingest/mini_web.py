"""The web of the mini track: which picture each address has, and which addresses are broken, each in its own way.

Every fourth row is broken, and its path tells how.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from trackyard.recipes.datacomp.parameters import SourceParameters
from trackyard.recipes.datacomp.scenes import jpeg, scene

HOST, NOWHERE = "scenes.mini.test", "nowhere.mini.test"
"""Names that exist only in the stage that fetches; the second does not exist there either."""
OK = "ok"
CAUSES: Mapping[str, str] = {
    "gone": "http_404",
    "forbidden": "http_403",
    "removed": "http_410",
    "teapot": "http_4xx",
    "busy": "http_429",
    "error": "http_5xx",
    "silent": "read_timeout",
    "reset": "connection",
    "page": "not_image",
    "cut": "truncated",
    "damaged": "decode_error",
    "bomb": "pixel_limit",
    "huge": "too_large",
    "small": "too_small",
    "narrow": "aspect",
    "noai": "opt_out",
    "loop": "redirects",
    "private": "blocked_address",
    "nowhere": "dns",
    "scheme": "bad_url",
    "other": "hash_mismatch",
    "copy": "duplicate",
    "face": "face_box",
}
"""Ways to be broken, and the cause that each is counted under. `copy`: the very bytes of the row before."""
BROKEN_EVERY = 4
DIGEST_EVERY, FACE_EVERY, EMPTY_EVERY = 8, 64, 96
"""Of good rows: those that state a digest, have a face in a corner, or no caption."""
CORNER = [0.0, 0.0, 0.06, 0.06]


def kind_of(number: int) -> str:
    """How row `number` behaves: `ok`, or a key of CAUSES."""
    if number % BROKEN_EVERY != BROKEN_EVERY - 1:
        return OK
    kind = tuple(CAUSES)[number // BROKEN_EVERY % len(CAUSES)]
    # A server that says nothing holds a request until its limit: seconds, so there is one.
    return "gone" if kind == "silent" and number // BROKEN_EVERY >= len(CAUSES) else kind


def expected_outcome(number: int) -> str:
    """The outcome of row `number` where all rows are fetched as one list."""
    kind = kind_of(number)
    return CAUSES.get(kind, kind)


def shown(number: int) -> int:
    """Number of the scene that row `number` shows."""
    return number - 1 if kind_of(number) == "copy" else number


def mini_rows(source: SourceParameters) -> list[dict[str, Any]]:
    """All rows, in the columns of `rows.ROWS`."""
    return [_row(source.seed, number) for number in range(source.mini_rows)]


def _row(seed: int, number: int) -> dict[str, Any]:
    kind, pictured = kind_of(number), scene(seed, shown(number))
    url = f"http://{HOST}/{kind}/{number}.jpg"
    if kind == "nowhere":
        url = f"http://{NOWHERE}/{number}.jpg"
    elif kind == "scheme":
        url = f"ftp://{HOST}/{number}.jpg"
    sha256, faces = None, list[list[float]]()
    if kind == "other":
        sha256 = hashlib.sha256(b"another picture").hexdigest()
    elif kind == "face":
        faces = [[0.5, 0.5, 0.5, 0.9]]
    elif kind == OK:
        sha256 = hashlib.sha256(jpeg(pictured)).hexdigest() if number % DIGEST_EVERY == 0 else None
        faces = [CORNER] if number % FACE_EVERY == 1 else []
    return {
        "uid": hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:32],
        "url": url,
        "text": "" if kind == OK and number % EMPTY_EVERY == 2 else pictured.caption,
        "face_bboxes": faces,
        "sha256": sha256,
    }
