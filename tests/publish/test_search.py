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


@pytest.mark.parametrize("text", ['{"path": "%s/x.json"}', "see %s", "(%s)", "file://%s/a", "a=%s:b"])
@pytest.mark.parametrize("path", ["/srv/trees", "/srv/Daten/grün"])
def test_a_path_is_found_in_every_form(text: str, path: str) -> None:
    for written in (path, json.dumps(path)[1:-1]):
        assert secret_in((text % written).encode(), Redactor({}), (path,)) == "an absolute path of this machine"


@pytest.mark.parametrize("text", ["/srv/trees2", "/srv/trees-old/x", "see /other/srv/trees"])
def test_another_path_is_none_of_ours(text: str) -> None:
    assert secret_in(text.encode(), Redactor({}), ("/srv/trees",)) is None
