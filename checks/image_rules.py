"""What holds of every command in an image definition, whichever kind it is (hpc spec sections 1.2 and 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trackyard.launch.image.describing import LABELS

LOCK = "requirements.lock"
DIGEST = re.compile(r"\S+:[\w.-]+@sha256:[0-9a-f]{64}$")
"""Of a base: a name and a tag for people, a digest for the build."""
_HOST = re.compile(r"(?:\w+://|(?<![\w.@/-])(?:[a-z0-9-]+\.)+(?:com|org|net|io|ai|gov|edu)(?=[/:\s]|$))", re.IGNORECASE)
_LABEL = re.compile(r"^org\.\w[\w.]*$")
"""Names of labels look like hosts."""
_SECRET = re.compile(r"(?i)(?:token|passw|secret|api_?key|credential|netrc)")
_REQUIREMENT = re.compile(r"--requirement=(\S+)")


def commands(text: str) -> list[str]:
    """Each on one line, without comments."""
    lines = (line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def told(text: str, where: str) -> Iterator[str]:
    """Hosts of the network and secrets, neither of which belongs into an image."""
    for line in commands(text):
        if _HOST.search(" ".join(word for word in line.split() if not _LABEL.match(word.partition("=")[0]))):
            yield f"{where} names a host: {line}"
        if _SECRET.search(line):
            yield f"{where} speaks of a secret: {line}"


def lacking(labels: dict[str, str]) -> Iterator[str]:
    """Labels without which an image does not say what it is."""
    yield from (f"label {key} is absent or empty" for key in LABELS if not labels.get(key))


def proves_lock(text: str) -> bool:
    """Whether the lock that is installed is compared with the one that the label names."""
    return any("LOCK_SHA256" in line and "sha256sum --check" in line for line in commands(text))


def apt_packages(text: str) -> list[str]:
    """What `apt-get install` installs."""
    found = re.findall(r"apt-get install ([^&|;\n]+)", "\n".join(commands(text)))
    return sorted({word for words in found for word in words.split() if not word.startswith("-")})


def pip_requirements(text: str) -> list[str]:
    """Names of the files that pip installs from, however each kind writes their paths."""
    found = (name.strip('"') for line in commands(text) for name in _REQUIREMENT.findall(line))
    return sorted({LOCK if name == "$lock" else name.rpartition("/")[2] for name in found})


def operations(text: str) -> list[str]:
    """Of DeepSpeed, that are compiled."""
    return sorted(set(re.findall(r"DS_BUILD_\w+=\w+", text)))


def proof(text: str) -> list[str]:
    """What prove.py is asked to prove: the lock, the kind of image, its CUDA."""
    found = re.findall(r"prove\.py ([^&|;\n]+)", "\n".join(commands(text)))
    return [word.rpartition("/")[2] for words in found for word in words.split()]
