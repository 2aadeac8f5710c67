"""What MLflow takes as a name and as a text, and what stands there for one that it would refuse or cut."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from trackyard.digest import digest_bytes, short

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_KEY = 250
LONGEST_DIGEST = 36
# Source: limits of mlflow.utils.validation 3.17; longer params and tags are cut silently there, longer keys refused.

_KEY = re.compile(r"[A-Za-z0-9_\-. :/]+")


def store_key(name: str) -> str:
    """`name` where MLflow takes it as a key, else a name that it takes and that no other name is given."""
    normal = posixpath.normpath(name)
    fits = normal == name and normal != "." and not normal.startswith(("..", "/")) and len(name) <= LONGEST_KEY
    if fits and _KEY.fullmatch(name):
        return name
    mark = short(digest_bytes(name.encode()))
    plain = re.sub(r"[^A-Za-z0-9_\-]+", "_", name).strip("_")
    return f"{plain[:200]}-{mark}" if plain else mark


def store_texts(values: Mapping[str, str], longest: int) -> dict[str, str]:
    """Keys and values that MLflow stores whole; a longer text, which the run directory has, is named by its digest."""

    def short_enough(value: str) -> str:
        if len(value) <= longest:
            return value
        return f"{len(value)} characters, blake3 {digest_bytes(value.encode())}: see spec.json or spool/ of the run"

    return {store_key(key): short_enough(value) for key, value in values.items()}


def tag_filter(tags: Mapping[str, str]) -> str:
    """The search for runs that carry all of `tags`; of their values as `plain_text` leaves them."""
    return " and ".join(f"tags.`{key}` = '{plain_text(value)}'" for key, value in tags.items())


def plain_text(value: str) -> str:
    """`value` without what ends a text in a search of MLflow."""
    return value.replace("'", "’").replace("\\", "/")
