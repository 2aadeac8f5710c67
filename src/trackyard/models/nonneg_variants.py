"""Which matrices of a language model an arm constrains: matched, counted, declared.

A published attempt verified zero matrices and called that a success. Here the declaration is made from what was found,
refused unless the number is what the architecture has, and compared wherever the weights turn up again.
Source: pile-ffn spec sections 2 and 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from trackyard.errors import ConfigError, IdentityError
from trackyard.models.nonneg_names import FAMILIES, VARIANTS, Form, Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """A matrix of a variant. shape: (out, in). negative: entries below 0 that the arm's form prescribes, None if any
    number is allowed."""

    name: str
    shape: tuple[int, int]
    negative: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What an arm does to which matrices; it travels with checkpoints and exports. expected: by the architecture."""

    variant: str
    form: Form
    expected: int
    matrices: tuple[Matrix, ...]

    @property
    def entries(self) -> int:
        """Elements of all matrices."""
        return sum(matrix.shape[0] * matrix.shape[1] for matrix in self.matrices)

    @property
    def trained_names(self) -> tuple[str, ...]:
        """Parameters that the optimiser holds for the matrices while they are constrained."""
        ending = "weight" if self.form == "absinit" else "parametrizations.weight.original"
        return tuple(f"{matrix.name}.{ending}" for matrix in self.matrices)

    def lines(self) -> list[str]:
        """For people: the total first, then one line a matrix."""
        return [
            f"{self.form} {self.variant}: {len(self.matrices)} matrices of {self.expected} expected, "
            f"{self.entries:,} entries",
            *(
                f"  {matrix.name}.weight {matrix.shape[0]}x{matrix.shape[1]}, entries below 0: "
                f"{'any number' if matrix.negative is None else f'{matrix.negative:,}'}"
                for matrix in self.matrices
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """For documents; `of_json` reads it."""
        return {
            "variant": self.variant,
            "form": self.form,
            "expected": self.expected,
            "matched": len(self.matrices),
            "entries": self.entries,
            "matrices": [asdict(matrix) | {"shape": list(matrix.shape)} for matrix in self.matrices],
        }

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> Self:
        """From `to_json`; KeyError or TypeError for another document."""
        return cls(
            variant=body["variant"],
            form=body["form"],
            expected=body["expected"],
            matrices=tuple(Matrix(**row | {"shape": tuple(row["shape"])}) for row in body["matrices"]),
        )

    def require_same(self, other: Declaration, *, where: str) -> None:
        """IdentityError unless `other`, found at `where`, declares the same; it names the first differences."""
        differences = [
            f"{name} is {getattr(other, name)}, declared {getattr(self, name)}"
            for name in ("variant", "form", "expected")
            if getattr(self, name) != getattr(other, name)
        ]
        ours, theirs = ({matrix.name: matrix for matrix in each.matrices} for each in (self, other))
        differences += [
            f"{name}: {theirs.get(name, 'absent')}, declared {ours.get(name, 'nowhere')}"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        if differences:
            raise IdentityError(
                what=f"{where} constrains something else, {len(differences)} differences: {'; '.join(differences[:3])}",
                why="its figures would stand in the column of another arm",
                fix="start the arm anew from its own start weights: dvc repro --force on its init stage",
            )


def matching(model: Any, variant: str) -> dict[str, nn.Linear]:
    """The matrices of a variant by dotted name, in the order of the model.

    model: of transformers; matched by the end of the name, at a dot, and by type. Raises ConfigError, with what the
    model has, for another family, for none, and for a number that is not layers x suffixes.
    """
    chosen = named_variant(variant)
    ends = tuple(f".{suffix}" for suffix in chosen.suffixes)
    named = {name: module for name, module in model.named_modules() if f".{name}".endswith(ends)}
    found = {name: module for name, module in named.items() if isinstance(module, nn.Linear)}
    expected = expected_matrices(model, variant)
    family = model.config.model_type
    if family in chosen.families and len(found) == len(named) == expected:
        return found
    raise ConfigError(
        what=f"{variant} of a model of type {family!r}: {len(found)} nn.Linear end in {' or '.join(chosen.suffixes)}, "
        f"expected {expected} in one of {', '.join(chosen.families)}; it has {_candidates(model)}",
        why="a constraint on other matrices, or on none, would answer another question without an error"
        + ("; Conv1D, which GPT-2 has, keeps its weight transposed and is not supported" if _conv1d(model) else ""),
        fix=_fitting(family),
    )


def expected_matrices(model: Any, variant: str) -> int:
    """Layers of the configuration times matrices per layer."""
    return int(model.config.num_hidden_layers) * len(named_variant(variant).suffixes)


def named_variant(name: str) -> Variant:
    """ConfigError for a name that is not in VARIANTS."""
    if name not in VARIANTS:
        raise ConfigError(
            what=f"no variant {name!r}",
            why="a variant names the matrices that are constrained",
            fix=f"set the variant in params.yaml to one of {', '.join(VARIANTS)}",
        )
    return VARIANTS[name]


def _fitting(family: str) -> str:
    """What to choose instead: a variant of the family, or a model of a family that has variants."""
    variants = [name for name, variant in VARIANTS.items() if family in variant.families]
    if variants:
        return f"set the variant in params.yaml to one of {', '.join(variants)}"
    return f"set the model in params.yaml to one of type {', '.join(FAMILIES)}"


def _conv1d(model: nn.Module) -> bool:
    return any(type(module).__name__ == "Conv1D" for module in model.modules())


def _candidates(model: nn.Module) -> str:
    """Every kind of matrix a model has: the last two parts of its name, its type, and how often."""
    kinds = Counter(
        f"{'.'.join(name.split('.')[-2:])} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
        and module.weight.ndim == 2
        and not isinstance(module, nn.Embedding)
    )
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no matrix at all"
