"""Files of tensors: readable by the library of the format, proved by their digest, whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from trackyard.digest import digest_file
from trackyard.errors import CheckpointError
from trackyard.train import tensor_file
from trackyard.train.tensor_file import DTYPES, read_tensor_file, require_names, tensor_file_of

SHAPE = st.lists(st.integers(0, 5), max_size=3).map(tuple)
CONTENT = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name[0] != "_"),
    st.tuples(st.sampled_from(sorted(DTYPES)), SHAPE),
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(CONTENT)
def test_what_is_written_is_what_the_library_and_we_read(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, tuple[str, tuple[int, ...]]]
) -> None:
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    tensors = {name: torch.randint(0, 2, shape).to(DTYPES[dtype]) for name, (dtype, shape) in content.items()}
    written = tensor_file_of(path, tensors)
    assert written.blake3 == digest_file(path)
    assert written.size == path.stat().st_size
    for found in (load_file(path), read_tensor_file(path, expected=written.blake3, fix="")):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        assert all(found[name].dtype == tensor.dtype for name, tensor in tensors.items())


@pytest.mark.parametrize("refused", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_direct_writes_gets_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    tensors = {"w": torch.arange(5000.0)}
    direct = tensor_file_of(tmp_path / "direct", tensors)
    real, tried = os.open, []

    def plain_only(path: Path, flags: int, *rest: int) -> int:
        tried.append(bool(flags & os.O_DIRECT))
        if flags & os.O_DIRECT:
            raise OSError(refused, "not here")
        return real(path, flags, *rest)

    monkeypatch.setattr(tensor_file.os, "open", plain_only)
    assert tensor_file_of(tmp_path / "plain", tensors) == direct
    assert tried == [True, False]
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "direct").read_bytes()


def test_a_failing_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        tensor_file_of(tmp_path / "x", {"w": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    tensor_file_of(tmp_path / "x", {"w": torch.zeros(3)})
    with pytest.raises(FileExistsError):
        tensor_file_of(tmp_path / "x", {"w": torch.ones(3)})


def test_a_link_is_not_read(tmp_path: Path) -> None:
    written = tensor_file_of(tmp_path / "x", {"w": torch.zeros(3)})
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(CheckpointError, match="leads out of the checkpoint") as caught:
        read_tensor_file(tmp_path / "link", expected=written.blake3, fix="remove it")
    assert caught.value.fix == "remove it"


def test_names() -> None:
    require_names(["a", "b.c"], ["a", "b.c"], where="x")
    require_names(["a", "b.c"], ["a"], allow_missing=("b.",), where="x")
    require_names(["a", "b.c"], ["b.c"], allow_missing=("a",), where="x")
    with pytest.raises(CheckpointError, match=r"x: lacks b\.c"):
        require_names(["a", "b.c"], ["a"], allow_missing=("b", "c", "."), where="x")
    with pytest.raises(CheckpointError, match=r"lacks a; holds what the model does not have: e, f, g, h, i and 1 more"):
        require_names(["a"], list("efghij"), allow_missing=("e",), where="x")
