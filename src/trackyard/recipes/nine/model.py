"""The stage that brings the model: the small one that the project trains, or the folder that the parameters name."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

import torch
from transformers.utils.logging import disable_progress_bar

from trackyard.evaluate.answering.open_subject import open_subject
from trackyard.models.expert_routing import expert_count
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.results import write_result
from trackyard.recipes.nine.study import Study

STAGE = "model"


def model(study: Study, say: Callable[[str], None]) -> None:
    """Train the small model, or open the one that is named; either way its folder opens as it will be evaluated."""
    started = time.monotonic()
    disable_progress_bar()
    torch.set_num_threads(study.parameters.threads)
    parameters, training = study.parameters.model, None
    if parameters.made is not None:
        from trackyard.recipes.nine.fixture.training import training_rows
        from trackyard.recipes.nine.made.training import make_model

        fixture = study.parameters.data.fixture
        rows = list(training_rows(fixture.seed if fixture else 0, parameters.made.rows))
        if study.model.exists():
            shutil.rmtree(study.model)
        # All cores: nothing else of the pipeline runs meanwhile.
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        training = make_model(study.model, rows, parameters.made, say=say)
    subject = open_subject(study.model, device=torch.device("cpu"), precision=parameters.precision)
    body = {
        "name": subject.name,
        "digest": subject.digest,
        "parameters": sum(weight.numel() for weight in subject.model.parameters()),
        "blocks": len(decoder_blocks(subject.model)),
        "experts": expert_count(subject.model),
        "training": training,
    }
    header = study.header(
        STAGE, inputs={}, device="cpu", wall_s=round(time.monotonic() - started, 3), model=subject.digest
    )
    write_result(study.document(STAGE), STAGE, header, body)
    told = f", {body['experts']} experts" if body["experts"] else ""
    say(f"model     {subject.name}: {body['parameters']:,} parameters, {body['blocks']} blocks{told}")
