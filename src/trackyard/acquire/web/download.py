"""One large file by URL: resumed where it broke off, and under its name only when size and digest are right.

    download_file("https://example.org/a.tar", Path("raw/a.tar"), expected_bytes=None, sha256="9f86…", policy=policy)

Source: reliability section 6, F1, F3, F10, F14, F24.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.web.addresses import AddressPolicy, AddressRefused, check_literal, check_url
from trackyard.acquire.web.failures import Problem, shown
from trackyard.acquire.web.partial import Expected, Partial
from trackyard.acquire.web.transfer import PASSING, Transfer
from trackyard.acquire.web.transfer import DownloadLimits as DownloadLimits
from trackyard.digest import digest_bytes
from trackyard.durable import TEMPORARY
from trackyard.errors import ConfigError, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.redact import Redactor


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloaded:
    """A complete file. sha256: of its bytes. resumed_from: bytes that lay there already; all of them if it was."""

    path: Path
    bytes: int
    sha256: str
    resumed_from: int


def download_file(
    url: str,
    target: Path,
    *,
    expected_bytes: int | None,
    sha256: str | None,
    policy: AddressPolicy,
    on_bytes: Callable[[int], None] | None = None,
    limits: DownloadLimits | None = None,
    headers: Mapping[str, str] | None = None,
) -> Downloaded:
    """Bring `url` to `target`, or find it there. Synchronous; not to be called from a running event loop.

    on_bytes: called with the number of bytes that have just arrived. headers: for the origin of `url` only; a redirect
    to another one does not get them.
    Raises ConfigError for a URL that may not be fetched, DataError for bytes that are not the expected ones (they are
    removed), EnvironmentLacking if the disk is full, TrackyardError if the server fails for good or another process
    downloads the same file. After all but a DataError the same call goes on where this one stopped.
    """
    redactor = Redactor()
    try:
        source = check_url(url)
        check_literal(source, policy)
    except AddressRefused as refused:
        raise ConfigError(
            what=f"the address of {target.name} is refused: {redactor.text(refused.detail)}",
            why="data are fetched over http or https from public addresses only",
            fix="correct the address in the catalogue entry",
        ) from None
    expected = Expected(name=shown(source, redactor), bytes=expected_bytes, sha256=sha256)
    lock = target.with_name(f"{TEMPORARY}{target.name}.lock")
    with exclusive(lock, what=str(target), why="two downloads would mix their bytes in one file"):
        done = _already_there(target, expected)
        if done is None:
            # A query may be a signature that is new each time; the validator tells two files of one path apart.
            address = digest_bytes(str(source.with_query(None).with_fragment(None)).encode())
            partial = Partial(target, address, expected)
            try:
                if not partial.whole:
                    partial.need(expected_bytes)
                    transfer = Transfer(
                        source, partial, policy, limits or DownloadLimits(), headers=headers or {}, on_bytes=on_bytes
                    )
                    _run(transfer, partial, redactor)
                partial.finish()
            finally:
                partial.close()
            done = Downloaded(
                path=target, bytes=partial.offset, sha256=partial.sha256, resumed_from=partial.resumed_from
            )
        # Whoever opened this lock file before it goes finds the complete target, so nobody writes under a lost lock.
        lock.unlink(missing_ok=True)
        return done


def _already_there(target: Path, expected: Expected) -> Downloaded | None:
    """The complete file of an earlier call; None if there is none, or another one, which is replaced in the end."""
    if not target.is_file() or expected.bytes not in (None, target.stat().st_size):
        return None
    with open(target, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if expected.sha256 is not None and found != expected.sha256.lower():
        return None
    size = target.stat().st_size
    return Downloaded(path=target, bytes=size, sha256=found, resumed_from=size)


def _run(transfer: Transfer, partial: Partial, redactor: Redactor) -> None:
    """TrackyardError once the transfer is given up."""
    try:
        asyncio.run(transfer.run())
    except Problem as problem:
        detail = redactor.text(problem.detail)
        if problem.cause in PASSING:
            why = "the server, or the way to it, fails"
            fix = f"run the same command again later: it goes on at byte {partial.offset:,}"
        elif problem.cause == "http_403" or problem.detail == "HTTP 401":
            why = "the server gives this file only to those who have access"
            fix = "accept the terms of the data set with your account, log in, and run the same command again"
        else:
            why = "another attempt would end in the same way"
            fix = "check the address in the catalogue entry"
        # The chain is cut: errors of aiohttp repeat the URL with whatever it carries.
        raise TrackyardError(
            what=f"{partial.expected.name} was not downloaded: {problem.cause}: {detail}", why=why, fix=fix
        ) from None
