"""Proof that training trains: after the first updates, on the real run.

What has gone wrong elsewhere without any error: weights that never moved, a branch of the model that was never trained,
an input that the model did not look at, a check over zero tensors. Each trained tensor must have had a gradient (its
first moment is not zero: weight decay alone moves a dead tensor) and must have moved; frozen ones must be what they
were, bit for bit; every named perturbation of an input must change the output. Sources: issue 5; theworld spec section
18 and pile-ffn spec section 17 (known traps).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from trackyard.errors import TrackyardError
from trackyard.train.prints import Print, Printer
from trackyard.train.state import TrainingState

SCHEMA = "trackyard-audit/1"
Total = Callable[[Sequence[float]], list[float]]
"""Sums over ranks of as many numbers as each passes (`Ranks.total`)."""
NAMED = 8
"""Offenders that an error names."""
LEAST_CHANGE = 1e-6
"""Of an output, relative to its largest magnitude; or ten times what two equal runs differ by."""


class AuditError(TrackyardError):
    """Something that was configured to train does not, or something frozen does."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What was examined, and found right. inputs: relative change of the output by perturbation."""

    trained: int
    trained_elements: int
    frozen: int
    frozen_elements: int
    inputs: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Body of a trackyard-audit/1 document."""
        return {
            "trained": {"tensors": self.trained, "elements": self.trained_elements},
            "frozen": {"tensors": self.frozen, "elements": self.frozen_elements},
            "inputs": dict(self.inputs),
        }


class TrainingAudit:
    """Made before the first update; told of every update that was applied; asked once all components have moved."""

    def __init__(
        self,
        state: TrainingState,
        parameters: Mapping[str, torch.nn.Parameter],
        *,
        component_of: Callable[[str], str],
        device: torch.device,
    ) -> None:
        """state: of the engine; what this rank writes is what it examines. parameters: all of the stock model."""
        self._state, self._parameters = state, parameters
        self._component_of = component_of
        self._printer = Printer(device)
        self._frozen = {name: weight for name, weight in parameters.items() if not weight.requires_grad}
        self._before_trained = self._trained_prints()
        self._before_frozen = self._frozen_prints()
        self._updated: set[str] = set()

    def applied(self, rates: Mapping[str, float]) -> None:
        """An update with these learning rates was applied, not skipped. One with rate 0, as at the start of a warm-up,
        moves nothing and is no evidence."""
        self._updated |= {name for name, rate in rates.items() if rate > 0}

    @property
    def waiting(self) -> list[str]:
        """Trained components that no update with a rate above 0 has reached yet."""
        return sorted({self._component_of(name) for name in self._state.shapes} - self._updated)

    def finish(self, total: Total) -> AuditReport:
        """Examine every tensor; all ranks call this. Raises AuditError with the names of the offenders."""
        if self.waiting:
            raise AuditError(
                what=f"no update with a learning rate above 0 was applied to {', '.join(self.waiting)}",
                why="whether they train cannot be told from an update that moves nothing, or from none",
                fix="look for skipped steps in the run's log, and at optimiser.rates and steps in params.yaml",
            )
        trained, frozen = self._seen_trained(), self._seen_frozen()
        width = 3
        summed = total([*(number for seen in (*trained.values(), *frozen.values()) for number in seen)])
        rows = [summed[at : at + width] for at in range(0, len(summed), width)]
        by_name = dict(zip((*trained, *frozen), rows, strict=True))
        problems = [
            *self._missing({name: row[0] for name, row in by_name.items()}),
            *_listed("trained, but without a gradient", [name for name in trained if not by_name[name][1]]),
            *_listed("trained, but not moved", [name for name in trained if not by_name[name][2]]),
            *_listed("frozen, but changed", [name for name in frozen if by_name[name][1]]),
        ]
        if not trained:
            problems.append("no trained tensor was examined")
        if problems:
            raise AuditError(
                what="; ".join(problems),
                why="the run would end with a model that is not the one it was configured to train",
                fix="look at optimiser.rates in params.yaml and at where the model uses these tensors",
            )
        return AuditReport(
            trained=len(trained),
            trained_elements=int(sum(by_name[name][0] for name in trained)),
            frozen=len(frozen),
            frozen_elements=sum(_numel(weight) for weight in self._frozen.values()),
        )

    def _trained_prints(self) -> list[Print]:
        return self._printer.take([fragment.tensors["master"] for fragment in self._state.written])

    def _frozen_prints(self) -> list[Print]:
        return self._printer.take([own_part(weight) for weight in self._frozen.values()])

    def _seen_trained(self) -> dict[str, list[float]]:
        """Of each trained tensor on this rank: elements examined, pieces with a gradient, pieces that moved."""
        seen = {name: [0.0, 0.0, 0.0] for name in self._state.shapes}
        moments = [fragment.tensors["exp_avg"].abs().sum() for fragment in self._state.written]
        gradients = (torch.stack(moments) > 0).tolist() if moments else []
        after = self._trained_prints()
        for fragment, gradient, old, new in zip(
            self._state.written, gradients, self._before_trained, after, strict=True
        ):
            counts = seen[fragment.name]
            counts[0] += fragment.numel
            counts[1] += gradient
            counts[2] += old.moved(new)
        return seen

    def _seen_frozen(self) -> dict[str, list[float]]:
        """Of each frozen tensor on this rank: elements examined, whether a bit changed, nothing."""
        pairs = zip(self._frozen.items(), self._before_frozen, self._frozen_prints(), strict=True)
        return {
            name: [float(own_part(weight).numel()), float(not old.same(new)), 0.0] for (name, weight), old, new in pairs
        }

    def _missing(self, examined: Mapping[str, float]) -> list[str]:
        """Tensors of the model that were not examined whole: of the trained ones, every element exactly once."""
        short = []
        for name, weight in self._parameters.items():
            wanted, seen = _numel(weight), examined.get(name, 0.0)
            if seen < wanted or (weight.requires_grad and seen != wanted):
                short.append(f"{name} ({seen:.0f} of {wanted} elements)")
        return _listed("not examined whole", short)


def own_part(weight: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a parameter: all of it, or under ZeRO 3 its slice, flat and without padding."""
    slice_: torch.Tensor | None = getattr(weight, "ds_tensor", None)
    if slice_ is None:
        return weight
    start = dist.get_rank(weight.ds_process_group) * slice_.numel()  # type: ignore[attr-defined]
    return slice_.view(-1)[: max(0, _numel(weight) - start)]


