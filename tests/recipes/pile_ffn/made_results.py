"""Results of a whole study, written as the stages write them, with numbers that are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.original import STAGE as PRETRAINING
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.report.gathering import MEASURED, declared
from trackyard.recipes.pile_ffn.results import DOCUMENT, Data, Header, Model, write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import open_or_create
from trackyard.record.spool import Spool

ARMS = ("baseline", "nonneg_mlp_in", "nonneg_mlp_both", "signfrozen_mlp_both", "absinit_mlp_both")
DEGRADED = ("mlp_both",)
COMPONENTS = ("prose", "code")
DOCUMENTS = 8
TOKENS = 100
"""Predicted of every document."""
NLL = {
    "untouched": 2.0, "baseline": 1.9, "nonneg_mlp_in": 2.4, "nonneg_mlp_both": 2.6, "signfrozen_mlp_both": 1.95,
    "absinit_mlp_both": 2.5, "degraded_mlp_both": 2.605,
}  # fmt: skip
"""Nats per token of an arm; a cell has a little more."""
RISE = {"untouched": 0.5, "baseline": 0.4, "nonneg_mlp_in": 0.45, "nonneg_mlp_both": 0.1, "signfrozen_mlp_both": 0.39,
        "absinit_mlp_both": 0.3, "degraded_mlp_both": 0.38}  # fmt: skip
"""Nats per token that greedy flips add to an arm."""
SHARE = {"uat": 0.8, "random_trigger": 0.1, "hotflip_one_shot": 0.6, "hotflip_greedy": 1.0, "random_flips": 0.2,
         "query": 0.3}  # fmt: skip
"""Of `RISE`, by attack."""
TASKS = {"lambada_openai": (0.3, None), "hellaswag": (0.4, 0.25)}

Change = Callable[[str, str, dict[str, Any]], None]


def made_study(root: Path, *, seeds: tuple[int, ...] = (42, 1337, 2024), **changes: Any) -> Study:
    """The declaration of a study, without results."""
    given: dict[str, Any] = {
        "seeds": list(seeds),
        "arms": list(ARMS),
        "degraded": list(DEGRADED),
        "measured": ["untouched", *ARMS, *(f"degraded_{variant}" for variant in DEGRADED)],
        "model": {"id": "tiny-gpt-neox", "made": {}},
        "training": {"learning_rates": dict.fromkeys(ARMS, 1e-3)},
    }
    study = Study(root=root, parameters=parse_parameters(PileFfnParameters, given | changes, where="made"))
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def write_study(study: Study, change: Change | None = None) -> None:
    """Exports, runs, and a result of all that is declared. change: of (stage, name, body), before it is sealed."""
    tokens = study.tokens / "test" / "manifest.json"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("the test set")
    for cell in study.parameters.cells.values():
        folder = study.export(cell) / "fp32"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(f"weights of {cell.name}")
        (folder / "config.json").write_text("{}")
    for stage, cells in declared(study).items():
        for name, cell in cells.items():
            write_one(study, stage, name, cell, change=change)
    made = replace(_header(study.code.commit, study.parameters.model.id), run_id=_run(study, CELL), arm=CELL.arm)
    write_result(study.export(CELL) / DOCUMENT, PRETRAINING, made, {"files": {}})


def write_one(study: Study, stage: str, name: str, cell: Cell, *, change: Change | None = None, **header: Any) -> None:
    """One result. header: what it says other than it should."""
    body = BODIES[stage](study, cell)
    if change is not None:
        change(stage, name, body)
    made = replace(
        _header(study.code.commit, study.parameters.model.id),
        spec_digest=study.spec_digest(stage),
        arm=cell.arm,
        seed=cell.seed,
        run_id=_run(study, cell) if stage == "train" else "abc",
        inputs=inputs(study, cell if stage in MEASURED else Cell(arm="untouched", seed=None)),
        data=Data(
            id="mini",
            revision="made",
            slice_digest=None if cell.seed is None else f"slice of seed {cell.seed}",
        ),
    )
    write_result(study.document(stage, cell), stage, replace(made, **header), body)


@cache
def _header(commit: str, model: str) -> Header:
    """What all results of a study say. (Asking for the versions of libraries takes longer than writing a result.)"""
    return Header(
        run_id="", spec_digest="", git_commit=commit, image_digest="none", libs={"torch": "2.13.0"},
        model=Model(id=model, revision="made"), arm="", variant=None, seed=None,
        data=Data(id="mini", revision="made", slice_digest=None), inputs={}, precision={"scoring": "fp32"},
        device="cpu", wall_s=1.0,
    )  # fmt: skip


def inputs(study: Study, cell: Cell) -> dict[str, str]:
    paths = [study.tokens / "test" / "manifest.json", *(study.export(cell) / "fp32").glob("*")]
    return {path.relative_to(study.root).as_posix(): digest_file(path) for path in paths}


def nudge(study: Study, cell: Cell) -> float:
    """What a cell has beyond its arm: seeds are 0.01 nats apart."""
    return 0.0 if cell.seed is None else 0.01 * study.replicate(cell)


def run_directory(study: Study, cell: Cell) -> Path:
    spec = _spec(study, cell)
    return study.runs / "pile_ffn" / spec.stage / spec.run_id


def _spec(study: Study, cell: Cell) -> RunSpec:
    return RunSpec(
        track="pile_ffn", stage="train" if cell.seed else PRETRAINING, parameters={"arm": cell.arm}, plan="p" * 12,
        model={"id": "tiny"}, snapshots={}, parent=None, code=study.code, image=None, seed=cell.seed or 0,
    )  # fmt: skip


def _run(study: Study, cell: Cell) -> str:
    """A training run that has ended."""
    directory = open_or_create(study.runs, _spec(study, cell))
    if not list(directory.spool.glob("*.jsonl")):
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics({"train/loss": 2.0}, 1)
            spool.status("finished")
    return directory.spec.run_id


def _perplexity(study: Study, cell: Cell) -> dict[str, Any]:
    """Documents rise by 0.001 nats per token, around the cell's mean."""
    mean = NLL[cell.arm] + nudge(study, cell)
    per_token = [mean + 0.001 * (place - (DOCUMENTS - 1) / 2) for place in range(DOCUMENTS)]
    documents = [
        {"doc_id": f"d{place}", "component": COMPONENTS[place % 2], "nll": TOKENS * nll, "predicted": TOKENS}
        for place, nll in enumerate(per_token)
    ]
    return {
        **_perplexities(per_token),
        "scoring": {"length": TOKENS, "stride": TOKENS},
        "by_component": {name: _perplexities(per_token[place::2]) for place, name in enumerate(COMPONENTS)},
        "documents": documents,
    }


