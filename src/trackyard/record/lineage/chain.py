"""The chain of anything: of an export, a run or a checkpoint from its lineage.json, of any other output through DVC."""

from __future__ import annotations

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
    owner = _owner(path.resolve(), root)
    if owner is None:
        return relative(stage_chain(path, root), root)
    if not path.exists():
        raise ConfigError(
            what=f"{path} does not exist",
            why=f"{owner} has a lineage of its own, and no such file",
            fix=f"trackyard lineage show {owner}",
        )
    return relative(run_chain(owner, root), root)


def _owner(path: Path, root: Path) -> Path | None:
    """The export, checkpoint or run directory that `path` is or lies in; None for anything else."""
    for directory in (path, *path.parents):
        if directory == root:
            return None
        run = directory.parent.parent if directory.parent.name == CHECKPOINTS else directory
        if (directory / LINEAGE).is_file() or (run / LINEAGE).is_file():
            return directory
    return None


def relative(chain: Link, root: Path) -> Link:
    """The chain with texts that name files relative to `root`: a page or a log is read on other machines too."""

    def told(text: str) -> str:
        return text.replace(f"{root}/", "").replace(str(root), ".")

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
