"""Targets that are limits, in the form of `harness.judge`: how far inside the limit what was found lies."""

from __future__ import annotations

from typing import Any


def at_least(name: str, limit: float, found: float) -> dict[str, Any]:
    """A verdict: reached from `limit` upwards."""
    return _verdict(name, found / limit, limit, found)


def at_most(name: str, limit: float, found: float) -> dict[str, Any]:
    """A verdict: reached from `limit` downwards."""
    return _verdict(name, limit / found if found else float(limit), limit, found)


def _verdict(name: str, ratio: float, limit: float, found: float) -> dict[str, Any]:
    verdict = "reached" if ratio >= 1 else "missed"
    return {"peer": name, "target": 1.0, "ratio": ratio, "limit": limit, "found": found, "verdict": verdict}
