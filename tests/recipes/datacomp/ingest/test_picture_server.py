"""The mini's site: what its answers are, beside what a client makes of them (test_downloading)."""

from __future__ import annotations

import io
import socket

import numpy as np
import pytest
from PIL import Image

from trackyard.recipes.datacomp.ingest.mini_web import CAUSES, HOST, kind_of
from trackyard.recipes.datacomp.ingest.picture_server import PictureServer, answer
from trackyard.recipes.datacomp.scenes import draw, scene


def test_a_good_address_shows_its_scene() -> None:
    told, then = answer(3, "/ok/8.jpg")
    head, _, body = told.partition(b"\r\n\r\n")
    assert then == "stay"
    assert f"Content-Length: {len(body)}".encode() in head
    with Image.open(io.BytesIO(body)) as image:
        shown = np.asarray(image).astype(int)
    assert np.abs(shown - draw(scene(3, 8))).mean() < 4
    assert np.abs(shown - draw(scene(3, 9))).mean() > 4


def test_a_copy_is_the_row_before_to_the_byte() -> None:
    number = next(number for number in range(96) if kind_of(number) == "copy")
    assert answer(0, f"/copy/{number}.jpg") == answer(0, f"/ok/{number - 1}.jpg")


def test_every_kind_that_is_asked_for_has_an_answer() -> None:
    never = {"nowhere", "scheme"}
    for kind in CAUSES.keys() - never:
        told, then = answer(0, f"/{kind}/5.jpg")
        assert (told == b"") is (then != "stay")


def test_only_its_own_name_is_known_and_only_while_it_runs() -> None:
    with PictureServer(seed=0) as server:
        ((_, _, _, _, (ip, port)),) = server.lookup(HOST, 80)
        assert ip == "127.0.0.1"
        assert server.policy.permits(ip)
        assert not server.policy.permits("10.0.0.1")
        with pytest.raises(OSError, match="not known here"):
            server.lookup("example.org", 80)
        with socket.create_connection((ip, port), timeout=5) as connection:
            connection.sendall(b"GET /gone/3.jpg HTTP/1.1\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 404")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ip, port), timeout=5)
