"""What every stage of the sweep opens: the questions that are asked, and the model."""

from __future__ import annotations

import os

import torch
from transformers.utils.logging import disable_progress_bar

from trackyard.evaluate.answering.open_subject import open_subject
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.sweep.configuration import Sweep, read_sweep
from trackyard.recipes.nine.layouts.opening import open_questions
from trackyard.recipes.nine.results import PIPELINE
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.asked import Asked, asked


def asked_tasks(study: Study) -> dict[str, Asked]:
    """By task, in the order of the parameters. DataError where a data set is not there or not whole."""
    data = study.parameters.data
    found = {}
    for name, task in study.tasks.items():
        limit = data.samples.get(name, data.limit)
        found[name] = asked(task, open_questions(task, study.questions_of(task)), limit=limit, seed=data.seed)
    return found


def open_evaluated(study: Study) -> Subject:
    """The model, on the GPU that this process sees, else on its CPU threads."""
    disable_progress_bar()
    torch.set_num_threads(study.parameters.threads)
    device = torch.device(kind_of_device())
    return open_subject(study.model, device=device, precision=study.parameters.model.precision)


def kind_of_device() -> str:
    """Where a process computes. Nothing is initialised on a GPU, which would not survive a fork."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return "cuda" if torch.cuda.is_available() else "cpu"


def open_sweep(study: Study) -> Sweep:
    """DataError where it was not planned, or was altered."""
    return read_sweep(study.sweep, fix=f"dvc repro {PIPELINE}:sweep")
