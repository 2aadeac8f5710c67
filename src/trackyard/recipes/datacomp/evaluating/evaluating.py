"""The stage `evaluate`: the audit of a cell's world branch, then every set of items.

Each is a result of its own, made once: a stage that was cut off goes on with the set that is missing. The model is
loaded when the first of them needs it. An exception while an item is asked or scored ends the stage: none is counted
and passed over. Source: theworld spec sections 6, 12 and 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file
from trackyard.imports import import_heavy
from trackyard.recipes.datacomp.base.loading import BaseFacts, base_facts
from trackyard.recipes.datacomp.cells import Cell, arm_named
from trackyard.recipes.datacomp.evaluating.arms import Armed, device, load_arm
from trackyard.recipes.datacomp.evaluating.asking import Asker
from trackyard.recipes.datacomp.evaluating.branch_audit import audit_branch, audit_items, require_reads
from trackyard.recipes.datacomp.evaluating.items import items_digest, pictures_of, read_items
from trackyard.recipes.datacomp.evaluating.kept import measured
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents
from trackyard.recipes.datacomp.evaluating.scoring import EvalSet, Record, body_of
from trackyard.recipes.datacomp.evaluating.sets import SETS
from trackyard.recipes.datacomp.study import EVALUATIONS, Study
from trackyard.snapshot.manifest import NAME as MANIFEST

AUDIT = "audit_branch"
Say = Callable[[str], None]


def import_ahead() -> None:
    """Import the classes of Gemma and its vision tower, so that processes that are forked after it need not."""
    import_heavy(
        "transformers.modeling_utils",
        "transformers.models.gemma3.modeling_gemma3",
        "transformers.models.siglip.modeling_siglip",
    )


def evaluate(study: Study, cell: Cell, say: Say) -> None:
    """Audit and evaluate a cell. BranchDisconnected if its branch is not what its arm says; DataError or
    CheckpointError for items, latents or an export that are absent or damaged, and for too many empty answers."""
    cell_at = _Evaluation(study, cell)
    inputs = cell_at.inputs
    make = partial(measured, study, cell=cell, device=device().type, vae_digest=cell_at.base.vae_digest)
    names = study.parameters.evaluation.sets
    tables = {name: {_relative(study, study.items(name)): items_digest(study.items(name))} for name in names}
    audit = make(AUDIT, inputs=inputs | tables[names[0]], make=cell_at.audit).body
    moves = ", ".join(f"{name} {value:.2g}" for name, value in audit["moves"].items())
    say(f"{cell.label}: branch {audit['branch']}{f'; logits move by at least {moves}' if moves else ''}")
    for name in names:
        found = make(EVALUATIONS[name], inputs=inputs | tables[name], make=partial(cell_at.measure, SETS[name]))
        say(f"{cell.label}: {name} {found.body['accuracy']:.3f} over {found.body['n']:,} items")


@dataclass(frozen=True)
class _Evaluation:
    """A cell under evaluation; its model is loaded when something is to be computed, and once."""

    study: Study
    cell: Cell

    @cached_property
    def armed(self) -> Armed:
        return load_arm(self.study, self.cell)

    @cached_property
    def base(self) -> BaseFacts:
        return base_facts(self.study)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """What every set of this cell reads: the base model, the export, the latents."""
        study, arm = self.study, arm_named(self.cell.name)
        found = {_relative(study, study.gemma / name): digest for name, digest in self.base.gemma_files.items()}
        paths = [] if arm.branch == "off" else [study.eval_latents / MANIFEST]
        if arm.run is not None:
            paths += sorted(study.export(Cell(name=arm.run, seed=self.cell.seed)).glob("*"))
        return found | {_relative(study, path): digest_file(path) for path in paths}

    def audit(self) -> Mapping[str, Any]:
        """Body of the audit, with each picture's own latent."""
        path = self.study.items(self.study.parameters.evaluation.sets[0])
        asker = self._asker(None if self.armed.true is None else self.armed.true(pictures_of(path)))
        return audit_branch(asker, audit_items(read_items(path)))

    def measure(self, of: EvalSet) -> Mapping[str, Any]:
        """Body of one set."""
        parameters, path = self.study.parameters.evaluation, self.study.items(of.name)
        latents = None if self.armed.latents is None else self.armed.latents(pictures_of(path))
        asker = self._asker(latents)
        read, images, records = asker.model.images_read, 0, list[Record]()
        new_tokens = parameters.new_tokens[of.generates] if of.generates else 0
        for item, answer in asker.answers(of, read_items(path), new_tokens=new_tokens):
            images += len(item.images)
            records.append(of.record(item, answer))
        passes = int(of.compares) + int(of.generates is not None)
        reads = require_reads(asker, images, passes=passes, read=read, given=0)
        body = body_of(of, records, resamples=parameters.resamples, most_empty=parameters.most_empty)
        return body | {"images": images, "latent_reads": reads}

    def _asker(self, latents: PictureLatents | None) -> Asker:
        armed, batch = self.armed, self.study.parameters.evaluation.batch
        return Asker(model=armed.model, prompts=armed.prompts, tokenizer=armed.tokenizer, latents=latents, batch=batch)


def _relative(study: Study, path: Path) -> str:
    return path.relative_to(study.root).as_posix()
