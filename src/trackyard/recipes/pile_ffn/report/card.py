"""What the card of a cell states, from the results of the stages about it. Source: pile-ffn spec sections 7 to 10."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trackyard.errors import DataError
from trackyard.publish.card import BaseModel, CardFacts, TrainedOn, number
from trackyard.publish.measured import Measured, share
from trackyard.recipes.pile_ffn.cells import Arm, Cell
from trackyard.recipes.pile_ffn.cost.sizes import size_of
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS
from trackyard.recipes.pile_ffn.results import Result, read_result
from trackyard.recipes.pile_ffn.study import Study

DOCUMENTS = "bootstrap over documents"
WHAT = {
    "untouched": "The model that the study starts from, as it was.",
    "baseline": "Trained as the other arms, with nothing constrained.",
    "nonneg": "Trained with non-negative weights in the matrices of `{variant}`.",
    "signfrozen": "Trained with the signs of the weights in the matrices of `{variant}` held fixed.",
    "absinit": "Trained freely from the absolute values of the weights in the matrices of `{variant}`.",
    "degraded": "The baseline with noise in the matrices of `{variant}`, as bad as the arm it is a control of.",
}


def card_facts(
    study: Study,
    cell: Cell,
    *,
    data: Sequence[TrainedOn],
    bases: Sequence[BaseModel],
    cost: Sequence[tuple[str, str]],
    lineage: Sequence[tuple[str, str]],
    use: str,
) -> CardFacts:
    """Everything that was measured on the export of a cell. DataError for a result that is absent or was altered."""
    arm = Arm.named(cell.arm)
    trained = _measured(study, "train", cell) if arm.trained else None
    return CardFacts(
        title=f"Pile-FFN, {cell.name}",
        what=WHAT[arm.kind].format(variant=arm.variant),
        task="text-generation",
        library="transformers",
        tags=(*_family(study), "pile_ffn", arm.name),
        use=use,
        metrics=(*_perplexity(study, cell), *_benchmarks(study, cell), *_attacks(study, cell)),
        data=data,
        bases=bases,
        training=() if trained is None else tuple(_training(study, cell, trained)),
        limits=tuple(_limits(study, cell)),
        cost=cost,
        lineage=lineage,
        verify=f"trackyard lineage verify artifacts/pile_ffn/export/{cell.path}",
    )


def _family(study: Study) -> tuple[str, ...]:
    """Of the model's class; nothing for one of the hub whose size is not among ours."""
    model = study.parameters.model
    return () if model.made is None and model.size is None else (size_of(model).family,)


def _measured(study: Study, stage: str, cell: Cell) -> Result:
    """A result under the parameters in force, which the card states beside it."""
    result = read_result(study.document(stage, cell), stage)
    if result.header.spec_digest != study.spec_digest(stage):
        raise DataError(
            what=f"{stage} of {cell.name} was measured under other parameters than those of the parameter file",
            why="the card would name parameters that did not make these numbers",
            fix="dvc repro pipelines/pile_ffn/dvc.yaml, or check out the parameters of that run",
        )
    return result


def _perplexity(study: Study, cell: Cell) -> Iterator[Measured]:
    body = _measured(study, "eval_ppl", cell).body
    parts = {"": body, **{f"{name} ": part for name, part in body["by_component"].items()}}
    for name, part in parts.items():
        ends = part["ci95"]
        yield Measured(
            name=f"test {name}nll", value=part["nll"], n=part["docs"], over="documents",
            low=ends["low"] if ends else None, high=ends["high"] if ends else None, how=DOCUMENTS,
        )  # fmt: skip
        yield Measured(name=f"test {name}ppl", value=part["ppl"], n=part["docs"], over="documents")
        yield Measured(name=f"test {name}bpb", value=part["bpb"], n=part["docs"], over="documents")


def _benchmarks(study: Study, cell: Cell) -> Iterator[Measured]:
    tasks = _measured(study, "eval_bench", cell).body["tasks"]
    for name, task in tasks.items():
        for metric in ("acc", "acc_norm"):
            if metric in task:
                yield share(f"{name} {metric}", task[metric]["value"], task["n"], "items", chance=task["chance"])
        if "perplexity" in task:
            yield Measured(name=f"{name} perplexity", value=task["perplexity"]["value"], n=task["n"], over="items")


def _attacks(study: Study, cell: Cell) -> Iterator[Measured]:
    for stage in ATTACKS:
        for name, attack in _measured(study, stage, cell).body["attacks"].items():
            ends = attack["ci95"]
            yield Measured(
                name=f"{name} delta_nats", value=attack["mean_delta_nats"], n=attack["n"], over="documents",
                low=ends[0] if ends else None, high=ends[1] if ends else None, how=DOCUMENTS,
            )  # fmt: skip


def _training(study: Study, cell: Cell, trained: Result) -> Iterator[tuple[str, str]]:
    body, given = trained.body, study.parameters.training
    yield "steps", f"{body['steps']:,}, {len(body['skipped']):,} of them skipped"
    yield "tokens", f"{body['tokens']:,}"
    yield "windows a step, tokens a window", f"{given.windows_per_step:,}, {given.window:,}"
    yield "rate", f"{body['learning_rate']:g}, {given.warmup:g} of the steps warm-up, then linear to 0"
    yield (
        "optimiser",
        f"AdamW, betas {given.beta1:g} and {given.beta2:g}, eps {given.eps:g}, weight decay {given.weight_decay:g} of "
        f"unconstrained matrices, norm of gradients at most {given.clip_norm:g}",
    )
    yield "precision", ", ".join(f"{what} {name}" for what, name in trained.header.precision.items())
    yield (
        "loss at the end",
        f"{number(body['final']['train_nll'])} in training, {number(body['final']['val_nll'])} held out",
    )


def _limits(study: Study, cell: Cell) -> Iterator[str]:
    parameters = study.parameters
    if parameters.model.made is not None or parameters.data.source.kind == "mini":
        yield "A made model or made text: the numbers say that the chain works, and nothing about published models."
    if cell.seed is not None:
        yield f"{len(parameters.seeds)} seeds were trained; this card is about one, and no interval is over seeds."
    yield "delta_nats is the rise of the loss, in nats per token, on tokens that an attack left alone."
    if Arm.named(cell.arm).kind == "nonneg":
        yield "Non-negative weights in some matrices do not make the model monotone."
