"""From constrained weights to plain ones, and the proof that what was saved obeys its declaration.

Folding writes the effective weights where the free ones were: a stock class loads the result without this project.
A verification counts what it examined; over nothing it fails. Source: pile-ffn spec section 4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.utils import parametrize

from trackyard.errors import DataError, TrackyardError
from trackyard.models.nonneg import constrained_modules
from trackyard.models.nonneg_variants import Declaration, Matrix

SCHEMA = "trackyard-constraint/1"
EXACT, ROUNDED = "fp32", "bf16"
"""Folders of an export: what later arms start from, and what later stages load to save memory."""
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
NAMED = 5
"""Problems that an error tells."""

Read = Callable[[], torch.Tensor]


class ConstraintError(TrackyardError):
    """Weights are not what their arm declares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was examined where. entries: elements seen. lowest: smallest of them, None where there is no number."""

    where: str
    form: str
    expected: int
    examined: int
    entries: int
    lowest: float | None
    dtypes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Never true over nothing, or over fewer matrices than the architecture has."""
        return not self.problems and self.examined == self.expected > 0

    def require(self) -> None:
        """ConstraintError unless passed."""
        if not self.passed:
            more = f" and {len(self.problems) - NAMED} more" if len(self.problems) > NAMED else ""
            told = ["", *self.problems[:NAMED]]
            raise ConstraintError(
                what=f"{self.where}: {self.examined} of {self.expected} matrices examined{'; '.join(told)}{more}",
                why=f"it would be reported as {self.form} without being it",
                fix="look at the declaration of the arm's init stage, then train and export the arm again",
            )

    def to_json(self) -> dict[str, Any]:
        """Body of a trackyard-constraint/1 document."""
        return {
            "where": self.where,
            "form": self.form,
            "expected": self.expected,
            "examined": self.examined,
            "entries": self.entries,
            "min": self.lowest,
            "dtypes": list(self.dtypes),
            "problems": list(self.problems),
            "passed": self.passed,
        }


def verify_model(model: nn.Module, declaration: Declaration) -> Verification:
    """Examine the effective weights of a live model, constrained or folded."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    weights = {
        f"{matrix.name}.weight": partial(_effective, modules[matrix.name])
        for matrix in declaration.matrices
        if matrix.name in modules
    }
    return _verify("the model", weights, declaration)


def verify_export(directory: Path, declaration: Declaration) -> Verification:
    """Examine the saved weights of a plain checkpoint, one at a time. DataError if they cannot be read."""
    try:
        with ExitStack() as stack:
            weights: dict[str, Read] = {}
            for path in _files(directory):
                opened = stack.enter_context(safe_open(path, framework="pt"))
                weights |= {name: partial(opened.get_tensor, name) for name in opened.offset_keys()}
            return _verify(str(directory), weights, declaration)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            what=f"the weights in {directory} cannot be read: {error}",
            why="whether they obey the constraint is not known",
            fix="export the arm again: dvc repro --force on its train stage",
        ) from error


def fold(model: nn.Module, declaration: Declaration) -> None:
    """Replace every parametrised weight by its effective value, in place; names and types are the stock ones again.

    ConstraintError unless exactly the declared matrices are parametrised.
    """
    found = constrained_modules(model)
    declared = set() if declaration.form == "absinit" else {matrix.name for matrix in declaration.matrices}
    if found.keys() != declared:
        stray = sorted(found.keys() ^ declared)
        raise ConstraintError(
            what=f"{len(found)} matrices are parametrised, {len(declared)} declared; they differ in {stray[0]}",
            why="an export would hold free values where weights belong, or weights that were never constrained",
            fix="fold a model that `constrain` made for the same arm, once",
        )
    for module in found.values():
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def write_folded(directory: Path, model: Any) -> None:
    """Save a folded model of transformers below `directory`, exact and rounded (the caller makes it atomic).

    The rounded copy is made from the saved exact one, so that one which the stock class cannot load is found here.
    ConstraintError if a weight is still parametrised.
    """
    still = constrained_modules(model)
    if still:
        raise ConstraintError(
            what=f"{len(still)} matrices are still parametrised, {next(iter(still))} first",
            why="the stock class would not find their weights, and would draw new ones",
            fix="fold the model before it is saved",
        )
    model.save_pretrained(directory / EXACT)
    rounded = type(model).from_pretrained(directory / EXACT, dtype=torch.bfloat16, use_safetensors=True)
    rounded.save_pretrained(directory / ROUNDED)


def _files(directory: Path) -> list[Path]:
    """The files that hold the weights; none where nothing was saved."""
    index = directory / INDEX
    names = set(json.loads(index.read_bytes())["weight_map"].values()) if index.is_file() else {ONE_FILE}
    return [directory / name for name in sorted(names) if (directory / name).is_file()]


def _effective(module: nn.Linear) -> torch.Tensor:
    """The weight that the module multiplies with."""
    return module.weight.detach()


@torch.no_grad()
def _verify(where: str, weights: Mapping[str, Read], declaration: Declaration) -> Verification:
    problems, lowest, dtypes, examined, entries = [], [], set(), 0, 0
    for matrix in declaration.matrices:
        read = weights.get(f"{matrix.name}.weight")
        if read is None:
            problems.append(f"{matrix.name}.weight is absent")
            continue
        weight = read()
        examined += 1
        entries += weight.numel()
        lowest.append(float(weight.min()))
        dtypes.add(str(weight.dtype).removeprefix("torch."))
        problems += _problems(matrix, weight)
    if len(declaration.matrices) != declaration.expected:
        problems.append(f"{len(declaration.matrices)} matrices declared")
    least = min(lowest, default=None)
    return Verification(
        where=where,
        form=declaration.form,
        expected=declaration.expected,
        examined=examined,
        entries=entries,
        lowest=least if least is not None and abs(least) < float("inf") else None,
        dtypes=tuple(sorted(dtypes)),
        problems=tuple(problems),
    )


def _problems(matrix: Matrix, weight: torch.Tensor) -> list[str]:
    """What of one matrix is not as declared."""
    name = f"{matrix.name}.weight"
    if tuple(weight.shape) != matrix.shape:
        return [f"{name} is {tuple(weight.shape)}, declared {matrix.shape}"]
    finite = torch.isfinite(weight)
    if not bool(finite.all()):
        return [f"{name}{_first(~finite)} is {float(weight[~finite][0])}"]
    negative = weight < 0
    count = int(negative.sum())
    if matrix.negative is None or count == matrix.negative:
        return []
    if matrix.negative == 0:
        return [f"{name}{_first(negative)} is {float(weight[negative][0]):.3g}, {count} entries below 0"]
    return [f"{name} has {count} entries below 0, declared {matrix.negative}"]


def _first(where: torch.Tensor) -> str:
    """Row and column of the first true element."""
    row, column = where.nonzero()[0].tolist()
    return f"[{row}, {column}]"
