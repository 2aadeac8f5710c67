"""The hub and the web as stage 1 needs them, on loopback: the repositories' real names, files and columns, tiny.

Columns as the hub's cards and the official loaders have them (catalog/mappings name the source of each).
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.loopback.hub import LoopbackHub

IMAGES = 24
LOST = 2
"""Images that the web has lost for good (404)."""
LATE = 3
"""Images that are not to be had at first."""


class Web:
    """Serves `IMAGES` pictures at /<number>.jpg. late: whether those that come late have come."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.late = False
        self.asked: Counter[str] = Counter()

    def address(self, number: int) -> str:
        return f"{self.url}/{number}.jpg"

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked[path] += 1
        number = int(path.strip("/").removesuffix(".jpg"))
        if number < LOST or (number < LOST + LATE and not self.late):
            return 404, b"gone"
        return 200, picture(number)


def picture(number: int) -> bytes:
    """A JPEG of its own for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (48, 64 + number, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()


@contextmanager
def web() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = served.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "image/jpeg" if status == 200 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Web(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


def table(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def publish(hub: LoopbackHub, pages: Web) -> None:
    """Add the repositories of stage 1. The image 5 is one of the evaluation's."""
    numbers = range(IMAGES)
    sha = {number: hashlib.sha256(picture(number)).hexdigest() for number in numbers}
    captions = [
        {"image_url": pages.address(n), "caption": f"A picture of noise, number {n}.", "transcripts": [f"noise {n}"]}
        for n in numbers
    ]
    hub.add_repository(
        "allenai/pixmo-cap",
        {
            "data/train-00000-of-00002.parquet": table(captions[:12]),
            "data/train-00001-of-00002.parquet": table(captions[12:]),
            "README.md": b"# PixMo-Cap\n",
        },
    )
    points = [
        {
            "image_url": pages.address(n), "image_sha256": sha[n], "count": 2, "label": label,
            "points": [{"x": 10.0 + n, "y": 20.0}, {"x": 50.0, "y": 75.0}], "collection_method": "pointing",
        }
        for n in numbers for label in ("dots", "spots")
    ]  # fmt: skip
    hub.add_repository("allenai/pixmo-points", {"data/train-00000-of-00001.parquet": table(points)})
    hub.add_repository(
        "allenai/pixmo-points-eval", {"data/test-00000-of-00001.parquet": table([{"image_url": pages.address(5)}])}
    )
    counts = [
        {
            "image_url": pages.address(n), "image_sha256": sha[n], "count": 2, "label": "dots",
            "points": {"x": [4.0, 30.0], "y": [5.0, 40.0]},
        }
        for n in numbers
    ]  # fmt: skip
    held_out = [{**row, "points": None} for row in counts[:4]]
    hub.add_repository(
        "allenai/pixmo-count",
        {
            "data/train-00000-of-00001.parquet": table(counts),
            "data/validation-00000-of-00001.parquet": table(held_out),
            "data/test-00000-of-00001.parquet": table(held_out),
        },
    )
    charts = [
        {
            "id": f"chart-{n}", "image": {"bytes": picture(n), "path": f"{n}.jpg"},
            "questions": ["Point to the bar.", "Point to the axis."],
            "answer_points": [{"x": [50.0], "y": [50.0]}, {"x": [0.0, 10.0], "y": [90.0, 95.0]}],
            "names": ["the bar", "the axis"],
        }
        for n in numbers
    ]  # fmt: skip
    hub.add_repository(
        "allenai/CoSyn-point",
        {
            "data/train-00000-of-00001.parquet": table(charts[:20]),
            "data/validation-00000-of-00001.parquet": table(charts[20:]),
        },
    )
    dialogues = [
        {
            "id": f"d{n}", "source": "allenai/tulu", "category": "code" if n == 0 else "chat",
            "messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": str(n)}],
            "first_message_qwen3_tokens": 5, "empty_messages": False, "has_special_token": False,
        }
        for n in numbers
    ]  # fmt: skip
    hub.add_repository("allenai/molmo2-tulu4-classified", {"data/train-00000-of-00001.parquet": table(dialogues)})