def _perplexities(per_token: list[float]) -> dict[str, Any]:
    nll = sum(per_token) / len(per_token)
    return {
        "nll": nll, "ppl": math.exp(nll), "bpb": nll / (4 * math.log(2)), "predicted_tokens": TOKENS * len(per_token),
        "docs": len(per_token), "windows": len(per_token), "ci95": {"low": nll - 0.02, "high": nll + 0.02},
    }  # fmt: skip


def _benchmarks(study: Study, cell: Cell) -> dict[str, Any]:
    return {
        "tasks": {
            task: {
                "acc": {"value": value - NLL[cell.arm] / 10, "stderr": 0.02},
                "acc_norm": {"value": value - NLL[cell.arm] / 20, "stderr": 0.02},
                "n": 24,
                "chance": chance,
                "dataset_revision": "r" * 40,
                "task_hash": "t" * 64,
            }
            for task, (value, chance) in TASKS.items()
        }
    }


def _order(study: Study, cell: Cell) -> dict[str, Any]:
    """Two layers. Arms differ in the first, seeds in the second."""
    scores = [0.6 + NLL[cell.arm] / 20, 0.8 + nudge(study, cell)]
    return {
        "pooling": {pooling: _by_layer(scores) for pooling in ("last", "mean")},
        "controls": {
            name: {"last": _by_layer([0.5, 0.5]), "mean": _by_layer([0.5, 0.5])}
            for name in ("random_directions", "shuffled_labels")
        },
        "ffn_direct": [
            # With the residual path nearly everything looks ordered, and nothing is read from that.
            {
                "layer": layer,
                "samples": 8,
                "share": 0.97,
                "without_residual": 0.7 + layer / 10 if "nonneg" in cell.arm else 0.5,
            }
            for layer in (1, 2)
        ],
    }


