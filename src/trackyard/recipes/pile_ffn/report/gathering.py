"""Every result of a study, read together, and what is refused before a number of it is compared.

Refused: cells that are missing or too many, altered files, mixed or outdated specifications, inputs that are no longer
what was read, arms of a seed on other text, documents that differ, and results that are copies of each other.
Source: pile-ffn spec sections 8.4, 10 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.evaluate.copies import Outputs, refuse_copies
from trackyard.recipes.pile_ffn.cells import ALL, Cell
from trackyard.recipes.pile_ffn.results import Result, admitted
from trackyard.recipes.pile_ffn.study import ARTIFACTS, Study

MEASURED = ("eval_ppl", "eval_bench", "probe_order", "attack_uat", "attack_hotflip")
"""Stages with a result of every cell, each measured on the export of that cell."""
ATTACKS = ("attack_uat", "attack_hotflip")

Results = Mapping[str, Mapping[str, Result]]
"""By stage, then by cell; of `init` by arm, of `attack_transfer` by seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """How much was looked at: a verdict over nothing is none.

    pairs: pairs of cells that were searched for copies, by what was compared. commits: of the code that measured.
    """

    results: int
    inputs: int
    documents: int
    pairs: Mapping[str, int]
    commits: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What passed."""

    results: Results
    examined: Examined


def gather(study: Study) -> Gathered:
    """Read and examine everything that the table is made of. DataError names the first thing that may not be in it."""
    results = {
        stage: admitted(
            study.artifacts / stage, stage, cells, alike=("plan", "steps", "tokens") if stage == "train" else ()
        )
        for stage, cells in declared(study).items()
    }
    for stage, found in results.items():
        _refuse_outdated(study, stage, found)
    _refuse_other_slices(results)
    inputs = _refuse_changed_inputs(study, results)
    for stage in MEASURED:
        _refuse_unread_weights(study, stage, results[stage])
    documents = _refuse_other_documents(results["eval_ppl"])
    commits = {result.header.git_commit for found in results.values() for result in found.values()}
    return Gathered(
        results=results,
        examined=Examined(
            results=sum(map(len, results.values())),
            inputs=inputs,
            documents=documents,
            pairs=_refuse_copies(study, results),
            commits=tuple(sorted(commits)),
        ),
    )


def declared(study: Study) -> dict[str, dict[str, Cell]]:
    """What each stage is to have a result of, by stage and directory."""
    parameters = study.parameters
    return {
        "init": {arm: Cell(arm=arm, seed=None) for arm in parameters.arms},
        "train": {cell.name: cell for cell in parameters.trained_cells},
        "degrade": {cell.name: cell for cell in parameters.degraded_cells},
        **dict.fromkeys(MEASURED, parameters.cells),
        "attack_transfer": {str(seed): Cell(arm=ALL, seed=seed) for seed in parameters.seeds},
    }


def weights(study: Study, cell: Cell, result: Result) -> dict[str, str]:
    """Digests of the weights that a result was measured on, by path; those of its own cell only."""
    own = f"{study.export(cell).relative_to(study.root).as_posix()}/"
    return {
        path: digest
        for path, digest in result.header.inputs.items()
        if path.startswith(own) and path.endswith(".safetensors")
    }


def losses(stage: str, result: Result) -> dict[str, float]:
    """What moves with every weight, by name: losses in nats, of documents or steps. Never a rate or a count."""
    if stage == "eval_ppl":
        return {record["doc_id"]: record["nll"] for record in result.body["documents"]}
    if stage == "train":
        return {f"step {point['step']}": point["train_nll"] for point in result.body["history"]}
    return {
        f"{attack}, {record['doc_id']}": record["attacked"]
        for attack, block in result.body["attacks"].items()
        for record in block["records"]
    }


def _refuse_outdated(study: Study, stage: str, found: Mapping[str, Result]) -> None:
    now = study.spec_digest(stage)
    for name, result in found.items():
        if result.header.spec_digest != now:
            raise DataError(
                what=f"{stage} of {name} has spec_digest {result.header.spec_digest}, params.yaml gives {now}",
                why="it was measured under other parameters than those that the table would name",
                fix="dvc repro pipelines/pile_ffn/dvc.yaml",
            )


def _refuse_other_slices(results: Results) -> None:
    """Between stages; within a stage `admitted` has compared them."""
    trained = {result.header.seed: (name, result) for name, result in results["train"].items()}
    for stage, found in results.items():
        for name, result in found.items():
            slice_digest = result.header.data.slice_digest
            if slice_digest is None or result.header.seed not in trained:
                continue
            first, reference = trained[result.header.seed]
            if slice_digest != reference.header.data.slice_digest:
                raise DataError(
                    what=f"{stage} of {name} has slice_digest {slice_digest}, "
                    f"training of {first} {reference.header.data.slice_digest}",
                    why="arms of a seed are compared, and they are to have been trained on the same text",
                    fix=f"run {stage} of {name} again: dvc repro -f pipelines/pile_ffn/dvc.yaml",
                )


def _refuse_changed_inputs(study: Study, results: Results) -> int:
    """Every file of the study that a result names, hashed as it lies there now; how many."""
    found: dict[str, str] = {}
    for stage, by_cell in results.items():
        for name, result in by_cell.items():
            for path, digest in result.header.inputs.items():
                if not path.startswith(f"{ARTIFACTS.as_posix()}/"):
                    continue
                if path not in found:
                    found[path] = digest_file(study.root / path) if (study.root / path).is_file() else "absent"
                if found[path] != digest:
                    raise DataError(
                        what=f"{path} is {found[path]}, {stage} of {name} read {digest}",
                        why="the table would show numbers of something else than what lies in artifacts/",
                        fix=f"dvc repro pipelines/pile_ffn/dvc.yaml   (which runs {stage} of {name} again)",
                    )
    return len(found)


def _refuse_unread_weights(study: Study, stage: str, found: Mapping[str, Result]) -> None:
    for name, result in found.items():
        if not weights(study, study.parameters.cells[name], result):
            raise DataError(
                what=f"{stage} of {name} names no weights of {name} among its inputs: "
                f"{', '.join(result.header.inputs) or 'it has none'}",
                why="nothing shows that this arm was measured, and not another",
                fix=f"run it again: dvc repro -f pipelines/pile_ffn/dvc.yaml (for {name})",
            )


def _refuse_other_documents(found: Mapping[str, Result]) -> int:
    """Perplexity is over the same documents and targets in every cell; how many documents."""
    scored = {
        name: {record["doc_id"]: record["predicted"] for record in result.body["documents"]}
        for name, result in found.items()
    }
    first = next(iter(scored))
    for name, documents in scored.items():
        if documents != scored[first] or not documents:
            raise DataError(
                what=f"eval_ppl of {name} is over {len(documents)} documents and {sum(documents.values())} targets, "
                f"that of {first} over {len(scored[first])} and {sum(scored[first].values())}, or over other ones",
                why="perplexities of other text are not compared",
                fix=f"run the older of the two again: dvc repro -f pipelines/pile_ffn/dvc.yaml (for {name})",
            )
    return len(scored[first])


def without_noise(results: Results) -> list[str]:
    """Degraded cells that are the baseline itself, since the arm they are matched to is as good as it."""
    return [name for name, result in results["degrade"].items() if result.body["sigma"] == 0]


def _refuse_copies(study: Study, results: Results) -> dict[str, int]:
    """Pairs of cells that were compared, by stage. A control without noise says that it is a copy."""
    pairs, said = {}, without_noise(results)
    for stage in ("train", "eval_ppl", *ATTACKS):
        outputs = [
            Outputs(
                cell=name,
                checkpoint=_checkpoint(study, stage, name, result),
                numbers=losses(stage, result),
            )
            for name, result in results[stage].items()
            if name not in said
        ]
        pairs[stage] = refuse_copies(outputs)
    return pairs


def _checkpoint(study: Study, stage: str, name: str, result: Result) -> str:
    if stage == "train":
        return str(result.body["checkpoint"]["digest"])
    return digest_json(sorted(weights(study, study.parameters.cells[name], result).values()))
