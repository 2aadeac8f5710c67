"""What a failed request to the hub means: whether another attempt may help, and which three-part error it becomes.

The texts are composed here from the status and the repository. Messages of the server and of huggingface_hub are left
out, and so are causes: they may repeat a token or a signed address (reliability F24).
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from trackyard.acquire.hub.files import HubAddress
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError

T = TypeVar("T")

HUB_FAILURES = (httpx2.HTTPError, OSError, RuntimeError, XetDownloadError)
"""Everything that huggingface_hub raises for a failed transfer; RuntimeError comes from hf-xet."""

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
LOGIN = "hf auth login"


_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a failure is borne that may pass: 429, 5xx, stalls, broken connections.

    tries: attempts at one request; first_s: wait after the first, doubled each time up to longest_s, then shortened at
    random by up to half, so that many jobs do not return together; timeout_s: of one request for a list.
    A `Retry-After` is honoured up to longest_asked_s (the hub's windows last 300 s); beyond it the failure is final.
    """

    tries: int = 6
    first_s: float = 1.0
    longest_s: float = 60.0
    longest_asked_s: float = 900.0
    timeout_s: float = 30.0

    def wait_s(self, attempt: int, asked_s: float | None) -> float | None:
        """Seconds before the next attempt; None if there is none. attempt: number of the one that failed, from 1."""
        if attempt >= self.tries or (asked_s is not None and asked_s > self.longest_asked_s):
            return None
        jitter = random.uniform(0.5, 1.0)
        if asked_s is not None:
            return asked_s + jitter
        return min(self.longest_s, self.first_s * 2.0 ** (attempt - 1)) * jitter


