"""The chain of anything: of an export, a run or a checkpoint from its lineage.json, of any other output through DVC."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.record.lineage.document import LINEAGE
from trackyard.record.lineage.links import Claim, Link
from trackyard.record.lineage.merging import mapped
from trackyard.record.lineage.run_chain import CHECKPOINTS, run_chain
from trackyard.record.lineage.stage_chain import stage_chain


def chain_of(path: Path, repository: Path) -> Link:
    """The chain of a path: an export, a run directory, a checkpoint, a file in one of these; else what a stage put out.

    Texts name files relative to `repository`. ConfigError for a path that nothing speaks of, DataError for a damaged
    record.
    """
    root = repository.resolve()
    place = _located(path, root)
    owner = _owner(place, root)
    if owner is None:
        return relative(stage_chain(place, root), root)
    chain = run_chain(owner, root)
    if place not in (owner, owner / LINEAGE) and not any(file.path.is_relative_to(place) for file in chain.files):
        raise ConfigError(
            what=f"{path} is not recorded" if place.exists() else f"{path} does not exist",
            why=f"the lineage of {owner} has no digest of it: a proof would be of everything else",
            fix=f"trackyard lineage show {owner}",
        )
    return relative(chain, root)


def _located(path: Path, root: Path) -> Path:
    """The path without `..`. Links in the repository are not followed: data/ may lead to another disk, a file to DVC's
    cache.
    """
    plain = Path(os.path.normpath(path.absolute()))
    return plain if plain.is_relative_to(root) else path.resolve()


def _owner(path: Path, root: Path) -> Path | None:
    """The export, checkpoint or run directory that `path` is or lies in; None for anything else."""
    for directory in (path, *path.parents):
        if directory == root:
            return None
        in_run = directory.parent.name == CHECKPOINTS and directory.is_dir()
        if (directory / LINEAGE).is_file() or (in_run and (directory.parent.parent / LINEAGE).is_file()):
            return directory
    return None


def relative(chain: Link, root: Path) -> Link:
    """The chain with texts that name files relative to `root`: a page or a log is read on other machines too."""
    # Neither /disk/ROOT/x nor ROOT-old/x lies in ROOT.
    named = re.compile(rf"(?<![\w.~-]){re.escape(str(root))}(/|(?![\w~-]|\.\w))")

    def told(text: str) -> str:
        return named.sub(lambda found: "" if found[1] else ".", text)

    def change(link: Link) -> Link:
        return replace(
            link,
            facts={key: told(value) for key, value in link.facts.items()},
            fix=told(link.fix),
            absent=None if link.absent is None else told(link.absent),
            claims=tuple(
                Claim(what=told(one.what), expected=told(one.expected), found=told(one.found)) for one in link.claims
            ),
        )

    return mapped(chain, change)
