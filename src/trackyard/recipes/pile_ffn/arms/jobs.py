"""The runs of the study as every rank and every restart comes to them: arms at seeds, and a made model's pretraining.

Source: pile-ffn spec sections 3, 5 and 6; design section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trackyard.errors import ConfigError
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.arms.declaring import declaration_of
from trackyard.recipes.pile_ffn.arms.job import WindowJob
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.original import STAGE as UNTOUCHED_STAGE
from trackyard.recipes.pile_ffn.arms.origins import made_from_seed, origins_of, parent_run, spec_of, start_facts
from trackyard.recipes.pile_ffn.arms.starting import Start, made_model, start_of
from trackyard.recipes.pile_ffn.arms.validating import VAL
from trackyard.recipes.pile_ffn.arms.windows import plan_windows
from trackyard.recipes.pile_ffn.cells import BASELINE, Arm, Cell
from trackyard.recipes.pile_ffn.parameters import MadeModelParameters
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import PRETRAIN, load_tokenizer, open_set, training_set
from trackyard.record.lineage.origins import StartingModel

TRAIN = "train"
PIPELINE = "pipelines/pile_ffn/dvc.yaml"


def arm_job(study: Study, cell: Cell) -> WindowJob:
    """One arm at one seed. DataError if a stage before it has not run; the arms of a seed share their plan."""
    assert cell.seed is not None, cell
    arm = Arm.named(cell.arm)
    rate = study.parameters.training.learning_rates[cell.arm]
    model, models, parent = start_facts(study)
    return _job(
        study,
        stage=TRAIN,
        tokens=training_set(study.replicate(cell)),
        steps=study.parameters.training.steps,
        seed=cell.seed,
        learning_rate=rate,
        facts={"arm": cell.arm},
        model=model,
        models=models,
        parent=parent,
        start=partial(start_of, study, arm),
        declaration=declaration_of(study, arm),
        command=again(cell.name),
    )


def pretraining_job(study: Study) -> WindowJob:
    """A made model from random weights, trained as a baseline on a slice of its own. ConfigError if none is made."""
    made = study.parameters.model.made
    if made is None:
        raise ConfigError(
            what=f"the model {study.parameters.model.id} is not made here",
            why="a published model is exported as it is",
            fix=again(CELL.name),
        )
    return _job(
        study,
        stage=UNTOUCHED_STAGE,
        tokens=PRETRAIN,
        steps=made.steps,
        seed=made.seed,
        learning_rate=made.learning_rate,
        facts={"arm": BASELINE},
        model={"made": made.model_dump(mode="json")},
        models=made_from_seed(study),
        parent=None,
        start=partial(_made_start, study, made),
        declaration=None,
        command=again(CELL.name),
    )


def named_job(study: Study, name: str) -> WindowJob:
    """The run of a trained cell, or of the untouched model, by its name: what other ranks are told."""
    return pretraining_job(study) if name == CELL.name else arm_job(study, study.parameters.cells[name])


def again(name: str) -> str:
    """The command that runs the stage of a job of that name."""
    return f"dvc repro {PIPELINE}:{name if name == CELL.name else f'{TRAIN}@{name}'}"


def _made_start(study: Study, made: MadeModelParameters) -> Start:
    return Start(model=made_model(made, load_tokenizer(study)))


def _job(
    study: Study,
    *,
    stage: str,
    tokens: str,
    steps: int,
    seed: int,
    learning_rate: float,
    facts: Mapping[str, Any],
    model: Mapping[str, Any],
    models: Mapping[str, StartingModel],
    parent: Cell | None,
    start: Callable[[], Start],
    declaration: Declaration | None,
    command: str,
) -> WindowJob:
    training = study.parameters.training
    opened = open_set(study, tokens)
    plan = plan_windows(
        opened, window=training.window, windows_per_step=training.windows_per_step, steps=steps, seed=seed
    )
    kept = plan.keep(study.root)
    # Other arms' rates and how often is saved do not decide this run.
    settings = training.model_dump(mode="json", exclude={"learning_rates", "save_every", "steps"})
    spec = spec_of(
        study,
        stage=stage,
        parameters={
            **facts,
            "training": settings,
            "learning_rate": learning_rate,
            "guard": study.parameters.guard.model_dump(mode="json"),
            "precision": study.parameters.engine.precision,
        },
        plan=plan.fingerprint,
        model=model,
        # The result holds a loss on the validation set.
        snapshots={opened.name: opened.digest, VAL: open_set(study, VAL).digest},
        parent=None if parent is None else parent_run(study, parent),
        seed=seed,
    )
    return WindowJob(
        study=study,
        spec=spec,
        origins=origins_of(study, spec, plan=kept, models=models, parent=parent),
        plan=plan,
        tokens=opened,
        start=start,
        declaration=declaration,
        learning_rate=learning_rate,
        again=command,
    )
