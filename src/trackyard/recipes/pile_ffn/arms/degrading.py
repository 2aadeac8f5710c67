"""The degrade stage: the baseline of a seed with as much noise as makes it as bad as the non-negative arm.

Source: pile-ffn spec section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.models.degraded import Noise, match_noise
from trackyard.models.nonneg_variants import matching
from trackyard.recipes.pile_ffn.arms.exporting import put_out_model
from trackyard.recipes.pile_ffn.arms.origins import origins_of, parent_run, spec_of
from trackyard.recipes.pile_ffn.arms.validating import VAL, val_nll
from trackyard.recipes.pile_ffn.cells import BASELINE, Arm, Cell
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs, load_exact
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer, open_set, slice_digest
from trackyard.record.lineage.document import lineage_of
from trackyard.record.lineage.origins import Origins

STAGE = "degrade"


def degrade(study: Study, cell: Cell, say: Callable[[str], None]) -> None:
    """Put out export/<cell>/ and degrade/<cell>/result.json. UnmatchedError if no amount of noise gives the loss.

    The noise is found once: a later run of the same inputs takes it from what was kept, and makes the same export.
    """
    disable_progress_bar()
    assert cell.seed is not None, cell
    variant = Arm.named(cell.arm).variant
    assert variant is not None, cell
    baseline = Cell(arm=BASELINE, seed=cell.seed)
    path = study.document("train", Cell(arm=f"nonneg_{variant}", seed=cell.seed))
    target = float(read_result(path, "train").body["final"]["val_nll"])
    model = load_exact(study, baseline)
    names = list(matching(model, variant))
    noise = Noise(model, names, seed=cell.seed)

    def nll(sigma: float) -> float:
        noise.apply(sigma)
        return val_nll(study, model)

    def make() -> Mapping[str, Any]:
        return match_noise(nll, target).to_json() | {"names": names, "of": baseline.name}

    inputs = export_inputs(study, baseline) | open_set(study, VAL).inputs(study)
    result = measured(
        study,
        STAGE,
        cell,
        inputs=inputs | {path.relative_to(study.root).as_posix(): digest_file(path)},
        make=make,
        slice_digest=slice_digest(study, study.replicate(cell)),
        precision=PRECISION,
        device=device().type,
    )
    body = result.body
    noise.apply(body["sigma"])
    put_out_model(
        study.export(cell), model, load_tokenizer(study), lineage=lineage_of(_origins(study, cell, baseline, target))
    )
    # Of every weight, and not of the loss: that would cost another pass over the validation set.
    _require_written(study, cell, model)
    say(
        f"matched   {cell.name}: {body['nll']:.4f} nats with noise of {body['sigma']:.4g} rms, wanted "
        f"{body['target']:.4f}, in {body['evaluations']} evaluations"
    )


def _origins(study: Study, cell: Cell, baseline: Cell, target: float) -> Origins:
    """The baseline with noise: no training made it, and the seed draws the noise."""
    assert cell.seed is not None, cell
    spec = spec_of(
        study,
        stage=STAGE,
        parameters={"arm": cell.arm, "target": target},
        model={"start": export_inputs(study, baseline)},
        snapshots={VAL: open_set(study, VAL).digest},
        parent=parent_run(study, baseline),
        seed=cell.seed,
    )
    return origins_of(study, spec, plan=None, models={}, parent=baseline)


def _require_written(study: Study, cell: Cell, model: Any) -> None:
    """DataError unless the export holds the very weights whose loss was matched."""
    written = dict(load_exact(study, cell).named_parameters())
    for name, weight in model.named_parameters():
        if not torch.equal(written[name], weight):
            raise DataError(
                what=f"{name} in the export of {cell.name} is not the weight that was matched",
                why="the control that is measured would not be the one that is as bad as the non-negative arm",
                fix=f"dvc repro -f pipelines/pile_ffn/dvc.yaml:{STAGE}@{Arm.named(cell.arm).variant}",
            )