def patiently(call: Callable[[], T], patience: Patience, *, stop: Event, first_contact: bool = False) -> T:
    """Call until it succeeds, fails for good, or patience ends; the last failure is raised as it is.

    stop: ends the waiting. first_contact: a refused connection is final, since nothing has answered there yet.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except HUB_FAILURES as error:
            if not is_transient(error) or (first_contact and isinstance(_root(error), httpx2.ConnectError)):
                raise
            wait = patience.wait_s(attempt, _asked_s(error))
            if wait is None or stop.wait(wait):
                raise


def _root(error: BaseException) -> BaseException:
    """huggingface_hub wraps a failed first request in "not in the cache either"."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_transient(error: BaseException) -> bool:
    """True where the same request may succeed later."""
    error = _root(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TRANSIENT_STATUS
    if isinstance(error, OfflineModeIsEnabled | FileMetadataError):
        return False
    if isinstance(
        error,
        httpx2.TimeoutException | httpx2.NetworkError | httpx2.RemoteProtocolError | ConnectionError | TimeoutError,
    ):
        return True
    # Of another size than announced is a plain OSError without a number in huggingface_hub.
    short = type(error) is OSError and error.errno is None
    return short or type(error) is RuntimeError or isinstance(error, XetDownloadError)


def _asked_s(error: BaseException) -> float | None:
    error = _root(error)
    if not isinstance(error, HfHubHTTPError):
        return None
    limit = parse_ratelimit_headers(error.response.headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    asked = error.response.headers.get("Retry-After", "").strip()
    return float(asked) if asked.isdigit() else None


def refuse_offline() -> None:
    """EnvironmentLacking where the hub must not be asked."""
    named = [name for name in OFFLINE_VARIABLES if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    if named or constants.is_offline_mode():
        name = named[0] if named else OFFLINE_VARIABLES[0]
        raise EnvironmentLacking(
            what=f"{name} is set: the hub must not be asked",
            why="files are missing here that only the hub has",
            fix=f"unset {name} and run the command again where there is a network (a login or transfer node)",
        )


def no_hub(address: HubAddress, found: str) -> EnvironmentLacking:
    """The error for an address that answers, but not as a hub does."""
    return EnvironmentLacking(
        what=f"{address.endpoint} answers with {found}",
        why="it does not speak the hub's protocol, so nothing from there can be proved",
        fix="correct HF_ENDPOINT or unset it, or look for a proxy that answers in its place",
    )


def as_refusal(error: BaseException, address: HubAddress, *, asked_for: str) -> TrackyardError:
    """The error to raise for a failure that patience did not cure. asked_for: what the request was about."""
    error = _root(error)
    if isinstance(error, OfflineModeIsEnabled):
        return EnvironmentLacking(
            what="the hub client is offline", why=f"{asked_for} is only on the hub", fix="unset HF_HUB_OFFLINE"
        )
    if isinstance(error, HfHubHTTPError):
        return _of_status(error, address, asked_for)
    if isinstance(error, FileMetadataError):
        return no_hub(address, f"{asked_for} without commit or ETag")
    if isinstance(error, httpx2.ConnectError):
        return EnvironmentLacking(
            what=f"no connection to {address.endpoint} for {asked_for}",
            why="refused, or the name is unknown, or the network has no way there (compute nodes have none)",
            fix="correct HF_ENDPOINT or unset it, and run the command on a login or transfer node",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return EnvironmentLacking(
            what=f"the hub cache takes no more files: {os.strerror(error.errno)}",
            why=f"{asked_for} must be written there",
            fix="make room, or name another place by HF_HUB_CACHE; what has come stays and is not fetched again",
        )
    return TrackyardError(
        what=f"{asked_for} of {address.repo} did not come: {type(error).__name__}",
        why="the connection to the hub broke or stood still, again after every wait",
        fix="run the same command again: what has come is not fetched again",
    )


def _of_status(error: HfHubHTTPError, address: HubAddress, asked_for: str) -> TrackyardError:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return EnvironmentLacking(
            what=f"{address.repo} is gated, and this login may not read it (HTTP {status})",
            why="its owner hands it out only to those who accepted its terms",
            fix=f"visit {address.page} and accept the terms there, then run `{LOGIN}` with a token of that account",
        )
    if isinstance(error, RevisionNotFoundError):
        return ConfigError(
            what=f"{address.repo} has no revision {address.revision}",
            why="the commit was removed or belongs to another repository; other data under its name would be a lie",
            fix=f"look at {address.page}/commits/main, then correct `revision` of the entry in catalog/",
        )
    if status == 401 and "Invalid credentials" in error.response.headers.get("X-Error-Message", ""):
        return EnvironmentLacking(
            what=f"{address.endpoint} refuses the token of this login (HTTP 401)",
            why="it is wrong, was revoked, or has expired",
            fix=f"run `{LOGIN}`, or correct HF_TOKEN",
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return ConfigError(
            what=f"{address.endpoint} knows no {address.kind} {address.repo!r} (HTTP {status})",
            why="it was renamed or removed, or it is private and this login may not see it",
            fix=f"look at {address.page}; correct `repo` of the entry in catalog/, or run `{LOGIN}` if it is private",
        )
    if status == 403:
        return EnvironmentLacking(
            what=f"{address.endpoint} refuses {asked_for} of {address.repo} (HTTP 403)",
            why="the token of this login has not the right to read it",
            fix=f"run `{LOGIN}` with a token that may read repositories",
        )
    if status == 404 and "X-Error-Code" not in error.response.headers:
        return no_hub(address, "HTTP 404 without the hub's headers")
    if status == 404:
        return DataError(
            what=f"{address.endpoint} does not have {asked_for} of {address.repo} (HTTP 404)",
            why="its own list names it, so the repository is damaged, or the address is no hub",
            fix=f"look at {address.page}, and correct HF_ENDPOINT or the entry in catalog/",
        )
    asked = _asked_s(error)
    return TrackyardError(
        what=f"{address.endpoint} answers HTTP {status} for {asked_for} of {address.repo}",
        why="too many requests from here" if status == 429 else "the hub is disturbed, and waiting did not help",
        fix=f"run the same command {f'in {asked:.0f} s' if asked else 'later'}: what has come is not fetched again",
    )
