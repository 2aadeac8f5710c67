"""What a parameter file says of a Molmo2 stage, read without the recipe, whose parts import torch; and its plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.cli.table import STAGES
from trackyard.durable import TEMPORARY
from trackyard.errors import ConfigError, DataError
from trackyard.parameters import parse_parameters, read_layered
from trackyard.plan.mixture import MixtureParameters
from trackyard.snapshot.manifest import NAME, Manifest

PLANS = Path("artifacts/plans")
REPORT_ROWS_PER_PACK = 3.8
"""What the Molmo2 report reaches (molmo2 spec section 9), where there is no plan to count in."""


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """The settings of a stage that rates and draws depend on. file: as the user named it."""

    file: Path
    stage: str
    snapshot: Path
    mixture: MixtureParameters
    values: Mapping[str, Any]
    """Of the stage, as in the file, `seed` and `strict` of the track among them."""

    @property
    def packs(self) -> int:
        """Packs of all steps."""
        return int(self.values["steps"]) * int(self.values["packs_per_step"])


def require_stage(stage: str, *, command: str) -> None:
    """ConfigError for a name that is no stage. command: what to type instead."""
    if stage not in STAGES:
        raise ConfigError(
            what=f"no stage {stage!r}", why=f"the track molmo2 has {', '.join(STAGES)}", fix=f"trackyard {command}"
        )


def read_settings(root: Path, file: Path, stage: str) -> StageSettings:
    """The settings of `stage` in `file`; ConfigError if the file does not have them."""
    track = read_layered(root / file).get("molmo2")
    values = track.get(stage) if isinstance(track, dict) else None
    wanted = ("steps", "packs_per_step", "max_tokens", "max_inputs", "input_weight", "mixture")
    lacking = [name for name in wanted if name not in values] if isinstance(values, dict) else [stage]
    if not isinstance(track, dict) or not isinstance(values, dict) or lacking or "snapshot" not in track:
        raise ConfigError(
            what=f"{file}: molmo2 lacks {', '.join(lacking or ['snapshot'])}",
            why="a mixture belongs to a stage with steps, packs and a snapshot",
            fix=f"correct {file}; `trackyard params` prints what is allowed",
        )
    return StageSettings(
        file=file,
        stage=stage,
        snapshot=Path(track["snapshot"]),
        mixture=parse_parameters(MixtureParameters, values["mixture"], where=f"{file}: molmo2.{stage}.mixture"),
        values=values | {"seed": track.get("seed", 0), "strict": track.get("strict", False)},
    )


def manifests(root: Path, snapshot: Path) -> dict[str, Manifest]:
    """Manifests of the datasets of a snapshot, by name; DataError if there is none."""
    folders = sorted(path.parent for path in (root / snapshot).glob(f"*/{NAME}"))
    found = {folder.name: Manifest.read(folder) for folder in folders if not folder.name.startswith(TEMPORARY)}
    if not found:
        raise DataError(
            what=f"there is no snapshot in {snapshot}",
            why="the rows of its datasets decide the rates",
            fix="`dvc pull data.dvc`, or count the rows of the catalogue: `trackyard mixture show --sizes catalog`",
        )
    return found


def fitting_plans(root: Path, settings: StageSettings) -> list[tuple[Path, dict[str, Any]]]:
    """Plans made with these settings from these data, newest first: their folders and documents.

    The lengths of the rows, which depend on the tokenizer as well, are not compared: a plan that fits is the stage's
    own unless those have changed. That one is there can be said at once, which one it is only by the recipe.
    """
    from trackyard.plan.plan import DOCUMENT, SCHEMA

    there = {name: manifest.fingerprint for name, manifest in manifests(root, settings.snapshot).items()}
    named = settings.mixture.datasets
    expected = {name: fingerprint for name, fingerprint in there.items() if not named or name in named}
    values = settings.values
    wanted = {
        "mixture": settings.mixture.model_dump(mode="json", exclude={"loss_weights"}),
        "budget": {"tokens": values["max_tokens"], "inputs": values["max_inputs"]},
        "image_weight": values["input_weight"],
        **{name: values[name] for name in ("steps", "packs_per_step", "seed", "strict")},
    }
    found = []
    complete = [path for path in (root / PLANS).glob(f"*/{DOCUMENT}") if not path.parent.name.startswith(TEMPORARY)]
    for path in sorted(complete, key=lambda path: path.stat().st_mtime, reverse=True):
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            continue
        inputs = document["inputs"]
        made_from = {item["name"]: item["manifest"] for item in inputs["datasets"]}
        if made_from == expected and all(inputs.get(name) == value for name, value in wanted.items()):
            found.append((path.parent, document))
    return found
