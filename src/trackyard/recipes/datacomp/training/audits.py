"""Proof on the running job that the right things train: gradients, movement, frozen weights, and a branch that is read.

Each report lies in the run directory before it is judged. A published system trained parameters that were never in its
graph, and evaluated a branch that its pictures never reached. Source: theworld spec section 6.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from trackyard.digest import digest_json
from trackyard.recipes.running.moved import Movements
from trackyard.schema import read_document, write_document
from trackyard.train.audit import NAMED, AuditError
from trackyard.train.prints import Printer
from trackyard.train.ranks import Ranks
from trackyard.train.state import TrainingState

SCHEMA = "trackyard-world-audit/1"
IN_GRAPH, FROZEN_START, FROZEN_END = "in-graph.json", "frozen-start.json", "frozen-end.json"
BRANCH_EARLY, BRANCH_END = "branch-early.json", "branch-end.json"
BRANCH_STEP = 100
LEAST_CHANGE = 1e-4
"""Of a logit, in fp32, by another latent."""

Changes = Callable[[], Mapping[str, float]]
"""Largest change of a supervised logit by what the branch is given instead (`branch.changes`)."""
log = logging.getLogger(__name__)


class Audits:
    """Examines when something is due. Made on every rank before the first update, and before a checkpoint is read."""

    def __init__(
        self,
        state: TrainingState,
        movements: Movements,
        *,
        frozen: Mapping[str, torch.Tensor],
        changes: Changes,
        reads_latents: bool,
        gate: str | None,
        steps: int,
        ranks: Ranks,
        directory: Path,
    ) -> None:
        """frozen: parameters of Gemma that are not trained. reads_latents: False for free vectors, which must not.

        gate: name of a gate that starts at 0, before which nothing else has a gradient; None without one.
        """
        self._state, self._movements, self._frozen, self._changes = state, movements, frozen, changes
        self._reads, self._gate, self._steps = reads_latents, gate, steps
        self._ranks, self._directory = ranks, directory
        self._waiting = set() if (directory / IN_GRAPH).exists() else set(state.shapes)
        self._seen: dict[str, float] = {}
        self._branch_due = steps > BRANCH_STEP and not (directory / BRANCH_EARLY).exists()
        self._examine_frozen(FROZEN_START)

    def after(self, done: int) -> None:
        """`done` updates were made; all ranks call this alike. AuditError names what is wrong."""
        if done and self._waiting:
            self._examine_gradients(done)
        self._movements.after(done)
        last = done == self._steps
        if last or (self._branch_due and done >= BRANCH_STEP):
            self._branch_due = False
            self._examine_branch(done, BRANCH_END if last else BRANCH_EARLY)
        if last:
            self._examine_frozen(FROZEN_END)

    def _examine_gradients(self, done: int) -> None:
        """First moments are zero exactly where no gradient has come."""
        updates = max((float(count) for count in self._state.steps), default=0.0)
        if self._ranks.total([updates])[0] == 0:
            return  # the guard has left all updates out so far
        names = sorted(self._state.shapes)
        sums = dict.fromkeys(names, 0.0)
        for piece in self._state.written:
            sums[piece.name] += float(piece.tensors["exp_avg"].double().abs().sum())
        found = dict(zip(names, self._ranks.total([sums[name] for name in names]), strict=True))
        # Behind a gate of 0 there is no gradient until the gate has moved once.
        due = {self._gate} if self._gate is not None and done == 1 else self._waiting
        require_gradients({name: found[name] for name in due if name is not None}, done)
        self._seen |= {name: found[name] for name in due if name is not None}
        self._waiting = self._waiting - self._seen.keys()
        if not self._waiting:
            self._write(IN_GRAPH, {"audit": "in_graph", "step": done, "first_moments": self._seen})

    def _examine_branch(self, done: int, name: str) -> None:
        changes = dict(self._changes())
        self._write(name, {"audit": "branch_connected", "step": done, "reads": self._reads, "changes": changes})
        require_branch(changes, reads=self._reads, step=done)

    def _examine_frozen(self, name: str) -> None:
        if self._ranks.rank != 0:
            return
        digest = frozen_digest(self._frozen)
        start = self._directory / FROZEN_START
        if name == FROZEN_END or not start.exists():
            self._write(name, {"audit": "frozen", "tensors": len(self._frozen), "digest": digest})
        require_unchanged(read_document(start, SCHEMA, fix=f"rm {start}")["digest"], digest)

    def _write(self, name: str, body: Mapping[str, Any]) -> None:
        if self._ranks.rank == 0:
            write_document(self._directory / name, SCHEMA, dict(body))
        log.info("%s: %s", name, body)


def require_gradients(first_moments: Mapping[str, float], step: int) -> None:
    """AuditError unless each tensor has had a gradient that is a number and not 0."""
    dead = [name for name, total in first_moments.items() if not 0.0 < total < float("inf")]
    if dead:
        more = f" and {len(dead) - NAMED} more" if len(dead) > NAMED else ""
        raise AuditError(
            what=f"after step {step}: {len(dead)} of {len(first_moments)} trained tensors are not in the graph: "
            f"{', '.join(dead[:NAMED])}{more}",
            why="they are counted as trained, and would end as they began",
            fix="look at what the forward pass uses, or take them out of what is trained (datacomp.training)",
        )


def require_branch(changes: Mapping[str, float], *, reads: bool, step: int) -> None:
    """AuditError unless every change of the latents changes what is learned; for free vectors: unless none does."""
    wrong = [f"{name} by {value:.3g}" for name, value in changes.items() if (value > LEAST_CHANGE) != reads]
    if wrong:
        wanted = f"more than {LEAST_CHANGE:g} is needed" if reads else "nothing may change for free vectors"
        raise AuditError(
            what=f"after step {step}: logits change with {', '.join(wrong)}; {wanted}",
            why="the branch is not connected to what is learned" if reads else "the control sees the picture",
            fix="look at how latents reach the world tokens, and these the language model",
        )


def require_unchanged(before: str, after: str) -> None:
    """AuditError unless frozen weights are what they were, bit for bit."""
    if before != after:
        raise AuditError(
            what=f"frozen weights of Gemma have digest {after}, {before} at the start",
            why="what is called frozen was trained, or another base model was loaded on the way",
            fix="look at what is registered as trained, and run the stage `models` again if its folder was touched",
        )


@torch.no_grad()
def frozen_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of all tensors by name, bit for bit."""
    device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
    printer = Printer(device)
    prints = printer.take(list(tensors.values()))
    return digest_json({name: found.digest for name, found in zip(tensors, prints, strict=True)})


def read_audits(directory: Path, steps: int) -> list[dict[str, Any]]:
    """The reports of a finished run, in order. DataError if one is absent."""
    names = [IN_GRAPH, FROZEN_START, *([BRANCH_EARLY] if steps > BRANCH_STEP else []), BRANCH_END, FROZEN_END]
    fix = f"move {directory} away and run the stage again: its audits are not known"
    found = []
    for name in names:
        document = read_document(directory / name, SCHEMA, fix=fix)
        del document["schema"]
        found.append(document)
    return found
