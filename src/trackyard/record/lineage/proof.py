"""The proof of a chain: claims compared, files re-hashed. It is proved, or stops at what is wrong or unproved."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.record.lineage.links import Algorithm, Claim, Hashed, Kind, Link


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What `prove` found: a line for each link. hashed, bytes: of files that were read, each of them once."""

    proved: list[str]
    trusted: list[str]
    hashed: int
    bytes: int


def prove(link: Link, *, trust: Collection[Kind] = ()) -> Proof:
    """Prove a link and everything that it was made from, nearest first.

    trust: kinds of which nothing is examined; how their records agree is said, and no file of theirs is read.
    Raises DataError for the first wrong link, for what cannot be proved here, and where no file was hashed at all.
    ValueError for a chain that was built wrongly: a link that states nothing, or two links of one name.
    """
    _require_sound(link)
    hasher, proved, trusted, unproved = _Hasher(), list[str](), list[str](), list[Link]()
    for each in link.walk():
        if each.kind in trust:
            trusted.append(f"{each.name}: {_trusted(each)}")
            continue
        wrong = _first_wrong(each, hasher)
        if wrong is not None:
            raise DataError(
                what=f"link {each.name!r} is wrong: {wrong.what}: expected {wrong.expected}, found {wrong.found}",
                why="from this link on, nothing proves what the result was made from",
                fix=each.fix,
            )
        if each.absent is None:
            proved.append(f"{each.name}: {_counted(each)}")
        else:
            unproved.append(each)
    if unproved:
        kinds = " ".join(dict.fromkeys(f"--trust {each.kind}" for each in unproved))
        raise DataError(
            what=f"stopped: {len(unproved)} of {len(proved) + len(trusted) + len(unproved)} links are unproved: "
            + "; ".join(f"{each.name} ({each.absent})" for each in unproved),
            why="a chain is proved as a whole, or not",
            fix="; ".join(dict.fromkeys(each.fix for each in unproved))
            + f"; or take it on trust: trackyard lineage verify PATH {kinds}",
        )
    if not hasher.digests:
        raise DataError(
            what=f"stopped: no file of the chain of {link.name!r} was hashed",
            why="a chain of which nothing was examined proves nothing",
            fix="run it where the files are, or trust fewer kinds",
        )
    return Proof(proved=proved, trusted=trusted, hashed=len(hasher.digests), bytes=hasher.bytes)


@dataclass(slots=True)
class _Hasher:
    """Digests of files, each of them read once: data of several stages are often the same."""

    digests: dict[tuple[Path, Algorithm], str] = field(default_factory=dict)
    bytes: int = 0

    def of(self, file: Hashed) -> str:
        """The digest that a file has; OSError where it is none, or cannot be read."""
        key = file.path, file.algorithm
        if key not in self.digests:
            if not file.path.is_file():
                raise FileNotFoundError(errno.ENOENT, "no such file", str(file.path))
            self.digests[key] = _digest(file.path, file.algorithm)
            self.bytes += file.path.stat().st_size
        return self.digests[key]


def _digest(path: Path, algorithm: Algorithm) -> str:
    if algorithm == "blake3":
        return digest_file(path)
    with open(path, "rb") as file:
        # DVC's md5 guards against accidents; where md5 is locked for security (FIPS) it is needed all the same.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _first_wrong(link: Link, hasher: _Hasher) -> Claim | None:
    """The first thing of a link that is not as recorded."""
    for claim in link.claims:
        if claim.expected != claim.found:
            return claim
    for file in link.files:
        what = f"{file.algorithm} of {file.path}"
        try:
            found = hasher.of(file)
        except OSError as error:
            return Claim(what=what, expected=file.digest, found=f"none ({error.strerror})")
        if found != file.digest:
            return Claim(what=what, expected=file.digest, found=found)
    return None


def _counted(link: Link) -> str:
    parts = []
    if link.claims:
        parts.append(f"{len(link.claims)} {'record agrees' if len(link.claims) == 1 else 'records agree'}")
    if link.files:
        parts.append(f"{len(link.files)} {'file' if len(link.files) == 1 else 'files'} re-hashed")
    return ", ".join(parts)


def _trusted(link: Link) -> str:
    """What is known of a link without reading a file."""
    wrong = next((claim for claim in link.claims if claim.expected != claim.found), None)
    if link.absent is not None:
        said = link.absent
    elif wrong is not None:
        said = f"{wrong.what}: recorded {wrong.expected}, found {wrong.found}"
    else:
        said = f"its records agree, {len(link.files)} files not read"
    known = link.facts.get("in this checkout")
    return said if known is None else f"{said}; its commit is {'' if known == 'yes' else 'not '}in this checkout"


def _require_sound(link: Link) -> None:
    """ValueError unless every link states something, under a name of its own."""
    by_name: dict[str, Link] = {}
    seen: set[int] = set()
    waiting = [link]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if not each.claims and not each.files and each.absent is None:
            raise ValueError(f"link {each.name!r} has no claim, no file and no reason: it would prove nothing")
        if by_name.setdefault(each.name, each) != each:
            raise ValueError(f"two different links are called {each.name!r}: one of them would not be proved")
        waiting += each.inputs
