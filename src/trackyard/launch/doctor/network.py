"""Whether the internet is there, and whether it should be. Source: hpc spec sections 7 and 10."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.bounded import within
from trackyard.launch.preflight import Seen, Skipped, Warned

PROBE_S = 3.0
HUB = "https://huggingface.co"
_TRUE = frozenset(("1", "true", "yes", "on"))


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether the hub's own variable forbids the network."""
    return environment.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def network_row(asked: Asked) -> Seen:
    """Asks the hub's address, which the user may have set; inside a job the site says what is expected."""
    address = asked.environment.get("HF_ENDPOINT") or HUB
    partition = asked.environment.get("SLURM_JOB_PARTITION", "")
    stated = partition in asked.site.partitions
    in_jobs = asked.site.reaches_network(partition) if stated else asked.site.compute_has_network
    expected = in_jobs if asked.in_job else True
    # Of its partition, where the site's file knows that one.
    key, of = ("has_network", f" (partition {partition})") if stated else ("compute_has_network", "")
    if is_offline(asked.environment):
        raise Skipped("HF_HUB_OFFLINE is set: nothing is asked")
    try:
        detail = within(PROBE_S, lambda: ask(address), what=address, why="", fix="")
    except EnvironmentLacking as error:
        if not expected:
            return Seen(detail=f"no network in a job, as {asked.site_file} says", examined=1)
        if asked.in_job:
            raise EnvironmentLacking(
                what=error.what,
                why=f"{asked.site_file} says {key}: true{of}, and jobs rely on it",
                fix=f"write {key}: false{of} into {asked.site_file}; fetch on a login node",
            ) from error
        raise Warned(
            what=error.what,
            why="data and models cannot be fetched from here; what is here already works without a network",
            fix="export HTTPS_PROXY=<proxy> or HF_ENDPOINT=<mirror>, or fetch on another machine",
        ) from error
    if not expected:
        raise Warned(
            what=f"{detail} from inside a job, and {asked.site_file} says that jobs have no network",
            why="runs stay offline all the same, and fetching takes the slower way round",
            fix=f"write {key}: true{of} into {asked.site_file}",
        )
    return Seen(detail=detail, examined=1)


def ask(address: str) -> str:
    """Any answer of a server counts; EnvironmentLacking otherwise. Proxies of the environment are used."""
    host = address
    try:
        host = urlsplit(address).hostname or address
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S):
            return f"{host} answers"
    except urllib.error.HTTPError as error:
        if error.code in (407, 502, 503, 504):
            raise _silent(host, f"HTTP {error.code} {error.reason}, as a proxy says it") from error
        return f"{host} answers"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _silent(host, f"its certificate is not trusted ({reason.verify_message}): SSL_CERT_FILE") from error
        raise _silent(host, str(reason)) from error


def _silent(host: str, reason: str) -> EnvironmentLacking:
    return EnvironmentLacking(what=f"{host} does not answer: {reason}", why="", fix="")
