"""The stage `transfer`: what was crafted on each arm of a seed, replayed on all of them, forward only.

The square is full: every source on every target, universal triggers and greedy flips. Its diagonal is the direct attack
again, and must be it to a millionth of a nat. Source: pile-ffn spec sections 8.2, 10 and 14 (row 11).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from trackyard.digest import digest_file, digest_json, short
from trackyard.errors import DataError
from trackyard.evaluate.attacks.outcome import Attack, AttackResult, Documents
from trackyard.evaluate.attacks.transfer import Transfer
from trackyard.evaluate.attacks.transfer import transfer as replay
from trackyard.recipes.pile_ffn.cells import ALL, BASELINE, UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.measures.attacking import HOTFLIP, UAT, bootstrap_generator, documents, scorer
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs
from trackyard.recipes.pile_ffn.results import read_result, write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import open_set, slice_digest

STAGE = "attack_transfer"
REPLAYED: Mapping[Attack, str] = {"uat": UAT, "hotflip_greedy": HOTFLIP}
"""Attacks that are replayed, and the stage whose result holds them."""
FAITHFUL_NATS = 1e-6


def transfer(study: Study, seed: int, say: Callable[[str], None]) -> None:
    """Replay the attacks of a seed's cells, and of untouched weights, on all of them.

    DataError if an attack or an export is absent, or if a replay on the arm that an attack was crafted on is not that
    attack.
    """
    started = time.monotonic()
    cells = {UNTOUCHED: Cell(arm=UNTOUCHED, seed=None)}
    cells |= {arm: Cell(arm=arm, seed=seed) for arm in study.parameters.seeded}
    sets = [open_set(study, name) for name in ("uat_eval", "flip")]
    inputs = {path: digest for tokens in sets for path, digest in tokens.inputs(study).items()}
    for cell in cells.values():
        inputs |= export_inputs(study, cell) | _attack_inputs(study, cell)
    found = replay(
        {arm: _crafted(study, cell) for arm, cell in cells.items()},
        {arm: partial(scorer, study, cell) for arm, cell in cells.items()},
        _joined([documents(tokens) for tokens in sets]),
    )
    _require_faithful(found, cells)
    anyone = Cell(arm=BASELINE, seed=seed)
    header = study.header(
        STAGE,
        anyone,
        run_id=short(digest_json({"stage": STAGE, "seed": seed, "spec": study.spec_digest(STAGE), "inputs": inputs})),
        inputs=inputs,
        slice_digest=slice_digest(study, study.replicate(anyone)),
        precision=PRECISION,
        device=device().type,
        wall_s=time.monotonic() - started,
    )
    target = study.document(STAGE, Cell(arm=ALL, seed=seed))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_result(target, STAGE, replace(header, arm=ALL, variant=None), _body(found, seed))
    say(
        f"seed {seed}: {len(cells)} x {len(cells)} arms, {len(found.diagonal)} replays equal the attack itself within "
        f"{found.diagonal_max_abs_diff:.1e} nats per token"
    )


def _attack_inputs(study: Study, cell: Cell) -> dict[str, str]:
    """blake3 of the results that the attacks are read from; DataError if one is absent."""
    found = {}
    for stage in sorted(set(REPLAYED.values())):
        path = study.document(stage, cell)
        if not path.is_file():
            raise DataError(
                what=f"{path} does not exist",
                why="a missing row of the square would be an arm whose attacks nobody tried elsewhere",
                fix=f"dvc repro pipelines/pile_ffn/dvc.yaml:{_maker(cell)}",
            )
        found[path.relative_to(study.root).as_posix()] = digest_file(path)
    return found


def _crafted(study: Study, cell: Cell) -> dict[Attack, AttackResult]:
    return {
        attack: AttackResult.of_body(read_result(study.document(stage, cell), stage).body["attacks"][attack])
        for attack, stage in REPLAYED.items()
    }


def _joined(parts: list[Documents]) -> Documents:
    """Documents of several sets, which have one length and share none (section 5)."""
    return Documents(
        doc_ids=tuple(doc_id for part in parts for doc_id in part.doc_ids),
        ids_NT=torch.cat([part.ids_NT for part in parts]),
    )


def _require_faithful(found: Transfer, cells: Mapping[str, Cell]) -> None:
    (arm, attack), worst = max(found.diagonal.items(), key=lambda item: item[1])
    if worst > FAITHFUL_NATS:
        wrong = sum(difference > FAITHFUL_NATS for difference in found.diagonal.values())
        raise DataError(
            what=f"{wrong} of {len(found.diagonal)} attacks are others when replayed where they were crafted: "
            f"{attack} of {cells[arm].name} by {worst:.2e} nats per token",
            why=f"above {FAITHFUL_NATS:g} the weights, the documents or the scoring are not those of the attack",
            fix=f"attack the export that lies there: dvc repro -f pipelines/pile_ffn/dvc.yaml:{_maker(cells[arm])}",
        )


def _body(found: Transfer, seed: int) -> dict[str, Any]:
    """Measures of every replay without its records, which are those of the source; diagonal: replays that were it."""
    return {
        "cells": {
            source: {
                target: {
                    attack: result.measures(rng=bootstrap_generator(seed, attack)) for attack, result in results.items()
                }
                for target, results in row.items()
            }
            for source, row in found.cells.items()
        },
        "diagonal": len(found.diagonal),
        "diagonal_max_abs_diff": found.diagonal_max_abs_diff,
    }


def _maker(cell: Cell) -> str:
    """The stage that attacks a cell."""
    return f"attack@{cell.arm}"