def _by_layer(scores: list[float]) -> dict[str, Any]:
    return {"layer": [1, 2], "score": scores, "ci95": [[score - 0.05, score + 0.05] for score in scores]}


def _attacks(*attacks: str) -> Callable[[Study, Cell], dict[str, Any]]:
    def body(study: Study, cell: Cell) -> dict[str, Any]:
        return {
            "attacks": {attack: _attack(study, cell, attack) for attack in attacks},
            "gradient_masking_suspected": {
                attack: False for attack in attacks if attack.startswith(("uat", "hotflip"))
            },
        }

    return body


def _attack(study: Study, cell: Cell, attack: str) -> dict[str, Any]:
    clean = NLL[cell.arm] + nudge(study, cell)
    rise = SHARE[attack] * RISE[cell.arm] + nudge(study, cell)
    deltas = [rise + 0.002 * (place - (DOCUMENTS - 1) / 2) for place in range(DOCUMENTS)]
    return {
        "n": DOCUMENTS,
        "mean_delta_nats": sum(deltas) / DOCUMENTS,
        "ci95": [rise - 0.01, rise + 0.01],
        "median": rise,
        "success": {str(tau): sum(delta >= tau for delta in deltas) / DOCUMENTS for tau in (0.1, 0.5)},
        "relative_not_primary": rise / clean,
        "records": [
            {"doc_id": f"a{place}", "clean": clean, "attacked": clean + delta, "delta": delta}
            for place, delta in enumerate(deltas)
        ],
    }


def _train(study: Study, cell: Cell) -> dict[str, Any]:
    history = [{"step": step, "train_nll": NLL[cell.arm] + 1 / step + nudge(study, cell)} for step in (10, 20, 30)]
    digest = f"checkpoint of {cell.name}"
    final = {"train_nll": history[-1]["train_nll"], "val_nll": NLL[cell.arm] + nudge(study, cell)}
    checkpoint = {"path": "final", "digest": digest}
    return {
        "steps": 30, "tokens": 1000, "plan": f"plan of seed {cell.seed}", "skipped": [], "final": final,
        "history": history, "checkpoint": checkpoint,
    }  # fmt: skip


def _transfer(study: Study, cell: Cell) -> dict[str, Any]:
    arms = list(NLL)
    return {
        "cells": {
            source: {
                target: {
                    attack: {"mean_delta_nats": SHARE[attack] * RISE[target] * (1 if source == target else 0.5)}
                    for attack in ("uat", "hotflip_greedy")
                }
                for target in arms
            }
            for source in arms
        },
        "diagonal": 2 * len(arms),
        "diagonal_max_abs_diff": 0.0,
    }


BODIES: Mapping[str, Callable[[Study, Cell], dict[str, Any]]] = {
    "init": lambda study, cell: {"matched": 0 if cell.arm == "baseline" else 4},
    "train": _train,
    "degrade": lambda study, cell: {"sigma": 0.1, "nll": 2.6 + nudge(study, cell)},
    "eval_ppl": _perplexity,
    "eval_bench": _benchmarks,
    "probe_order": _order,
    "attack_uat": _attacks("uat", "random_trigger"),
    "attack_hotflip": _attacks("hotflip_one_shot", "hotflip_greedy", "random_flips", "query"),
    "attack_transfer": _transfer,
}
