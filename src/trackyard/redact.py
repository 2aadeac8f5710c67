"""The one place that removes secrets from what is written (reliability P8, F24).

Three kinds are known: shapes (hub tokens, cloud keys, user and password in an address), names ("hf_token: …"), and the
very values of this process's secret-named environment variables, whatever their shape.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters. A shorter environment value ("true", "1") is no secret, and replacing it would shred ordinary text."""

_SHAPES = re.compile(
    r"""\b(?:
        hf_[A-Za-z0-9]{16,}                         # Hugging Face hub
      | gh[pousr]_[A-Za-z0-9]{20,}                  # GitHub
      | github_pat_[A-Za-z0-9_]{20,}
      | glpat-[A-Za-z0-9_-]{16,}                    # GitLab
      | sk-[A-Za-z0-9_-]{20,}
      | (?:AKIA|ASIA)[A-Z0-9]{16}                   # AWS key id
    )""",
    re.VERBOSE,
)
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_HEADER = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?\w+\s+|\bbearer\s+(?=\S*\d))[^\s'\"]{8,}")
_QUERY = re.compile(r"(?i)([?&](?:token|sig|key|[\w-]*(?:signature|credential|security-token))=)[^&\s'\"]+")
# A name is secret as a whole word: TOKEN is, TOKENIZERS_PARALLELISM and max_tokens are not.
_SECRET_WORD = (
    r"(?:secret|password|passwd|credentials?|signature|api_?key|access_?key|private_?key|secret_?key"
    r"|(?:auth|access|hub|hf|api|bearer|session|security|refresh)_token)"
)
_ASSIGNED = re.compile(rf"(?i)((?:\b|[_-]){_SECRET_WORD.replace('_', '[_-]')}(?:[_-]id)?\s*[=:]\s*)[^\s&;,'\"]{{4,}}")
_SECRET_KEY = re.compile(rf"(?i)(?:^|[._-]){_SECRET_WORD}$|^token$")
_SECRET_VARIABLE = re.compile(rf"(?i)(?:^|_)(?:{_SECRET_WORD}|token|key_id|pat)$")


def is_secret_name(name: str) -> bool:
    """True where the name of a parameter says that its value is a secret."""
    return bool(_SECRET_KEY.search(name))


class Redactor:
    """Replaces secrets by "[redacted]". The environment is read once, when the redactor is made."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        values = {
            value for name, value in environment.items() if _SECRET_VARIABLE.search(name) and len(value) >= SHORTEST
        }
        # The longest first: one secret may contain another.
        self._values = tuple(sorted(values, key=len, reverse=True))

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        text = _SHAPES.sub(REDACTED, text)
        text = _USERINFO.sub(f"{REDACTED}@", text)
        text = _HEADER.sub(rf"\1{REDACTED}", text)
        text = _QUERY.sub(rf"\1{REDACTED}", text)
        return _ASSIGNED.sub(rf"\1{REDACTED}", text)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets: every text in it, keys too, and texts under secret-named keys as a whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): REDACTED if isinstance(item, str) and item and is_secret_name(str(key))
                else self.value(item)
                for key, item in value.items()
            }  # fmt: skip
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value
