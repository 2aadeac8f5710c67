"""The track as its stages see it: where things lie, and what every result says of its origin.

Paths are relative to the repository. Source: nine-datasets spec sections 6 to 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from trackyard.acquire.staging.roots import Roots
from trackyard.digest import digest_json
from trackyard.evaluate.tasks.registry import choose_tasks, load_tasks, measurable
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.parameters import NineParameters
from trackyard.recipes.nine.results import DOCUMENT, Header
from trackyard.record.code import CodeIdentity, code_identity
from trackyard.record.image import NO_IMAGE, image_digest
from trackyard.runner import SystemRunner

TRACK = "nine"
ARTIFACTS = Path("artifacts") / TRACK
TASKS = Path("tasks")
MADE = "tiny-molmoe"
"""Folder of the model that the project trains."""
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pillow", "pyarrow", "pycocoevalcap")


@dataclass(frozen=True, kw_only=True)
class Study:
    """root: of the repository."""

    root: Path
    parameters: NineParameters

    @property
    def artifacts(self) -> Path:
        return self.root / ARTIFACTS

    @property
    def store(self) -> Path:
        """Below it answers and times are appended; nothing there is ever written anew."""
        return self.root / "runs" / TRACK

    @property
    def staging(self) -> Roots:
        """The target that data sets were staged to: of those that the project makes, or that the parameters name."""
        named = self.parameters.data.staged
        return Roots.below(self.artifacts / "data" / "staged" if named is None else self.root / named)

    def questions_of(self, task: Task) -> Path:
        """Where the questions of a task lie: the staged data sets, or the folder that the parameters name for it."""
        named = self.parameters.data.folders.get(task.name)
        return self.staging.staged if named is None else self.root / named

    @property
    def model(self) -> Path:
        """Folder of the model that is evaluated."""
        named = self.parameters.model.folder
        return self.artifacts / "model" / MADE if named is None else self.root / named

    @property
    def importance(self) -> Path:
        named = self.parameters.importance.file
        return self.artifacts / "importance" / "scores.json" if named is None else self.root / named

    @property
    def sweep(self) -> Path:
        return self.artifacts / "sweep" / "sweep.json"

    def place(self, kind: str, key: str, task: str) -> Path:
        """Folder of what was measured of a configuration on a task. kind: accuracy or latency."""
        return self.artifacts / kind / key / task

    def document(self, result: str) -> Path:
        """Path of the result of a stage."""
        return self.artifacts / result / DOCUMENT

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Those of the parameters, named or in a group, in their order. ConfigError for a name that no file has."""
        named = choose_tasks(load_tasks(self.root / TASKS), self.parameters.tasks)
        chosen = {name: measurable(task) for name, task in named.items()}
        if self.parameters.data.fixture is None:
            return chosen
        # The miniatures have other numbers of questions than what they stand for.
        return {name: task.model_copy(update={"samples": None}) for name, task in chosen.items()}

    @cached_property
    def code(self) -> CodeIdentity:
        return code_identity(self.root, SystemRunner())

    def spec_digest(self, result: str) -> str:
        """Of everything in the parameters that a result depends on."""
        return digest_json(self.parameters.sections(result))

    def header(
        self, result: str, *, inputs: Mapping[str, str], device: str, wall_s: float, model: str | None = None
    ) -> Header:
        """The header of a result. inputs: blake3 of what was read, by path relative to the repository."""
        return Header(
            spec_digest=self.spec_digest(result),
            git_commit=self.code.commit,
            image_digest=image_digest() or NO_IMAGE,
            libs={name: version(name) for name in LIBRARIES},
            model=model,
            inputs=inputs,
            device=device,
            wall_s=wall_s,
        )
