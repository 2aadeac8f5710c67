"""Catalogue entries: one dataset each, read from `catalog/*.yaml` and checked when read.

Source: design section 3; the facts come from the sources that each entry names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters, parse_parameters, read_yaml

UNPINNED = "unpinned"
"""Stands for a hub revision that nobody has fixed yet; `trackyard catalog check` counts them."""

FOUNDING = "seed"
"""Source of a figure that the founding documents state."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")

Role = Literal["train", "source", "extra", "eval", "nine", "media", "bundle"]
Medium = Literal["image", "multi-image", "video", "video-frames", "text"]
Access = Literal["auto", "url", "mixed", "manual", "none"]
Basis = Literal["measured", "stated", "public", "derived", "unknown"]
Stage = Literal[1, 2, 3]
Track = Literal["pile", "datacomp", "nine"]


class Figure(Parameters):
    """A number with what it rests on. measured: by us; stated: by a source of the studies; public: well known, to be
    confirmed; derived: computed from other figures; unknown: nobody says, and `value` is absent.

    In YAML also as a list: [value, basis, source].
    """

    value: int | None = Field(default=None, ge=0)
    basis: Basis = "unknown"
    source: str = ""
    """Who says so: `report` (arXiv:2601.10611v4), `release` (allenai/molmo2), `molmo_hf` (ChulanZhang/molmo_hf), `seed`
    (the founding documents), `card` (of the hub's repository), a page, a command."""

    @model_validator(mode="before")
    @classmethod
    def _from_a_list(cls, values: Any) -> Any:
        if not isinstance(values, list):
            return values
        if len(values) != 3:
            raise ValueError(f"{values} is not [value, basis, source]")
        return dict(zip(("value", "basis", "source"), values, strict=True))

    @model_validator(mode="after")
    def _value_has_a_basis(self) -> Self:
        if (self.value is None) != (self.basis == "unknown"):
            raise ValueError(f"value {self.value} with basis {self.basis!r}: exactly an unknown figure has no value")
        return self


class Expected(Parameters):
    """What a complete copy holds. examples: training examples or questions; visual: images, clips or videos;
    annotations: single answers, points or sentences; rows: of the hub's tables; bytes, files: as brought to disk."""

    examples: Figure = Figure()
    visual: Figure = Figure()
    annotations: Figure = Figure()
    rows: Figure = Figure()
    bytes: Figure = Figure()
    files: Figure = Figure()


class HubSource(Parameters):
    """A dataset repository of the hub. gated: its terms must be accepted on its page, and a token is needed.
    script_based: the repository holds a loading script, which datasets 4 and newer refuse to run."""

    repo: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")
    config: str | None = None
    split: str | None = None
    revision: str = UNPINNED
    gated: bool = False
    script_based: bool = False
    files: tuple[str, ...] = ()
    """Patterns of the repository's files that are needed; none given: all."""

    @field_validator("revision")
    @classmethod
    def _is_a_commit(cls, revision: str) -> str:
        if revision != UNPINNED and not COMMIT.fullmatch(revision):
            raise ValueError(f"{revision!r} is neither a commit of 40 hex digits nor {UNPINNED!r}: branches move")
        return revision


class Archive(Parameters):
    """One file to download or to be put there by hand. unpack: folder below the entry's raw folder that it is unpacked
    into, "." for that folder itself where the archive holds one of its own; without `unpack` the file is kept as it is.
    sha256: as its publisher states it."""

    name: str
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    unpack: str | None = None


class MediaRecipe(Parameters):
    """How the media come.

    embedded: inside the hub repositories, in their tables or in archives beside them. urls: addresses in column
    `url_column`, one in a row or a list of them. archives: `archives`. video-ids: ids of a video platform, which
    nothing here downloads. manual: by hand. none: no media, or only those of the entries in `needs`.
    sha256_column: digests of the images' bytes. acceptance: share of URLs (low, high) that must load; outside of it
    `fetch` stops with the histogram.
    """

    kind: Literal["embedded", "urls", "archives", "video-ids", "manual", "none"]
    url_column: str | None = None
    sha256_column: str | None = None
    acceptance: tuple[float, float] = (0.35, 0.98)
    archives: tuple[Archive, ...] = ()

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.kind == "urls") != (self.url_column is not None):
            raise ValueError(f"kind {self.kind!r} with url_column {self.url_column!r}: they go together")
        if self.sha256_column is not None and self.url_column is None:
            raise ValueError(f"sha256_column {self.sha256_column!r} without url_column")
        if not 0 <= self.acceptance[0] < self.acceptance[1] <= 1:
            raise ValueError(f"acceptance {self.acceptance} is not a band within 0 and 1")
        if self.kind == "archives" and not self.archives:
            raise ValueError("kind 'archives' names none")
        return self


class Manual(Parameters):
    """What a person must do. layout: paths below the entry's raw folder that must exist afterwards."""

    page: str
    steps: tuple[str, ...]
    layout: tuple[str, ...] = ()


class Licence(Parameters):
    """name: "unknown" where no source says. basis: card (read on the dataset's own page), assumed (from siblings),
    recalled (from memory, to be checked), unknown."""

    name: str = "unknown"
    basis: Literal["card", "assumed", "recalled", "own", "unknown"] = "unknown"

    @model_validator(mode="after")
    def _name_has_a_basis(self) -> Self:
        if (self.name == "unknown") != (self.basis == "unknown"):
            raise ValueError(f"licence {self.name!r} with basis {self.basis!r}")
        return self


