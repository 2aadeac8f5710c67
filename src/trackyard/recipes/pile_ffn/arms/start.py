"""The untouched stage: the model that every arm starts from and is compared with, as a plain export.

A published model is loaded from what was fetched, and counted; a made one is pretrained here first.
Source: pile-ffn spec sections 2, 4 and 11.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from trackyard.digest import digest_file
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.arms.exporting import put_out, put_out_model
from trackyard.recipes.pile_ffn.arms.job import WindowJob
from trackyard.recipes.pile_ffn.arms.jobs import pretraining_job
from trackyard.recipes.pile_ffn.arms.original import CELL, write_original
from trackyard.recipes.pile_ffn.arms.origins import published_origins
from trackyard.recipes.pile_ffn.arms.starting import load_plain
from trackyard.recipes.pile_ffn.arms.trained import read_trained
from trackyard.recipes.pile_ffn.arms.training import window_stage
from trackyard.recipes.pile_ffn.arms.validating import VAL
from trackyard.recipes.pile_ffn.cost.architectures import count
from trackyard.recipes.pile_ffn.cost.sizes import SIZES
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer, open_set
from trackyard.recipes.running.training import FINAL
from trackyard.record.lineage.document import lineage_of, read_lineage
from trackyard.record.rundir import RunDirectory

Say = Callable[[str], None]
MODEL = "model"
"""Folder of the fetched model, below `Study.source`."""


def untouched(study: Study, say: Say, parameter_file: Path) -> None:
    """Put out export/untouched/. Raises StoppedEarly after a signal while a made model is pretrained."""
    if study.parameters.model.made is None:
        _export_published(study, say)
        return
    window_stage(
        study,
        CELL.name,
        say,
        parameter_file,
        prove=partial(_prove, study, say),
        prepare=partial(pretraining_job, study),
        put_out=_put_out,
    )


def _export_published(study: Study, say: Say) -> None:
    disable_progress_bar()
    started = time.monotonic()
    folder = study.source / MODEL
    model = load_plain(folder, fix="fetch the model again: dvc repro -f pipelines/pile_ffn/dvc.yaml:fetch")
    tokenizer = load_tokenizer(study)
    counts = require_size(study, model)
    if len(tokenizer) > model.config.vocab_size:
        raise ConfigError(
            what=f"the tokenizer has {len(tokenizer):,} entries, the model {model.config.vocab_size:,} rows",
            why="an id beyond the table of embeddings has no row",
            fix="tokenise with the tokenizer of the model: dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize",
        )
    say(f"model     {study.parameters.model.id}: {counts['params_total']:,} parameters")
    put_out_model(study.export(CELL), model, tokenizer)
    inputs = {
        path.relative_to(study.root).as_posix(): digest_file(path)
        for path in sorted(folder.glob("*"))
        if path.suffix in (".safetensors", ".json")
    }
    write_original(
        study,
        counts | {"pretrained": None},
        lineage=lineage_of(published_origins(study)),
        inputs=inputs,
        device="cpu",
        wall_s=time.monotonic() - started,
    )


def require_size(study: Study, model: Any) -> dict[str, int]:
    """Parameters of the model, for the result. DataError if they are not those of the size that the study names."""
    counts = count(model)
    name = study.parameters.model.size
    if name is not None:
        size = SIZES.get(name)
        if size is None:
            raise ConfigError(
                what=f"model.size={name!r}",
                why=f"sizes are {', '.join(SIZES)}",
                fix="correct pile_ffn.model.size in params.yaml, or leave it out",
            )
        expected, found = (size.parameters, size.ffn_parameters), (counts.total, counts.ffn)
        if expected != found:
            raise DataError(
                what=f"{study.parameters.model.id} has {found[0]:,} parameters, {found[1]:,} of them feed-forward; "
                f"{name} has {expected[0]:,} and {expected[1]:,}",
                why="shares and counts of the study would be those of another model",
                fix="correct pile_ffn.model in params.yaml, then dvc repro pipelines/pile_ffn/dvc.yaml:fetch",
            )
    return {"params_total": counts.total, "params_ffn": counts.ffn}


def _prove(study: Study, say: Say) -> WindowJob:
    job = pretraining_job(study)
    say(
        f"plan      {job.plan_fingerprint[:12]}: {job.steps:,} steps on {job.plan.dataset} from random weights "
        f"(seed {job.seed})"
    )
    return job


def _put_out(job: WindowJob, directory: RunDirectory) -> None:
    study, found = job.study, read_trained(directory)
    put_out(directory.path / FINAL, study.export(CELL))
    pretrained = {key: found["body"][key] for key in ("steps", "tokens", "final", "plan", "skipped", "resumes")}
    write_original(
        study,
        require_size(study, job.start().model) | {"pretrained": pretrained},
        lineage=read_lineage(directory.path),
        inputs=job.tokens.inputs(study) | open_set(study, VAL).inputs(study),
        device=found["device"],
        wall_s=found["wall_s"],
    )