def _numel(weight: torch.Tensor) -> int:
    """Elements of the whole parameter; under ZeRO 3 it is empty between uses."""
    return int(getattr(weight, "ds_numel", weight.numel()))


def _listed(problem: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{problem} ({len(names)}): {', '.join(names[:NAMED])}{more}"]


@torch.no_grad()
def audit_inputs(
    output: Callable[[Any], torch.Tensor], inputs: Any, perturbed: Mapping[str, Any], *, total: Total
) -> dict[str, float]:
    """Relative change of the output by each perturbation; AuditError unless every one changes it on some rank.

    output: the model's output for a batch, [any shape]. inputs: a batch. perturbed: the same batch with one input
    changed, by name of that input (image, video, world latents, text); the same names on every rank. All ranks call
    this. A rank whose batch lacks an input passes it unchanged.
    """
    if not perturbed:
        raise AuditError(
            what="no input was perturbed",
            why="a proof over nothing proves nothing",
            fix="let the recipe name at least one input of the model",
        )
    first = output(inputs).double()
    noise = float((output(inputs).double() - first).abs().max()) if first.numel() else 0.0
    scale = float(first.abs().max()) if first.numel() else 0.0
    if not 0.0 < scale < float("inf"):
        raise AuditError(
            what=f"the output has {first.numel()} elements and the largest magnitude {scale}",
            why="no change of it would mean anything",
            fix="look at the model's start weights and at the batch that the recipe gives",
        )
    changes = {name: float((output(batch).double() - first).abs().max()) / scale for name, batch in perturbed.items()}
    threshold = max(LEAST_CHANGE, 10 * noise / scale)
    seen = total([float(change > threshold) for change in changes.values()])
    blind = [
        f"{name} (changes it by {changes[name]:.3g})" for name, ranks in zip(changes, seen, strict=True) if not ranks
    ]
    if blind:
        raise AuditError(
            what="; ".join(_listed(f"inputs without an effect above {threshold:.3g} on the output", blind)),
            why="the model does not look at them: the branch is not connected, or its features are dropped",
            fix="look at how the recipe's forward passes these inputs on",
        )
    return changes
