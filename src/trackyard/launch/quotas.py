"""What the file systems of a site are to hold, against their quotas of bytes and files (pains 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.errors import ConfigError
from trackyard.launch.sites import FOLDER, Held, Site, Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """One thing that lies on a file system. bytes, files: None where nobody knows them beforehand.

    unknown: parts of it whose size nobody states, so that it is at least so large.
    """

    name: str
    held: Held
    bytes: int | None
    files: int | None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """One file system with all that is to lie there. bytes and files: of what is known."""

    name: str
    storage: Storage
    holdings: tuple[Holding, ...]

    @property
    def bytes(self) -> int:
        return sum(one.bytes or 0 for one in self.holdings)

    @property
    def files(self) -> int:
        return sum(one.files or 0 for one in self.holdings)

    @property
    def problems(self) -> tuple[str, ...]:
        """What overflows; none if all that is known fits."""
        quota = self.storage.quota_tb
        found = []
        if quota is not None and self.bytes > quota * 1e12:
            found.append(f"{self.bytes / 1e12:,.2f} TB are needed, the quota is {quota:g} TB")
        if self.storage.max_files is not None and self.files > self.storage.max_files:
            found.append(f"{self.files:,} files are needed, the quota is {self.storage.max_files:,}")
        return tuple(found)


def filled(site: Site, holdings: Sequence[Holding]) -> tuple[Filled, ...]:
    """Each file system of the site with what it is to hold; ConfigError where the site does not say which holds it."""
    for one in holdings:
        if not any(one.held in storage.holds for storage in site.storages.values()):
            raise ConfigError(
                what=f"site {site.name} does not say which file system holds {one.held!r}",
                why=f"{one.name} lies there, and is compared with its quota",
                fix=f"add {one.held} to `holds` of scratch or project in {FOLDER}/{site.name}.yaml; of this machine, "
                "`trackyard data plan all` says what fits",
            )
    return tuple(
        Filled(name=name, storage=storage, holdings=tuple(one for one in holdings if one.held in storage.holds))
        for name, storage in site.storages.items()
    )
