"""Headless Chromium for tests: it opens pages, says what they show, and which requests they made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

_SCROLL = """
for (const box of document.querySelectorAll("div")) {
  const end = box.scrollHeight - box.clientHeight;
  if (end > 20 && ["auto", "scroll"].includes(getComputedStyle(box).overflowY))
    box.scrollTop = box.scrollTop >= end - 1 ? 0 : box.scrollTop + box.clientHeight / 2;
}
"""
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


LONGEST_S = 240.0
"""That a page may take to show something, on a machine with other work."""


@contextmanager
def chromium(profile: Path, *, width: int = 1600, height: int = 1000) -> Iterator[Any]:
    """A driver that keeps the logs of console and network. Without one the test is skipped, naming the packages."""
    binary, driver_binary = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver_binary is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_binary))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(driver: Any, address: str | None, words: Sequence[str]) -> str:
    """Everything that the page has shown until it had shown all words. address: None for the page that is open.

    Long tables hold only the rows in view, and are scrolled through.
    """
    if address is not None:
        driver.get(address)
    seen: list[str] = []
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        seen.append(driver.execute_script("return document.body.innerText"))
        if all(any(word in text for text in seen) for word in words):
            return "\n".join(seen)
        driver.execute_script(_SCROLL)
        time.sleep(0.5)
    missing = [word for word in words if not any(word in text for text in seen)]
    pytest.fail(f"{address or driver.current_url} does not show {missing}; it shows:\n{seen[-1][:3000]}")


def requested(driver: Any) -> list[str]:
    """Addresses that were asked for since the last call, whatever came of it. Emptied by reading."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def leaving(addresses: Sequence[str]) -> list[str]:
    """Those of another machine."""
    return [
        address
        for address in addresses
        if urlsplit(address).scheme in ("http", "https", "ws", "wss", "ftp")
        and urlsplit(address).hostname not in ("127.0.0.1", "localhost")
    ]
