"""Everything a stage decides before a step is trained: proved data, start, lengths, plan, identity.

A pure function of parameters and files, so every rank and every restart comes to the same.
Source: design sections 1, 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trackyard.digest import digest_json
from trackyard.errors import ConfigError
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import Sample, build_sample, load_sample, measure
from trackyard.feed.tokens import TokenTable
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan, PlannedRow
from trackyard.recipes.molmo2.parameters import Molmo2Parameters, StageName
from trackyard.recipes.molmo2.start import Start, prepare_start
from trackyard.record.code import code_identity
from trackyard.record.identity import RunSpec
from trackyard.record.image import image_digest
from trackyard.row import Row
from trackyard.runner import SystemRunner
from trackyard.snapshot.index import LengthIndex
from trackyard.snapshot.measuring import build_index
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot
from trackyard.snapshot.verify import Verified, verify_dataset

TRACK = "molmo2"
MEASURE_VERSION = 2
"""Raised when the same parameters would lay out a row otherwise: lengths of an older layout are not reused."""
PREFLIGHT_ROWS = 4
"""Rows of a dataset of which one must decode before the run starts."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A stage ready to be run. datasets: those of the mixture, by name; scored: others that are only scored on."""

    root: Path
    stage: StageName
    parameters: Molmo2Parameters
    datasets: Mapping[str, SnapshotDataset]
    scored: Mapping[str, SnapshotDataset]
    start: Start
    feed: FeedParameters
    plan: Plan
    spec: RunSpec


def held_out(name: str) -> str:
    """What the record calls the validation rows of a dataset."""
    return f"{name}/validation"


def mixture_names(mixture: MixtureParameters, snapshot: Path) -> list[str]:
    """Datasets of a mixture that lie in the snapshot; the flat kinds take every one there is."""
    present = sorted(path.parent.name for path in snapshot.glob("*/manifest.json"))
    return [name for name in present if name in mixture.datasets] if mixture.datasets else present


def verify_snapshot(parameters: Molmo2Parameters, root: Path) -> list[Verified]:
    """Re-hash every dataset of the snapshot; DataError names each damaged file and the command that restores it."""
    snapshot = root / parameters.snapshot
    return [verify_dataset(snapshot / name) for name in open_snapshot(snapshot, None)]


def prepare(parameters: Molmo2Parameters, stage: StageName, root: Path) -> Prepared:
    """Index, plan and identity of a stage. The snapshot is trusted here: `verify_snapshot` runs before."""
    snapshot = root / parameters.snapshot
    settings = parameters.stage(stage)
    everything = open_snapshot(snapshot, None)
    start = prepare_start(parameters, stage, root, everything)
    names = mixture_names(settings.mixture, snapshot)
    datasets = {name: everything[name] for name in names}
    others = sorted(parameters.validation.scored - datasets.keys())
    scored = {name: everything[name] for name in others if name in everything}
    feed = parameters.feed(stage)
    plan = build_plan(
        inputs=PlanInputs(
            datasets={
                name: dataset_input(dataset, index_of(dataset, "train", feed, start.tokens, root))
                for name, dataset in datasets.items()
            },
            mixture=settings.mixture,
            budget=Budget(tokens=settings.max_tokens, inputs=settings.max_inputs),
            packs_per_step=settings.packs_per_step,
            steps=settings.steps,
            seed=parameters.seed,
            image_weight=settings.input_weight,
            strict=parameters.strict,
        ),
        cache=root / "artifacts" / "plans",
    )
    spec = RunSpec(
        track=TRACK,
        stage=stage,
        parameters=parameters.identity(stage),
        plan=plan.fingerprint,
        model=start.identity,
        # The result holds scores on the latter.
        snapshots={name: dataset.manifest.fingerprint for name, dataset in datasets.items()}
        | {held_out(name): dataset.manifest.fingerprint for name, dataset in scored.items()},
        parent=start.parent_run,
        code=code_identity(root, SystemRunner()),
        image=image_digest(),
        seed=parameters.seed,
    )
    return Prepared(
        root=root,
        stage=stage,
        parameters=parameters,
        datasets=datasets,
        scored=scored,
        start=start,
        feed=feed,
        plan=plan,
        spec=spec,
    )


def index_of(dataset: SnapshotDataset, split: str, feed: FeedParameters, tokens: TokenTable, root: Path) -> LengthIndex:
    """Lengths of a split under these feed parameters and this tokenizer; kept by the digest of all three."""
    key = digest_json(
        {"feed": feed.model_dump(mode="json"), "tokenizer": tokens.fingerprint, "version": MEASURE_VERSION}
    )
    return build_index(
        dataset,
        split,
        partial(measure, dataset=dataset.name, params=feed, tokens=tokens),
        measure_key=key,
        cache=root / "artifacts" / "index",
    )


def dataset_input(dataset: SnapshotDataset, index: LengthIndex) -> DatasetInput:
    """The usable rows of a dataset, as a plan takes them."""
    usable = index.usable
    return DatasetInput(
        manifest_fingerprint=dataset.manifest.fingerprint,
        index_fingerprint=index.fingerprint,
        rows=usable,
        tokens=index.tokens[usable],
        visual=index.visual[usable],
        inputs=index.inputs[usable],
        labels=index.labels[usable],
        excluded=index.counts_by_reason(),
        changed=index.notes,
    )


def preflight(prepared: Prepared) -> int:
    """Decode one row of every dataset in the plan before any accelerator is used; returns how many were decoded.

    A row that does not decode is no reason to stop while others of its dataset do: the run has a budget for them.
    Raises ConfigError listing every dataset whose sampled row has no loss target, UnreadableMedia where no row decodes.
    """
    problems = []
    examined = 0
    first_rows: dict[str, list[int]] = {}
    for planned in _first_packs(prepared.plan):
        first_rows.setdefault(planned.dataset, []).append(planned.row)
    for name, numbers in sorted(first_rows.items()):
        row, sample = _first_decoded(prepared, name, numbers[:PREFLIGHT_ROWS])
        examined += 1
        if not sample.tree.labels:
            problems.append(f"{name}: row {row.id!r} has no loss target")
    if problems or not examined:
        raise ConfigError(
            what="; ".join(problems) or "the plan holds no row",
            why="training on rows without targets learns nothing, silently",
            fix="look at the rows with `trackyard data verify` and import them again with their answers",
        )
    return examined


def _first_decoded(prepared: Prepared, name: str, numbers: list[int]) -> tuple[Row, Sample]:
    """The first of these rows that decodes, as it is trained on; UnreadableMedia if none does."""
    *others, last = numbers
    for number in others:
        row = prepared.datasets[name].row("train", number)
        sample = load_sample(row, name, prepared.feed, prepared.start.tokens)
        if sample.reason is None:
            return row, sample
    row = prepared.datasets[name].row("train", last)
    return row, build_sample(row, name, prepared.feed, prepared.start.tokens)


def _first_packs(plan: Plan) -> list[PlannedRow]:
    """Rows of the first packs, as many as show every dataset that is drawn often."""
    packs = min(plan.steps * plan.packs_per_step, 64)
    return [row for pack in range(packs) for row in plan.pack(pack // plan.packs_per_step, pack % plan.packs_per_step)]
