"""The model card of every export, from what the stages wrote down; nothing is typed. Theworld spec section 11."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.evaluate.statistics import Interval
from trackyard.publish.card import CARD, BaseModel, CardFacts, TrainedOn, model_card
from trackyard.publish.measured import Measured
from trackyard.recipes.datacomp.cells import ARMS, BASE, Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.gathering import AUDIT, TRAIN, Gathered
from trackyard.recipes.datacomp.report.table import HEADLINE, TITLES
from trackyard.recipes.datacomp.results import Result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.reporting.grid import Grid
from trackyard.redact import Redactor

LICENCES = {
    "google/gemma-3-4b-it": "Gemma Terms of Use",
    "nvidia/Cosmos-Predict2-2B-Video2World": "NVIDIA Open Model License",
}
"""Of published base models; whoever uses an export has accepted them."""
OURS = "made by this project, under the project's own licence"
INTERVAL = "bootstrap over items"
LISTED = 4
"""Numbers of an audit that are written out; of more, the least."""
WHAT = {
    "world": "A projector of image latents of a video world model into the token embeddings of Gemma 3.",
    "soft_prompt": "A control: free vectors in the place of projected image latents, the same for every picture.",
}


def card_path(study: Study, cell: Cell) -> Path:
    return study.artifacts / "card" / cell.path / CARD


def write_cards(study: Study, gathered: Gathered, claims: Sequence[tuple[str, str]]) -> int:
    """One for every trained cell; how many. claims: set, and what may be said of the study on it."""
    redactor = Redactor()
    for cell in study.parameters.trained_cells.values():
        text = model_card(card_facts(study.parameters, cell, gathered, claims))
        write_atomic(card_path(study, cell), redactor.text(text))
    return len(study.parameters.trained_cells)


def card_facts(
    parameters: DatacompParameters,
    cell: Cell,
    gathered: Gathered,
    claims: Sequence[tuple[str, str]],
    *,
    cost: Sequence[tuple[str, str]] = (),
    links: Sequence[tuple[str, str]] = (),
    use: str | None = None,
) -> CardFacts:
    """What the card of a trained cell states.

    links: of its lineage.json, where that is at hand.
    use: of the exported folder, None where there is only the trained part.
    """
    alone, trained = gathered.alone, gathered.cells[TRAIN][cell.label]
    audits = [*_audits(trained.body["audits"]), *_branch(parameters, cell, gathered)]
    may_be_said = [f"{TITLES[name]}: {words}." for name, words in claims]
    return CardFacts(
        title=f"TheWorld, {cell.label}",
        what=f"{WHAT[cell.name]} It sees one frame: nothing here is about time.",
        task="image-text-to-text",
        library="transformers",
        tags=("theworld", cell.name),
        use=use
        or f"    trackyard publish export datacomp/{cell.label} OUT\n\nmakes a folder that stock libraries load.",
        metrics=tuple(_measured(parameters, cell, gathered)),
        data=(_trained_on(parameters, gathered, trained),),
        bases=tuple(_bases(parameters)),
        data_words=(_data(parameters, alone), _grid(("outcome of a row", "rows", "share"), _outcomes(alone["curate"]))),
        training=tuple(_training(parameters, trained)),
        further=(
            ("Audits", f"Each stops the run where it fails; what it found in this one:\n\n{_lines(audits)}"),
            ("What may be said", _lines(may_be_said)),
        ),
        limits=tuple(_limits(parameters, trained.body)),
        cost=cost,
        lineage=(*links, *_lineage(trained, named={name for name, _ in links})),
        verify=f"trackyard lineage verify artifacts/datacomp/export/{cell.path}",
    )


def _measured(parameters: DatacompParameters, cell: Cell, gathered: Gathered) -> Iterator[Measured]:
    """Whatever uses this export, and the base model, on every set."""
    for name in parameters.evaluation.sets:
        for arm in (BASE, *(arm for arm in parameters.arms if ARMS[arm].run == cell.name)):
            label = Cell(name=arm, seed=cell.seed if ARMS[arm].seeded else None).label
            body, metric = gathered.evaluated(name)[label].body, HEADLINE[name]
            ends = Interval(*body["ci95"][metric])
            yield Measured(
                name=f"{TITLES[name]} {arm} {metric}", value=float(body[metric]), n=body["n"], over="items",
                low=ends.low, high=ends.high, how=INTERVAL,
            )  # fmt: skip


def _trained_on(parameters: DatacompParameters, gathered: Gathered, trained: Result) -> TrainedOn:
    """The samples, by the digest of their list, as the lineage of the run has it."""
    origin = gathered.alone["metadata"].body["origin"]
    curated = Study(root=Path(), parameters=parameters).curated.as_posix()
    return TrainedOn(
        name=str(origin.get("repo", origin["kind"])),
        licence=licence_of(origin),
        source=", ".join(f"{name} {value}" for name, value in origin.items() if name != "licence"),
        fingerprint=trained.header.inputs[curated],
        hub=origin.get("repo"),
    )


def licence_of(origin: Mapping[str, Any]) -> str | None:
    """Of samples from an origin, as the stage `metadata` has it; None where it states none."""
    if origin["kind"] == "mini":
        return OURS
    return f"{origin['licence']} of the list; each picture has its own" if "licence" in origin else None


def _bases(parameters: DatacompParameters) -> Iterator[BaseModel]:
    for role, of in (("language model", parameters.gemma), ("world encoder", parameters.vae)):
        made = of.made is not None
        licence = OURS if made else LICENCES.get(of.id)
        yield BaseModel(role=role, id=of.id, revision=None if made else of.revision, licence=licence)


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


def _limits(parameters: DatacompParameters, body: Mapping[str, Any]) -> Iterator[str]:
    yield f"{len(parameters.seeds)} seeds were trained; this card is about one of them"
    if parameters.gemma.made or parameters.vae.made or parameters.data.source.kind == "mini":
        yield "made models or made pictures: the scores say that the chain works, and nothing about published models"
    yield "captions of web pages are the only text that was trained on; what they get wrong was learned"
    yield "the intervals are over items, not over seeds"
    share = body["visible_share"]
    if share < 1:
        yield f"layers with a window see {share:.1%} of the world tokens from the end of a prompt"


def _lineage(trained: Result, *, named: Collection[str]) -> Iterator[tuple[str, str]]:
    """What the result states, but for what is named already."""
    header = trained.header
    stated = {
        "run": f"`{header.run_id}`",
        "seed": str(header.seed),
        "code": f"`{header.git_commit}`",
        "image": header.image_digest,
        "specification": f"`{header.spec_digest}`",
        "checkpoint": f"`{trained.body['checkpoint']['digest']}`",
        "libraries": ", ".join(f"{name} {version}" for name, version in header.libs.items()),
    }
    yield from ((name, value) for name, value in stated.items() if name not in named)


def _grid(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    return "\n".join(Grid(title="", header=header, rows=tuple(rows)).markdown())


def _lines(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
