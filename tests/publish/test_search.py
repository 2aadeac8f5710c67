"""The search finds what it is for wherever it lies, and takes no weights for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.publish import search
from trackyard.publish.search import blocks_of, machine_paths, secret_in
from trackyard.redact import Redactor

TOKEN = b"hf_" + b"FindMe" * 6


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_weights_are_not_taken_for_secrets(seed: int) -> None:
    weights = np.random.default_rng(seed).standard_normal(200_000).astype(np.float32).tobytes()
    assert secret_in(weights, Redactor({}), ("/srv/of/somebody",)) is None


@settings(max_examples=30)
@given(at=st.integers(0, 3000))
def test_a_secret_is_found_at_every_place_of_a_large_file(at: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("large") / "file"
    plain = b" " * at
    path.write_bytes(plain + TOKEN + b" " * (3000 - at))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", 100)
        patch.setattr(search, "OVERLAP", 60)
        assert any(secret_in(block, Redactor({})) for block, _ in blocks_of(path))
        # Every byte is handed out once as new.
        assert b"".join(block[before:] for block, before in blocks_of(path)) == path.read_bytes()


def test_paths_of_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    (tmp_path / "disk" / "shards").mkdir(parents=True)
    root.mkdir()
    (root / "data").symlink_to(tmp_path / "disk" / "shards")
    (tmp_path / "cache").mkdir()
    variables = {"CACHE": f"{tmp_path}/cache:{tmp_path}/absent", "PATH": "/usr/bin:/usr/lib", "TOP": "/tmp", "X": "y"}
    assert set(machine_paths(root, variables)) == {
        str(root), str(tmp_path / "disk" / "shards"), str(tmp_path / "cache")
    }  # fmt: skip


def test_whatever_the_environment_holds(tmp_path: Path) -> None:
    """Values that are too long for a path, and folders under two names."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    variables = {"LONG": "/" + "x" * 5000, "LINK": str(tmp_path / "link")}
    found = machine_paths(tmp_path / "repository", variables)
    assert {str(tmp_path / "link"), str(tmp_path / "real")} <= set(found)


def test_a_long_line_is_searched_in_one_go() -> None:
    """Of letters and dots, each of which might begin an address of any length: that would take hours."""
    assert secret_in(b"a." * 500_000, Redactor({})) is None


@pytest.mark.parametrize(
    "text", ['{"path": "%s/x.json"}', "see %s", "(%s)", "file://%s/a", "a=%s:b", '{"text": "in\\n%s"}']
)
@pytest.mark.parametrize("path", ["/srv/trees", "/srv/Daten/grün"])
def test_a_path_is_found_in_every_form(text: str, path: str) -> None:
    for written in (path, json.dumps(path)[1:-1]):
        assert secret_in((text % written).encode(), Redactor({}), (path,)) == "an absolute path of this machine"


@pytest.mark.parametrize(
    "text",
    ['{"python": "/usr/bin/python3"}', '{"route": "/models"}', "https://example.org/home/page", "${PREFIX}/home/user",
     '{"/js/jquery": 4711, "/Users": 4}', '["/a/b", "/c/d"]', '{"path": "../data/rows"}'],
)  # fmt: skip
def test_what_tells_nothing_of_a_machine(text: str) -> None:
    """System folders, addresses, and tokens of a vocabulary."""
    assert secret_in(text.encode(), Redactor({})) is None


@pytest.mark.parametrize("text", ["/srv/trees2", "/srv/trees-old/x", "see /other/srv/trees"])
def test_another_path_is_none_of_ours(text: str) -> None:
    assert secret_in(text.encode(), Redactor({}), ("/srv/trees",)) is None
