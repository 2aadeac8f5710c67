"""The track as its stages see it: where things lie, and what every result says of its origin.

Paths are relative to the repository. Source: theworld spec sections 13 and 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from trackyard.digest import digest_json, short
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.results import DOCUMENT, Base, Header
from trackyard.recipes.reporting.grouping import study_group
from trackyard.record.code import CodeIdentity, code_identity
from trackyard.record.image import NO_IMAGE, image_digest
from trackyard.runner import SystemRunner

TRACK = "datacomp"
ARTIFACTS = Path("artifacts") / TRACK
MADE = "made"
"""Revision of what the project makes itself."""
LIBRARIES = ("torch", "transformers", "diffusers", "tokenizers", "deepspeed", "numpy", "pillow", "pyarrow")
EVALUATIONS = {"blink": "eval_blink", "vsr": "eval_vsr", "spatial": "eval_spatial", "captions": "eval_captions"}
"""Result of each set of items."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """root: of the repository."""

    root: Path
    parameters: DatacompParameters

    @property
    def artifacts(self) -> Path:
        return self.root / ARTIFACTS

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def metadata(self) -> Path:
        """rows-00000.parquet and so on, and result.json."""
        return self.artifacts / "metadata"

    @property
    def selected(self) -> Path:
        return self.artifacts / "select" / "rows.parquet"

    @property
    def images(self) -> Path:
        """block-00000/ and so on, and result.json."""
        return self.artifacts / "images"

    @property
    def curated(self) -> Path:
        return self.artifacts / "curated" / "samples.parquet"

    @property
    def gemma(self) -> Path:
        """A folder that the stock class loads, with its tokenizer."""
        return self.artifacts / "models" / "gemma"

    @property
    def vae(self) -> Path:
        """config.json and the weights, as diffusers writes them."""
        return self.artifacts / "models" / "vae"

    @property
    def latents(self) -> Path:
        return self.artifacts / "latents"

    @property
    def eval_latents(self) -> Path:
        return self.artifacts / "eval_latents"

    def items(self, name: str) -> Path:
        """Items of an evaluation set."""
        return self.artifacts / "eval_data" / name / "items.parquet"

    def export(self, cell: Cell) -> Path:
        """model.safetensors with what was trained, and world_config.json."""
        return self.artifacts / "export" / cell.path

    def place(self, result: str, cell: Cell) -> Path:
        """Folder of a result of a run or arm."""
        return self.artifacts / result / cell.path

    def document(self, result: str, cell: Cell | None = None) -> Path:
        """Path of a result; of a stage that is about no cell without one."""
        folder = {"select": "select", "download": "images", "curate": "curated"}.get(result, result)
        return (self.artifacts / folder if cell is None else self.place(result, cell)) / DOCUMENT

    @property
    def group(self) -> str:
        """Of all its runs, wherever they are grouped. Other seeds, and arms that are added, leave it as it is."""
        return study_group(self.parameters.sections("train"))

    @cached_property
    def code(self) -> CodeIdentity:
        return code_identity(self.root, SystemRunner())

    def spec_digest(self, result: str) -> str:
        """Of everything in the parameters that a result depends on."""
        return digest_json(self.parameters.sections(result))

    def header(
        self,
        result: str,
        cell: Cell | None,
        *,
        inputs: Mapping[str, str],
        device: str,
        wall_s: float,
        run_id: str | None = None,
        vae_digest: str | None = None,
    ) -> Header:
        """The header of a result. inputs: blake3 of what was read, by path relative to the repository.

        run_id: of a training run; of other results it follows from specification and inputs.
        """
        gemma, vae = self.parameters.gemma, self.parameters.vae
        spec = self.spec_digest(result)
        return Header(
            run_id=run_id or short(digest_json({"result": result, "spec": spec, "inputs": dict(inputs)})),
            spec_digest=spec,
            git_commit=self.code.commit,
            image_digest=image_digest() or NO_IMAGE,
            libs={name: version(name) for name in LIBRARIES},
            base=Base(
                gemma=f"{gemma.id}@{gemma.revision or MADE}",
                vae=f"{vae.id}@{vae.revision or MADE}",
                vae_digest=vae_digest,
            ),
            cell=result if cell is None else cell.name,
            seed=None if cell is None else cell.seed,
            inputs=inputs,
            device=device,
            wall_s=wall_s,
        )
