"""Arms and cells of the study, by their names. Source: pile-ffn spec sections 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trackyard.errors import ConfigError
from trackyard.models.nonneg_names import FORMS, VARIANT_NAMES

Kind = Literal["untouched", "baseline", "nonneg", "signfrozen", "absinit", "degraded"]
UNTOUCHED, BASELINE = "untouched", "baseline"
ALL = "all"
"""In the header of a result that is about all arms, in place of an arm."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A condition of the study. variant: matrices that it is about, None where it is about none."""

    kind: Kind
    variant: str | None = None

    @property
    def name(self) -> str:
        return self.kind if self.variant is None else f"{self.kind}_{self.variant}"

    @property
    def trained(self) -> bool:
        return self.kind in ("baseline", *FORMS)

    @classmethod
    def named(cls, name: str) -> Arm:
        """ConfigError for a name that is no arm."""
        for kind in get_args(Kind):
            if name == kind and kind in (UNTOUCHED, BASELINE):
                return cls(kind)
            variant = name.removeprefix(f"{kind}_")
            if variant != name and variant in VARIANT_NAMES and kind not in (UNTOUCHED, BASELINE):
                return cls(kind, variant)
        raise ConfigError(
            what=f"no arm {name!r}",
            why=f"arms are {UNTOUCHED}, {BASELINE}, and {'_, '.join((*FORMS, 'degraded'))}_ with one of "
            f"{', '.join(VARIANT_NAMES)}",
            fix="correct the arms of pile_ffn in params.yaml",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One arm at one seed; untouched weights have none."""

    arm: str
    seed: int | None

    @property
    def name(self) -> str:
        """As people and dvc.yaml call it."""
        return self.arm if self.seed is None else f"{self.arm}-{self.seed}"

    @property
    def path(self) -> str:
        """Below the folder of a stage."""
        if self.arm == ALL:
            return str(self.seed)
        return self.arm if self.seed is None else f"{self.arm}/{self.seed}"
