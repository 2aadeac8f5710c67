"""Which image a process is in is what the environment says."""

from __future__ import annotations

import pytest

from trackyard.record.image import IMAGE_VARIABLE, image_digest


def test_the_digest_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IMAGE_VARIABLE, raising=False)
    assert image_digest() is None
    monkeypatch.setenv(IMAGE_VARIABLE, "sha256:1")
    assert image_digest() == "sha256:1"