class MixtureFacts(Parameters):
    """Place in the reference mixtures. rate_percent: of stage 2's draws (report). stage1: share in stage 1 of the
    founding recipe. cap: examples counted at most. multiplier: of its rate. share: fixed share inside its group."""

    rate_percent: float | None = None
    stage1: float | None = None
    cap: int | None = None
    multiplier: float | None = None
    share: str | None = None
    entries: tuple[str, ...] = ()
    """Names of the release's mixture entries."""
    loss_weight: float | Literal["root of length"] | None = None
    """Weight of its answers (molmo2 spec section 10)."""


class FoundingFacts(Parameters):
    """What the founding documents print, where it is not what `expected` holds.

    examples: in their own words, such as "800k". bytes: their size, where `expected.bytes` rests on something better.
    block_bytes: allocation per file that explains their size. Source: nine-datasets spec section 2.
    """

    examples: str = ""
    bytes: int | None = Field(default=None, ge=0)
    block_bytes: int | None = Field(default=None, gt=0)


class NineFacts(Parameters):
    """What the nine-dataset evaluation needs of an entry (nine-datasets spec sections 1 and 2).

    cache: folder below `$HF_HOME/datasets`. raw: folders below `$MOLMO_DATA_DIR/torch_datasets`. cache_bytes: as the
    founding document states. in_manual_list: whether its manual commands copied the cache.
    """

    split: str
    metric: Literal["vqa", "anls", "mc", "em", "mmmu", "cider"]
    samples: int
    cache: str | None = None
    cache_bytes: int | None = None
    in_manual_list: bool = False
    raw: tuple[str, ...] = ()


class Entry(Parameters):
    """What exists under a name, and on what terms."""

    name: str
    title: str
    """As its publisher, or the table it was taken from, writes it."""
    task: str = ""
    """What one example asks for."""
    roles: tuple[Role, ...] = Field(min_length=1)
    group: str
    """Group of the mixture, such as `sft:image_qa`; metrics are summed by it."""
    media: Medium
    stages: tuple[Stage, ...] = ()
    """Molmo2 stages that train on it."""
    founding_stages: tuple[Stage, ...] = ()
    """Stages under which the founding documents list it, with their size guess."""
    founding: FoundingFacts = FoundingFacts()
    tracks: tuple[Track, ...] = ()
    """Tracks beside Molmo2 that use it as they are shipped."""
    access: Access
    licence: Licence = Licence()
    hub: tuple[HubSource, ...] = ()
    recipe: MediaRecipe
    manual: Manual | None = None
    expected: Expected = Expected()
    mixture: MixtureFacts = MixtureFacts()
    needs: tuple[str, ...] = ()
    """Other entries that must be on disk with it."""
    aliases: tuple[str, ...] = ()
    """Other names under which the sources know it."""
    nine: NineFacts | None = None
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not lower-case letters, digits, dots, hyphens and underscores")
        return name

    @model_validator(mode="after")
    def _says_how_to_get_it(self) -> Self:
        by_hand = self.access == "manual" or self.recipe.kind in ("manual", "video-ids")
        if by_hand and self.manual is None:
            raise ValueError("access by hand without steps")
        if self.access == "url" and self.recipe.kind != "urls":
            raise ValueError(f"access by URL with media of kind {self.recipe.kind!r}")
        if self.name in self.needs:
            raise ValueError(f"{self.name} needs itself")
        return self

    @property
    def founding_bytes(self) -> int | None:
        """Size that the founding documents state; None where they state none."""
        if self.founding.bytes is not None:
            return self.founding.bytes
        return self.expected.bytes.value if self.expected.bytes.source == FOUNDING else None


class _Family(Parameters):
    """One file. defaults: what its entries have unless they say otherwise; a mapping is completed key by key."""

    defaults: dict[str, Any] = Field(default_factory=dict)
    datasets: tuple[Entry, ...]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        if not (isinstance(values, dict) and isinstance(values.get("datasets"), list)):
            return values
        defaults = values.get("defaults", {})
        if not isinstance(defaults, dict):
            return values
        return values | {"datasets": [_completed(defaults, entry) for entry in values["datasets"]]}


def _completed(defaults: dict[str, Any], entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    values = defaults | entry
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(values[key], dict):
            values[key] = value | values[key]
    return values


def load_catalogue(directory: Path) -> dict[str, Entry]:
    """Every entry of every file, by name.

    ConfigError on an invalid file, a repeated name or alias, a need that no entry meets, or an empty catalogue.
    """
    entries: dict[str, Entry] = {}
    taken: dict[str, str] = {}
    for path in sorted(directory.glob("*.yaml")):
        for entry in parse_parameters(_Family, read_yaml(path), where=str(path)).datasets:
            for name in (entry.name, *entry.aliases):
                if name in taken:
                    raise ConfigError(
                        what=f"{path} uses {name!r} for {entry.name!r}, and it names {taken[name]!r} already",
                        why="a name must lead to one dataset",
                        fix=f"rename or remove one of the two in {directory}",
                    )
                taken[name] = entry.name
            entries[entry.name] = entry
    if not entries:
        raise ConfigError(
            what=f"no catalogue entry in {directory}",
            why="nothing is known about any dataset",
            fix="run the command in the repository root, or `git checkout -- catalog`",
        )
    for entry in entries.values():
        unmet = [name for name in entry.needs if name not in entries]
        if unmet:
            raise ConfigError(
                what=f"{entry.name} needs {', '.join(unmet)}, which no file of {directory} describes",
                why="what a dataset needs on disk could not be planned, fetched or copied with it",
                fix=f"add the entry, or correct `needs` of {entry.name}",
            )
    return entries
