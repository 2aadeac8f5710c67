"""An apptainer that keeps labels and packages in a dictionary: a Runner for tests that build nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from trackyard.runner import Finished, SystemRunner

LABELS = {
    "org.opencontainers.image.title": "trackyard-small",
    "org.opencontainers.image.version": "1",
    "org.opencontainers.image.revision": "REVISION",
    "org.opencontainers.image.source": "nowhere",
    "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
    "org.opencontainers.image.licenses": "none",
    "org.opencontainers.image.base.name": "debian",
    "org.opencontainers.image.base.digest": "sha256:" + "b" * 64,
    "org.trackyard.lock": "LOCK_SHA256",
    "org.trackyard.cuda": "13.0",
    "org.trackyard.driver": "580",
}
"""REVISION and LOCK_SHA256 stand for the build arguments of those names."""
INSIDE = {
    "apt": [["libc6", "2.36-9+deb12u1", "amd64"], ["zlib1g", "1:1.2.13", "amd64"]],
    "pip": [["Tiny_Thing", "1.0+cpu"], ["pip", "24.0"]],
    "distribution": "debian", "release": "12", "python": "3.11.2",
}  # fmt: skip


class FakeApptainer:
    """calls: every command line. labels, inside: what images say; build_code, test_code: exit codes.

    Every image is the bytes that were made for it, so that digests are real. git is the real one.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], dict[str, str]]] = []
        self.labels = dict(LABELS)
        self.inside: dict[str, Any] = dict(INSIDE)
        self.build_code = self.test_code = 0
        self.content = b"image"

    def run(
        self, argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:  # fmt: skip
        self.calls.append((tuple(argv), dict(env or {})))
        words = list(argv)
        if words[0] == "git":
            return SystemRunner().run(argv, cwd=cwd, env=env, timeout_s=timeout_s)
        if words[0] == "sh":
            return self._build(words[4], words[5:])
        if words[1:] == ["--version"]:
            return finished(argv, "apptainer version 1.4.5\n")
        if "inspect" in words:
            return finished(argv, json.dumps({"data": {"attributes": {"labels": self.labels}}}))
        if "exec" in words:
            return finished(argv, json.dumps(self.inside))
        if "test" in words:
            return finished(argv, "", self.test_code, "an import failed")
        if "wheel" in words:
            Path(words[words.index("--wheel-dir") + 1], "tiny-1.0-py3-none-any.whl").write_bytes(b"wheel")
            return finished(argv, "")
        raise AssertionError(f"unexpected: {words}")

    def _build(self, log: str, words: list[str]) -> Finished:
        given = dict(word.split("=", 1) for before, word in pairwise(words) if before == "--build-arg")
        self.labels = {name: given.get(value, value) for name, value in self.labels.items()}
        Path(log).write_text("what the build said")
        if self.build_code == 0:
            Path(words[-2]).write_bytes(self.content)
        return finished(words, "", self.build_code)

    def built(self) -> tuple[list[str], dict[str, str]]:
        """Words and environment of the one `apptainer build`."""
        ((words, env),) = [(list(argv[5:]), env) for argv, env in self.calls if argv[0] == "sh"]
        return words, env


def finished(argv: Sequence[str], out: str, code: int = 0, err: str = "") -> Finished:
    return Finished(argv=tuple(argv), exit_code=code, stdout=out, stderr=err, seconds=0.0)
