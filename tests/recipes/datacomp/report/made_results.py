"""Results of a whole track, written as the stages write them, with scores that are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.digest import digest_file, digest_json
from trackyard.recipes.datacomp.cells import BASE, NO_WORLD, Cell
from trackyard.recipes.datacomp.evaluating.scoring import Record, body_of
from trackyard.recipes.datacomp.report.gathering import ALONE, AUDIT, TRAIN, declared_results
from trackyard.recipes.datacomp.results import Base, Header, write_result
from trackyard.recipes.datacomp.study import EVALUATIONS, Study
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import open_or_create
from trackyard.record.spool import Spool

ITEMS = 60
TASKS = ("far", "near", "on")
RIGHT = {
    BASE: 18, "world": 54, "random_projection": 20, "zero_latents": 19, "shuffled_latents": 17, NO_WORLD: 18,
    "soft_prompt": 22,
}  # fmt: skip
"""Items that an arm answers rightly, of ITEMS, the first ones; a seed has one more than the seed before it."""
OPTIONS = ("yes", "no")
SETS = ("vsr", "captions")

Change = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class PlainSet:
    """A set that reports nothing of its own."""

    name: str

    def figures(self, records: Any) -> dict[str, Any]:
        return {}


def made_study(root: Path, *, seeds: tuple[int, ...] = (42, 1337, 2024), **changes: Any) -> Study:
    """The declaration of a study, without results."""
    given: dict[str, Any] = {
        "seeds": list(seeds),
        "evaluation.sets": list(SETS),
        "evaluation.resamples": 200,
        "evaluation.least_margin": 0.3,
    }
    study = Study(root=root, parameters=changed(given | {name.replace("__", "."): to for name, to in changes.items()}))
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def write_study(study: Study, change: Change | None = None) -> None:
    """Exports, runs, and a result of all that is declared. change: of (result, cell, body), before it is sealed."""
    for cell in study.parameters.trained_cells.values():
        folder = study.export(cell)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(f"weights of {cell.label}")
        (folder / "world_config.json").write_text("{}")
    for name in ALONE:
        write_one(study, name, None, change=change)
    for name, cells in declared_results(study).items():
        for cell in cells.values():
            write_one(study, name, cell, change=change)


def write_one(study: Study, name: str, cell: Cell | None, *, change: Change | None = None, **header: Any) -> None:
    """One result. header: what it says other than it should."""
    body = _body(study, name, cell)
    if change is not None:
        change(name, "the study" if cell is None else cell.label, body)
    run = cell is not None and name == TRAIN
    made = replace(
        _header(),
        spec_digest=study.spec_digest(name),
        cell=name if cell is None else cell.name,
        seed=None if cell is None else cell.seed,
        run_id=_run(study, cell) if cell is not None and run else "abc",
        inputs={} if cell is None else inputs(study, cell) | (_samples(study) if run else {}),
    )
    write_result(study.document(name, cell), name, replace(made, **header), body)


@cache
def _header() -> Header:
    """What all results say. (Asking for the versions of libraries takes longer than writing a result.)"""
    return Header(
        run_id="", spec_digest="", git_commit="c" * 40, image_digest="none", libs={"torch": "2.13.0"},
        base=Base(gemma="tiny-gemma3@made", vae="tiny-wan-vae@made", vae_digest="d" * 64), cell="", seed=None,
        inputs={}, device="cpu", wall_s=1.0,
    )  # fmt: skip


def inputs(study: Study, cell: Cell) -> dict[str, str]:
    paths = sorted(study.export(cell).glob("*"))
    return {path.relative_to(study.root).as_posix(): digest_file(path) for path in paths}


def _samples(study: Study) -> dict[str, str]:
    """What every run is trained on."""
    study.curated.parent.mkdir(parents=True, exist_ok=True)
    study.curated.write_text("samples")
    return {study.curated.relative_to(study.root).as_posix(): digest_file(study.curated)}


def right_answers(study: Study, cell: Cell) -> int:
    own = 0 if cell.seed is None or cell.name == NO_WORLD else study.parameters.seeds.index(cell.seed)
    return RIGHT[cell.name] + own


def run_directory(study: Study, cell: Cell) -> Path:
    return study.runs / "datacomp" / "train" / _spec(study, cell).run_id


def _spec(study: Study, cell: Cell) -> RunSpec:
    return RunSpec(
        track="datacomp", stage="train", parameters={"run": cell.name}, plan="p" * 12, model={"id": "tiny"},
        snapshots={}, parent=None, code=study.code, image=None, seed=cell.seed or 0,
    )  # fmt: skip


def _run(study: Study, cell: Cell) -> str:
    """A training run that has ended."""
    directory = open_or_create(study.runs, _spec(study, cell))
    if not list(directory.spool.glob("*.jsonl")):
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics({"train/loss": 2.0}, 1)
            spool.status("finished")
    return directory.spec.run_id


def _body(study: Study, name: str, cell: Cell | None) -> dict[str, Any]:
    if cell is None:
        return deepcopy(_ALONE.get(name, {}))
    if name == TRAIN:
        return _trained(cell)
    if name == AUDIT:
        return _audited(cell)
    return _evaluated(study, {result: of for of, result in EVALUATIONS.items()}[name], cell)


_ALONE: dict[str, dict[str, Any]] = {
    "metadata": {"origin": {"kind": "mini", "revision": "made"}, "rows": 480},
    "download": {"rows": 402, "repeated": 2, "attempted": 400, "ok": 290, "causes": {"http_404": 110},
                 "acceptance": 0.725, "wanted": 240},
    "curate": {"kept": 240, "surplus": 30, "removed": {"duplicate": 5, "eval_overlap": 12, "empty_caption": 4},
               "attempted": 402, "outcomes": {"ok": 270, "http_404": 111, "duplicate": 5, "eval_overlap": 12,
                                              "empty_caption": 4},
               "eval_pictures": 384, "eval_pictures_without_gradient": 0},
}  # fmt: skip


def _trained(cell: Cell) -> dict[str, Any]:
    return {
        "counts": {"projector": 69_760, "boundaries": 128, "gain": 1},
        "expected": 69_889,
        "steps": 180,
        "samples": 240,
        "draws": 2_880,
        "supervised_tokens": 40_000,
        "seq_len": {"min": 60, "mean": 70.5, "max": 90},
        "visible_share": 1.0,
        "skipped": [],
        "plan": f"plan of seed {cell.seed}",
        "final": {"train_nll": 3.0 / 176 + (cell.seed or 0) / 1e4},
        "history": [
            {"step": step, "tokens": 900 * step, "train_nll": 3.0 / step + (cell.seed or 0) / 1e4}
            for step in range(1, 181, 5)
        ],
        "audits": [
            {"audit": "in_graph", "step": 1, "first_moments": {f"tensor.{n}": 0.1 * (n + 1) for n in range(7)}},
            {"audit": "movement", "step": 20, "tensors": [{"name": "gain"}, {"name": "start"}]},
            {"audit": "branch_connected", "step": 180, "reads": True, "changes": {"another": 0.5, "zeros": 0.7}},
        ],
        "checkpoint": {"path": f"runs/{cell.label}", "digest": digest_json(cell.label)},
    }


def _audited(cell: Cell) -> dict[str, Any]:
    branch = "off" if cell.name in (BASE, NO_WORLD) else "free vectors" if cell.name == "soft_prompt" else "connected"
    reads = 0 if branch == "off" else 4
    moves = {"another": 0.2, "zeros": 0.3, "noise": 0.4} if branch == "connected" else {}
    return {"branch": branch, "images": 4, "latent_reads": reads, "items": 4, "least": 1e-4, "moves": moves}


def _evaluated(study: Study, name: str, cell: Cell) -> dict[str, Any]:
    """Golds alternate. Likelihoods are those of the weights, which no_world_tokens shares with the base model."""
    right = right_answers(study, cell)
    weights = BASE if cell.name == NO_WORLD else cell.label
    nudge = int(digest_json([weights, name])[:6], 16) / 16**6
    records = []
    for number in range(ITEMS):
        gold, other = OPTIONS if number % 2 else OPTIONS[::-1]
        pred = gold if number < right else other
        records.append(
            Record(
                id=f"{name}-{number:03d}", task=TASKS[number % len(TASKS)], gold=gold, pred=pred, correct=pred == gold,
                loglik={pred: -1.0 - nudge, gold if pred == other else other: -2.0 - nudge},
            )
        )  # fmt: skip
    return body_of(PlainSet(name), records, resamples=200, most_empty=0.02)  # type: ignore[arg-type]
