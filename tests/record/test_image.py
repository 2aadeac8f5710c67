"""Which image a process is in is what the environment says, if that is a digest."""

from __future__ import annotations

import pytest

from trackyard.errors import ConfigError
from trackyard.record.image import IMAGE_VARIABLE, image_digest

DIGEST = "sha256:" + "1" * 64


def test_the_digest_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IMAGE_VARIABLE, raising=False)
    assert image_digest() is None
    monkeypatch.setenv(IMAGE_VARIABLE, DIGEST)
    assert image_digest() == DIGEST
    assert image_digest({IMAGE_VARIABLE: ""}) is None


@pytest.mark.parametrize("value", ["1" * 64, "sha256:1", DIGEST.upper(), "latest", f"{DIGEST}0", f"{DIGEST}\n"])
def test_what_is_no_digest_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=IMAGE_VARIABLE) as raised:
        image_digest({IMAGE_VARIABLE: value})
    assert raised.value.fix.startswith(f"unset {IMAGE_VARIABLE}")
