"""The study as its stages see it: where things lie, and what every result says of its origin.

Paths are relative to the repository. Source: pile-ffn spec sections 10 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from trackyard.digest import digest_json
from trackyard.recipes.pile_ffn.cells import Arm, Cell
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.results import DOCUMENT, Data, Header, Model
from trackyard.recipes.reporting.grouping import study_group
from trackyard.record.code import CodeIdentity, code_identity
from trackyard.record.image import NO_IMAGE, image_digest
from trackyard.runner import SystemRunner

TRACK = "pile_ffn"
ARTIFACTS = Path("artifacts") / TRACK
MADE = "made"
"""Revision of what the project makes itself."""
LIBRARIES = ("torch", "transformers", "tokenizers", "deepspeed", "lm_eval", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Study:
    """root: of the repository."""

    root: Path
    parameters: PileFfnParameters

    @property
    def artifacts(self) -> Path:
        return self.root / ARTIFACTS

    @property
    def source(self) -> Path:
        """Text as it was brought (text/), the model (model/) and manifest.json."""
        return self.artifacts / "source"

    @property
    def tokens(self) -> Path:
        """A directory of token shards per set, docs.parquet, tokenizer/ and result.json."""
        return self.artifacts / "tokens"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def export(self, cell: Cell) -> Path:
        """fp32/ and bf16/, each a folder that the stock class loads, and result.json."""
        return self.artifacts / "export" / cell.path

    def place(self, stage: str, cell: Cell) -> Path:
        """Folder of a stage's result.json."""
        return self.artifacts / stage / cell.path

    def replicate(self, cell: Cell) -> int:
        """Number of the training file of a cell."""
        assert cell.seed is not None, cell
        return self.parameters.seeds.index(cell.seed)

    def draws(self, cell: Cell) -> int:
        """Seed of what is drawn for a cell; the first one for untouched weights."""
        return self.parameters.seeds[0] if cell.seed is None else cell.seed

    @property
    def group(self) -> str:
        """Of all its runs, wherever they are grouped. Other seeds, and arms that are added, leave it as it is."""
        decided_by = self.parameters.sections("train")
        del decided_by["seeds"], decided_by["training"]["learning_rates"]
        return study_group(decided_by)

    @cached_property
    def code(self) -> CodeIdentity:
        return code_identity(self.root, SystemRunner())

    def spec_digest(self, stage: str) -> str:
        """Of everything in the parameters that the results of a stage depend on."""
        return digest_json(self.parameters.sections(stage))

    def header(
        self,
        stage: str,
        cell: Cell,
        *,
        run_id: str,
        inputs: Mapping[str, str],
        slice_digest: str | None,
        precision: Mapping[str, str],
        device: str,
        wall_s: float,
    ) -> Header:
        """The header of a result. inputs: blake3 of what was read, by path relative to the repository."""
        model, source = self.parameters.model, self.parameters.data.source
        arm = Arm.named(cell.arm)
        return Header(
            run_id=run_id,
            spec_digest=self.spec_digest(stage),
            git_commit=self.code.commit,
            image_digest=image_digest() or NO_IMAGE,
            libs={name: version(name) for name in LIBRARIES},
            model=Model(id=model.id, revision=model.revision or MADE),
            arm=arm.name,
            variant=arm.variant,
            seed=cell.seed,
            data=Data(id=source.entry or source.kind, revision=source.revision or MADE, slice_digest=slice_digest),
            inputs=inputs,
            precision=precision,
            device=device,
            wall_s=wall_s,
        )

    def document(self, stage: str, cell: Cell) -> Path:
        """Path of a stage's result."""
        return self.place(stage, cell) / DOCUMENT
