"""Writing the plain models that later stages load, and proving that what lies on the disk is what was declared.

Source: pile-ffn spec sections 4 and 10.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from trackyard.durable import atomic_directory, sweep
from trackyard.models.nonneg_export import EXACT, ROUNDED, fold, verify_export, verify_model, write_folded
from trackyard.models.nonneg_variants import Declaration
from trackyard.record.lineage.document import Lineage, names_in, write_lineage


def write_model(
    folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast, declaration: Declaration | None = None
) -> None:
    """Fold a model and save it below `folder`, exact and rounded, each with the tokenizer (the caller makes it atomic).

    declaration: of what is constrained. ConstraintError unless the effective weights obey it.
    """
    if declaration is not None:
        fold(model, declaration)
        verify_model(model, declaration).require()
    write_folded(folder, model)
    for name in (EXACT, ROUNDED):
        tokenizer.save_pretrained(folder / name)


def verified(folder: Path, declaration: Declaration | None) -> list[dict[str, Any]]:
    """Examine both saved forms, for the result; ConstraintError unless both are as declared. Empty for no declaration.

    Places are named relative to the export.
    """
    if declaration is None:
        return []
    found = []
    for name in (EXACT, ROUNDED):
        verification = verify_export(folder / name, declaration)
        verification.require()
        found.append(verification.to_json() | {"where": name})
    return found


def put_out(source: Path, target: Path, *, lineage: Lineage | None = None) -> None:
    """Copy an export to where DVC expects it, in place of what is there: whole or not at all.

    lineage: for its lineage.json; None where the caller writes that when everything else is there.
    """
    with _in_place_of(target) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        _tell(partial, lineage)


def put_out_model(
    target: Path, model: Any, tokenizer: PreTrainedTokenizerFast, *, lineage: Lineage | None = None
) -> None:
    """Export a plain model to where DVC expects it, as `put_out` does."""
    with _in_place_of(target) as partial:
        write_model(partial, model, tokenizer)
        _tell(partial, lineage)


def _tell(partial: Path, lineage: Lineage | None) -> None:
    if lineage is not None:
        write_lineage(partial, lineage, files=names_in(partial))


@contextmanager
def _in_place_of(target: Path) -> Iterator[Path]:
    sweep(target.parent, target.name)
    if target.exists():
        shutil.rmtree(target)
    with atomic_directory(target) as partial:
        yield partial
