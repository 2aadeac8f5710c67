"""Data sets as lineage.json records them: where they came from, what their fingerprint follows from, every file.

Each kind has a manifest of its own; the digest of the manifest is recorded, and the manifest lists the rest. Samples
have none: there every file is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trackyard.digest import digest_file
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.manifest import NAME, RESTORE, Manifest

DataKind = Literal["rows", "tokens", "latents", "samples"]
"""rows: a dataset of a snapshot. tokens: token shards. latents: latent shards. samples: a table of samples, and the
files that it refers to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A data set that a run reads. fingerprint: as in the run's specification. directory: that `files` are relative to.

    files: blake3 by name, of the manifest, or of everything where there is none. source: hub id and revision, URL,
    generator: what is known of its origin. licence: None where nobody has stated one. restore: command that brings it.
    """

    kind: DataKind
    fingerprint: str
    directory: Path
    files: Mapping[str, str]
    source: Mapping[str, Any]
    licence: str | None
    restore: str


def rows(directory: Path) -> DataSet:
    """A dataset of a snapshot. DataError without a manifest."""
    manifest = Manifest.read(directory)
    return DataSet(
        kind="rows",
        fingerprint=manifest.fingerprint,
        directory=directory,
        files={NAME: digest_file(directory / NAME)},
        source=dict(manifest.source),
        licence=manifest.licence,
        restore=RESTORE,
    )


def tokens(directory: Path, *, restore: str) -> DataSet:
    """Token shards, whose fingerprint is that of their manifest. DataError without one."""
    from trackyard.snapshot.token_shards import TokenManifest

    manifest = TokenManifest.read(directory, restore=restore)
    digest = digest_file(directory / NAME)
    return DataSet(
        kind="tokens",
        fingerprint=digest,
        directory=directory,
        files={NAME: digest},
        source=dict(manifest.source),
        licence=manifest.licence,
        restore=restore,
    )


def latents(directory: Path, *, licence: str | None, restore: str) -> DataSet:
    """Latent shards, whose fingerprint is that of their encoder. licence: of the pictures. DataError without one."""
    from trackyard.snapshot.latent_shards import LatentManifest

    encoder = LatentManifest.read(directory, restore=restore).encoder
    return DataSet(
        kind="latents",
        fingerprint=encoder.digest,
        directory=directory,
        files={NAME: digest_file(directory / NAME)},
        source=_encoded_by(encoder),
        licence=licence,
        restore=restore,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a manifest says: the fingerprint that follows from it, where the data are from, and blake3 of every file
    that it lists, by name. licence: None for a kind whose manifest states none.
    """

    fingerprint: str
    source: Mapping[str, Any]
    licence: str | None
    files: Mapping[str, str]


def contents(kind: DataKind, directory: Path) -> Contents:
    """What the manifest in a directory says. ValueError for a kind that has none, DataError for one that is damaged."""
    if kind == "rows":
        snapshot = Manifest.read(directory)
        return Contents(
            fingerprint=snapshot.fingerprint,
            source=snapshot.source,
            licence=snapshot.licence,
            files={file.path: file.blake3 for file in snapshot.files},
        )
    if kind == "tokens":
        from trackyard.snapshot.token_shards import TokenManifest

        shards = TokenManifest.read(directory, restore=RESTORE)
        return Contents(
            fingerprint=digest_file(directory / NAME),
            source=shards.source,
            licence=shards.licence,
            files={file.path: file.blake3 for file in shards.files},
        )
    if kind == "latents":
        from trackyard.snapshot.latent_shards import LatentManifest

        found = LatentManifest.read(directory, restore=RESTORE)
        return Contents(
            fingerprint=found.encoder.digest,
            source=_encoded_by(found.encoder),
            licence=None,
            files={file.path: file.blake3 for file in (*found.shards, found.index)},
        )
    raise ValueError(f"{kind} have no manifest")


def _encoded_by(encoder: EncoderFacts) -> dict[str, Any]:
    """Where latents are from: what encoded them."""
    return {"encoder": encoder.repo, "revision": encoder.revision, "preprocessing": encoder.preprocessing}
