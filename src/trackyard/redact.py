"""The one place that removes secrets from what is written (reliability P8, F24).

Three kinds are known: shapes (hub tokens, cloud keys, user and password in an address), names ("hf_token: …"), and the
very values of this process's secret-named environment variables, whatever their shape.

What leaves a process passes here once: the terminal (`redact_terminal`), logs (`RedactingFormatter`), spools and
through them MLflow (`Redactor`), files that are written whole (`durable.write_atomic`, by `held_by`), and the command
lines of programs (`require_public`). Streams and logs are redacted. A file or a command line that would show a secret
is refused: altered silently, a document would no longer say what it was written for.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO
from urllib.parse import unquote

from trackyard.errors import ConfigError

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
      | xox[abeoprs]-[A-Za-z0-9-]{10,}              # Slack
      | AIza[A-Za-z0-9_-]{35}                       # Google
      | (?:npm|pypi)[_-][A-Za-z0-9_-]{36,}          # package registries
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}   # a signed web token
      | (?:AKIA|ASIA)[A-Z0-9]{16}                   # AWS key id
    )""",
    re.VERBOSE,
)
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_USER_PASSWORD = re.compile(r"://([^/\s@:]*):([^/\s@]+)@")
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


def _secrets(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Values of the secret-named variables, and passwords of addresses in any variable, by the variable's name.

    environment: None for that of this process.
    """
    environment = os.environ if environment is None else environment
    found = {name: value for name, value in environment.items() if _SECRET_VARIABLE.search(name)}
    for name, value in environment.items():
        for user, password in _USER_PASSWORD.findall(value):
            found.setdefault(name, password)
            found.setdefault(f"{name}, decoded", unquote(password))
            # As it stands in the header of a request, which some servers repeat.
            header = f"{unquote(user)}:{unquote(password)}".encode()
            found.setdefault(f"{name}, as a header", base64.b64encode(header).decode())
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def held_by(data: bytes, environment: Mapping[str, str] | None = None) -> str | None:
    """The name of a secret-named environment variable whose value stands in `data`; None if there is none."""
    for name, value in _secrets(environment).items():
        if value.encode() in data:
            return name
    return None


def require_public(argv: Sequence[str], *, fix: str) -> None:
    """ConfigError if a command line holds a secret: every user of the machine reads it in the list of processes."""
    redactor = Redactor()
    for number, argument in enumerate(argv):
        if redactor.text(argument) != argument:
            raise ConfigError(
                what=f"argument {number} of the command line holds a secret: {redactor.text(argument)}",
                why="command lines are shown to every user of the machine, and shells keep them",
                fix=fix,
            )


class Redactor:
    """Replaces secrets by "[redacted]". The environment is read once, when the redactor is made."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        # The longest first: one secret may contain another.
        self._values = tuple(sorted(set(_secrets(environment).values()), key=len, reverse=True))

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


class RedactingFormatter(logging.Formatter):
    """What a log is given, exceptions included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return Redactor().text(super().format(record))


class _RedactedStream:
    """A text stream, in front of which secrets are removed from whatever is written at once."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream, self._redactor = stream, redactor

    def write(self, text: str) -> int:
        self._stream.write(self._redactor.text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redact_terminal() -> None:
    """From here on this process prints no secret: neither in its own words nor in a traceback."""
    redactor = Redactor()
    if not isinstance(sys.stdout, _RedactedStream):
        sys.stdout = _RedactedStream(sys.stdout, redactor)
        sys.stderr = _RedactedStream(sys.stderr, redactor)
