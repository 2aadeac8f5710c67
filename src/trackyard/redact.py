"""The one place that removes secrets from what is written (reliability P8, F24).

Three kinds are known: shapes (hub tokens, cloud keys, private keys, user and password in an address), names
("hf_token: …"), and the very values of this process's secret-named environment variables, whatever their shape: plain,
escaped as in JSON and in addresses, and in base64. A secret that is cut in two, or encoded otherwise, is not known.

What leaves a process passes here once: the terminal (`redact_terminal`), logs (`RedactingFormatter`), spools and
through them MLflow (`Redactor`), files that are written whole (`durable.write_atomic`, by `held_by`), and the command
lines of programs (`require_public`). Streams, logs and cards are redacted. Any other file, or a command line, that
would show a secret is refused: altered silently, a document would no longer say what it was written for.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO
from urllib.parse import quote, unquote

from trackyard.errors import ConfigError

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters. A shorter environment value ("true", "1") is no secret, and replacing it would shred ordinary text."""

# Also where an escape stands before it ("\nhf_…", "%3Dhf_…"), whose last letter would make one word of the two. The
# first letters are looked at first, here and below: logs and tokenizers are long.
_SHAPES = re.compile(
    r"""(?=[Aeghnpsx])(?:\b|(?<=\\[nrt])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))(?:
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
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?s:.{,16384}?-----END [A-Z0-9 ]+-----)?")
# To the last @ before the path: a password may hold one.
_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"]+@")
_USER_PASSWORD = re.compile(r"://([^/?#\s@:]*):([^/?#\s]+)@")
_HEADER = re.compile(r"(?i)(?=[ab])(authorization['\"]?\s*[:=]\s*['\"]?\w+\s+|\bbearer\s+(?=\S*\d))[^\s'\"]{8,}")
_QUERY = re.compile(r"(?i)([?&](?:token|sig|key|[\w-]*(?:signature|credential|security-token))=)[^&\s'\"]+")
# A name is secret as a whole word: TOKEN is, TOKENIZERS_PARALLELISM and max_tokens are not.
_SECRET_WORD = (
    r"(?:secret|password|passwd|passphrase|credentials?|signature|api_?key|access_?key|account_?key|private_?key"
    r"|secret_?key|(?:auth|access|hub|hf|api|bearer|session|security|refresh)_token)"
)
_NAMED = rf"(?=[abchprs])(?<![^\W_]){_SECRET_WORD.replace('_', '[_-]')}(?:[_-]id)?"
_ASSIGNED = re.compile(rf"(?i)({_NAMED}\s*[=:]\s*)(?!(?:none|null|true|false)\b)[^\s&;,'\"]{{4,}}")
# As in JSON, in Python, and in JSON within JSON. A number under a quoted name is an entry of a vocabulary.
_QUOTED = re.compile(rf"(?i)({_NAMED}(?:\\?['\"])?\s*[=:]\s*\\?['\"])[^'\"\\\n]{{4,}}")
_SECRET_KEY = re.compile(rf"(?i)(?:^|[._-]){_SECRET_WORD}$|^token$")
# PGPASSWORD and SSHPASS are named so by the programs that read them.
_SECRET_VARIABLE = re.compile(rf"(?i)(?:(?:^|_)(?:{_SECRET_WORD}|token|key_id|pat|pass)|password|^sshpass)$")


def is_secret_name(name: str) -> bool:
    """True where the name of a parameter says that its value is a secret."""
    return bool(_SECRET_KEY.search(name))


def _secrets(environment: Mapping[str, str] | None) -> Iterator[tuple[str, str]]:
    """(variable, secret): values of the secret-named variables, and passwords of addresses in any variable.

    environment: None for that of this process.
    """
    for name, value in (os.environ if environment is None else environment).items():
        if _SECRET_VARIABLE.search(name):
            yield from ((name, form) for form in _forms(value.strip()))
        for user, password in _USER_PASSWORD.findall(value):
            yield from ((name, form) for form in (*_forms(password), *_forms(unquote(password))))
            # As it stands in the header of a request, which some servers repeat.
            header = f"{unquote(user)}:{unquote(password)}".encode(errors="surrogateescape")
            yield name, base64.b64encode(header).decode()


def _forms(secret: str) -> set[str]:
    """What a secret looks like in a text, in JSON, in an address, and in base64; nothing for one that is too short."""
    if len(secret) < SHORTEST:
        return set()
    data = secret.encode(errors="surrogateescape")
    # In base64 the characters depend on how many bytes stand before; those that others have a part in are left out.
    coded = {
        base64.b64encode(b"0" * before + data).decode()[(0, 2, 3)[before] : (before + len(data)) * 4 // 3]
        for before in range(3)
    }
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(data, safe=""),
    } | coded


def held_by(data: bytes, environment: Mapping[str, str] | None = None) -> str | None:
    """The name of an environment variable whose secret stands in `data`; None if there is none."""
    for name, secret in _secrets(environment):
        if secret.encode(errors="surrogateescape") in data:
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
        self._values = tuple(sorted({secret for _, secret in _secrets(environment)}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        text = _SHAPES.sub(REDACTED, text)
        text = _PRIVATE_KEY.sub(REDACTED, text)
        text = _USERINFO.sub(f"{REDACTED}@", text)
        text = _HEADER.sub(rf"\1{REDACTED}", text)
        text = _QUERY.sub(rf"\1{REDACTED}", text)
        text = _QUOTED.sub(rf"\1{REDACTED}", text)
        return _ASSIGNED.sub(rf"\1{REDACTED}", text)

    def holds(self, data: bytes) -> bool:
        """Whether the value of a secret-named variable stands in `data`, which need not be text."""
        return any(value.encode(errors="surrogateescape") in data for value in self._values)

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
