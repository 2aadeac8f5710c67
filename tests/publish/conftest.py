"""A hub on loopback, and the token for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.publish.hub_server import SECRET, Hub, serving
from trackyard.publish.upload import TOKEN


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv(TOKEN, SECRET)
    # hf-xet, which would be used beside the hub, has a service of its own.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serving() as hub:
        yield hub
