"""The model card of every export, from what the stages wrote down; nothing is typed. Theworld spec section 11."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trackyard.durable import write_atomic
from trackyard.recipes.datacomp.cells import ARMS, BASE, Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.claims import Claim
from trackyard.recipes.datacomp.report.gathering import AUDIT, TRAIN, Gathered
from trackyard.recipes.datacomp.report.table import TITLES, Row
from trackyard.recipes.datacomp.results import Result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.reporting.grid import Grid
from trackyard.redact import Redactor

CARD = "README.md"
LICENCES = {
    "google/gemma-3-4b-it": "Gemma Terms of Use",
    "nvidia/Cosmos-Predict2-2B-Video2World": "NVIDIA Open Model License",
}
"""Of published base models; whoever uses an export has accepted them."""
LISTED = 4
"""Numbers of an audit that are written out; of more, the least."""
_UNKNOWN = "not stated here: see its page on the hub"
_OURS = "made by this project, under the project's own licence"


def card_path(study: Study, cell: Cell) -> Path:
    return study.artifacts / "card" / cell.path / CARD


def write_cards(study: Study, gathered: Gathered, rows: Sequence[Row], found: Sequence[Claim]) -> int:
    """One for every trained cell; how many."""
    redactor = Redactor()
    for label, cell in study.parameters.trained_cells.items():
        text = model_card(study.parameters, label, cell, gathered, rows, found)
        write_atomic(card_path(study, cell), redactor.text(text))
    return len(study.parameters.trained_cells)


def model_card(
    parameters: DatacompParameters,
    label: str,
    cell: Cell,
    gathered: Gathered,
    rows: Sequence[Row],
    found: Sequence[Claim],
) -> str:
    """Markdown with the front matter of the hub."""
    alone, trained = gathered.alone, gathered.cells[TRAIN][label]
    origin, base = alone["metadata"].body["origin"], trained.header.base
    front: dict[str, Any] = {
        "pipeline_tag": "image-text-to-text",
        "tags": ["trackyard", "theworld", cell.name],
        "license": "other",
    }
    if parameters.gemma.made is None:
        front["base_model"] = [parameters.gemma.id]
    if "repo" in origin:
        front["datasets"] = [origin["repo"]]
    what = {
        "world": "A projector of image latents of a video world model into the token embeddings of a frozen Gemma 3.",
        "soft_prompt": "A control: free vectors in the place of projected image latents, the same for every picture.",
    }[cell.name]
    sections: list[str] = [
        f"---\n{yaml.safe_dump(front, sort_keys=True)}---",
        f"# TheWorld, {label}",
        f"{what} Only what was trained is in `model.safetensors`; `world_config.json` names the base models that it "
        "belongs to. It sees one frame: nothing here is about time.",
        "## Base models and licences",
        *_grid(("", "model", "licence"), _bases(parameters, base.gemma, base.vae)),
        f"Blake3 of the encoder's weights: `{base.vae_digest or 'not stated'}`. Licence of the data: "
        f"{_data_licence(origin)}. The weights inherit whatever terms these impose.",
        "## Training",
        *_grid(("", ""), _training(parameters, trained)),
        "## Data",
        _data(parameters, alone),
        *_grid(("outcome of a row", "rows", "share"), _outcomes(alone["curate"])),
        "## Audits",
        "Each stops the run where it fails; what it found in this one:",
        *_lines(_audits(trained.body["audits"])),
        *_lines(_branch(parameters, cell, gathered)),
        "## Results",
        "Score with its 95 % interval over items. What is compared with what, and how: `report.md` of the study.",
        *_grid(("set", "items", *_arms(parameters, cell)), _results(parameters, cell, rows)),
        *_lines(f"{TITLES[claim.benchmark]}: {claim.words}." for claim in found),
        "## Limits",
        *_lines(_limits(parameters, trained.body)),
        "## Lineage",
        *_grid(("", ""), _lineage(trained)),
    ]
    return "\n\n".join(sections) + "\n"


def _bases(parameters: DatacompParameters, gemma: str, vae: str) -> Iterator[tuple[str, ...]]:
    for role, of, named in (
        ("language model", parameters.gemma, gemma),
        ("world encoder", parameters.vae, vae),
    ):
        yield role, f"`{named}`", LICENCES.get(of.id, _UNKNOWN) if of.made is None else _OURS


def _data_licence(origin: Mapping[str, Any]) -> str:
    if origin["kind"] == "mini":
        return _OURS
    return f"{origin['licence']} of the list; each picture has its own" if "licence" in origin else _UNKNOWN


def _training(parameters: DatacompParameters, trained: Result) -> Iterator[tuple[str, str]]:
    body, training = trained.body, parameters.training
    counts = ", ".join(f"{name} {count:,}" for name, count in body["counts"].items())
    lengths = body["seq_len"]
    yield "trained parameters", f"{sum(body['counts'].values()):,} ({counts}); {body['expected']:,} expected"
    yield "steps", f"{body['steps']:,}, with {body['draws']:,} draws of {body['samples']:,} samples"
    yield "supervised tokens", f"{body['supervised_tokens']:,}"
    yield "sequence length", f"{lengths['min']:,} to {lengths['max']:,}, mean {lengths['mean']:,.1f}"
    yield "epochs, samples a step", f"{training.epochs}, {training.samples_per_step}"
    yield "rate", f"{training.learning_rate:g}, {training.warmup_steps} steps of warm-up, then linear to 0"
    yield "question", f"{training.question}; the answer is the caption"
    world = parameters.world.model_dump(mode="json")
    yield "world branch", ", ".join(f"{name} {value}" for name, value in world.items() if value is not None)
    yield "computed on", trained.header.device


def _data(parameters: DatacompParameters, alone: Mapping[str, Result]) -> str:
    origin, found, curated = alone["metadata"].body["origin"], alone["download"].body, alone["curate"].body
    named = " ".join(f"{value}" for name, value in origin.items() if name != "licence")
    faces = "Faces that the list names were blurred" if parameters.data.images.blur_faces else "Faces were not blurred"
    return (
        f"From {named}: {found['attempted']:,} addresses were asked, {found['ok']:,} gave a picture "
        f"({found['acceptance']:.1%}); {curated['kept']:,} became samples, {curated['surplus']:,} more are spare. "
        f"{faces}; pictures whose site opts out are not used; exact copies, pictures of the benchmarks "
        f"({curated['eval_pictures']:,} were compared) and rows without a caption were removed."
    )


def _outcomes(curated: Result) -> Iterator[tuple[str, ...]]:
    outcomes, rows = curated.body["outcomes"], curated.body["attempted"]
    for name, count in sorted(outcomes.items(), key=lambda item: -item[1]):
        yield name, f"{count:,}", f"{count / rows:.2%}"
    yield "all", f"{rows:,}", f"{sum(outcomes.values()) / rows:.2%}"


def _audits(audits: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for audit in audits:
        rest = {name: value for name, value in audit.items() if name not in ("audit", "step", "schema")}
        step = f" after step {audit['step']}" if "step" in audit else ""
        told = (f"{name} {_value(value)}" for name, value in rest.items())
        yield f"{audit['audit']}{step}: {', '.join(told)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"of {len(value):,}"
    if isinstance(value, Mapping) and len(value) > LISTED:
        return f"of {len(value)}, the least {_value(min(value.values()))}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_value(each)}" for name, each in value.items()) + ")"
    return f"{value:,}" if type(value) is int else f"{value:.3g}" if isinstance(value, float) else str(value)


def _branch(parameters: DatacompParameters, cell: Cell, gathered: Gathered) -> Iterator[str]:
    if cell.name in parameters.arms:
        body = gathered.cells[AUDIT][cell.label].body
        yield (
            f"before evaluation: branch {body['branch']}, {body['latent_reads']} latents read for {body['images']} "
            f"pictures, moves of the first logits {_value(body['moves'])}"
        )


def _arms(parameters: DatacompParameters, cell: Cell) -> list[str]:
    """Whatever uses this export, and the base model."""
    return [BASE, *(arm for arm in parameters.arms if ARMS[arm].run == cell.name)]


def _results(parameters: DatacompParameters, cell: Cell, rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    by_place = {(row.set, row.arm): row for row in rows}
    for name in parameters.evaluation.sets:
        texts = []
        for arm in _arms(parameters, cell):
            row = by_place[name, arm]
            label = Cell(name=arm, seed=cell.seed if ARMS[arm].seeded else None).label
            ends = row.ci95_of[label]
            texts.append(f"{row.scores[label]:.3f} [{ends.low:.3f}, {ends.high:.3f}]")
        yield f"{TITLES[name]} ({row.metric})", f"{row.items:,}", *texts


def _limits(parameters: DatacompParameters, body: Mapping[str, Any]) -> Iterator[str]:
    yield f"{len(parameters.seeds)} seeds were trained; this card is about one of them"
    if parameters.gemma.made or parameters.vae.made or parameters.data.source.kind == "mini":
        yield "made models or made pictures: the scores say that the chain works, and nothing about published models"
    yield "captions of web pages are the only text that was trained on; what they get wrong was learned"
    yield "the intervals are over items, not over seeds"
    share = body["visible_share"]
    if share < 1:
        yield f"layers with a window see {share:.1%} of the world tokens from the end of a prompt"


def _lineage(trained: Result) -> Iterator[tuple[str, str]]:
    header = trained.header
    yield "run", f"`{header.run_id}`"
    yield "seed", str(header.seed)
    yield "code", f"`{header.git_commit}`"
    yield "specification", f"`{header.spec_digest}`"
    yield "checkpoint", f"`{trained.body['checkpoint']['digest']}`"
    yield "image", header.image_digest
    yield "libraries", ", ".join(f"{name} {version}" for name, version in header.libs.items())


def _grid(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    lines = Grid(title="", header=header, rows=tuple(rows)).markdown()
    return ["\n".join(lines)]


def _lines(items: Iterator[str]) -> list[str]:
    found = [f"- {item}" for item in items]
    return ["\n".join(found)] if found else []
