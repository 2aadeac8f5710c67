"""The runs of the study as every rank and every restart comes to them. Source: theworld spec sections 10 and 11."""

from __future__ import annotations

from collections.abc import Callable

from trackyard.digest import digest_file
from trackyard.errors import ConfigError
from trackyard.models.theworld.window import WindowReport, window_report
from trackyard.recipes.datacomp.base.loading import base_facts, load_config, load_tokenizer
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.ingest.samples import Samples
from trackyard.recipes.datacomp.latents.opening import open_latents
from trackyard.recipes.datacomp.results import PIPELINE
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.datacomp.training.export import WEIGHTS, describe
from trackyard.recipes.datacomp.training.job import WorldJob
from trackyard.recipes.datacomp.training.lengths import kept_lengths
from trackyard.recipes.datacomp.training.origins import source_folder, source_run
from trackyard.recipes.datacomp.training.samples import NAME, Draws, plan_samples
from trackyard.recipes.datacomp.training.share import Source
from trackyard.recipes.datacomp.training.starting import prompts_of
from trackyard.record.identity import RunSpec
from trackyard.record.image import image_digest

TRAIN = "train"
Say = Callable[[str], None]


def again(cell: Cell) -> str:
    """The command that runs the stage of a cell."""
    return f"dvc repro {PIPELINE}:{TRAIN}@{cell.label}"


def _silent(_line: str) -> None:
    """Only the first process speaks."""


def world_job(study: Study, cell: Cell, say: Say = _silent) -> WorldJob:
    """One run at a seed. DataError if a stage before it has not run; the runs of a seed share their plan."""
    if cell.seed is None:
        raise ConfigError(what=f"the run {cell.name} without a seed", why="it decides the order", fix=again(cell))
    parameters = study.parameters
    training = parameters.training
    samples, latents = Samples.open(study), open_latents(study)
    config = load_config(study)
    prompts = prompts_of(study, load_tokenizer(study), config.mm_tokens_per_image, latents.facts.shape)
    belongs = describe(study, cell.name, latents.facts)
    curated = digest_file(study.curated)
    decided_by = {
        "curated": curated,
        **{key: belongs[key] for key in ("prompt", "world")},
        "shape": latents.facts.shape,
    }
    lengths = kept_lengths(
        study.root, samples, prompts, training.question, decided_by | {"max": parameters.world.max_length}
    )
    draws = Draws(lengths, training.samples_per_step, cell.seed)
    plan = plan_samples(draws, curated=curated, epochs=training.epochs)
    plan.keep(study.root)
    base = base_facts(study)
    begun = source_run(study)
    spec = RunSpec(
        track=TRACK,
        stage=TRAIN,
        parameters={
            "run": cell.name,
            "world": parameters.world.model_dump(mode="json"),
            # How often is saved does not decide a run.
            "training": training.model_dump(mode="json", exclude={"save_every"}),
            "guard": parameters.guard.model_dump(mode="json"),
        },
        plan=plan.fingerprint,
        model={
            "gemma": base.gemma,
            "files": belongs["base"]["gemma_files"],
            "vae": {"of": base.vae, "weights": base.vae_digest},
            "prompt": belongs["prompt"],
            **({} if begun is None else {"start": digest_file(source_folder(study) / WEIGHTS)}),
        },
        snapshots={NAME: curated, "latents": latents.facts.digest},
        parent=begun,
        code=study.code,
        image=image_digest(),
        seed=cell.seed,
    )
    return WorldJob(
        study=study,
        cell=cell,
        spec=spec,
        plan=plan,
        draws=draws,
        source=Source(
            samples=samples,
            latents=latents,
            prompts=prompts,
            question=training.question,
            size=config.vision_config.image_size,
        ),
        again=again(cell),
        say=say,
    )


def prove(study: Study, cell: Cell, say: Say) -> WorldJob:
    """The job, once every sample has its latent and the world tokens are seen. DataError, ConfigError otherwise."""
    job = world_job(study, cell, say)
    plan, lengths = job.plan, job.draws.lengths
    usable = lengths.usable
    job.source.latents.require(job.source.samples[int(number)].image for number in usable)
    say(
        f"plan      {plan.fingerprint[:12]}: {plan.steps:,} steps of {plan.samples_per_step} from {plan.usable:,} "
        f"samples x {plan.epochs} epochs; {plan.filled} draws fill the last step, left out: {plan.left_out or 'none'}"
    )
    report = visible(job)
    say(f"window    {report}")
    warning = report.require(allow_invisible=study.parameters.world.allow_invisible_world)
    if warning is not None:
        say(f"warning   {warning}")
    return job


def visible(job: WorldJob) -> WindowReport:
    """What layers with a window see of the world tokens, from the end of the prompt."""
    text = load_config(job.study).get_text_config()
    prompt = job.source.prompts.build(job.training.question)
    return window_report(
        prompt.world_spans, prompt.prompt_len, window=text.sliding_window, layer_types=text.layer_types
    )
