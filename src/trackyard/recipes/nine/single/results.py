"""What an evaluation leaves behind: a folder per task, and result.json over all tasks of one model.

    OUT/result.json             of the model, every task with its metrics and the digests of its files (sealed)
    OUT/TASK/samples.jsonl      every answer, sorted; the same bytes however the work was divided
    OUT/TASK/config.json        the metrics of the task with all that decides them (sealed)
    OUT/TASK/corpus.json        what each answer contributes to a metric over all of them (sealed)
    OUT/TASK/clusters.json      which questions are drawn together, where some are (sealed)
    OUT/answers/                the store that a killed run goes on from

Source: nine-datasets spec section 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackyard.digest import digest_file
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.open_subject import Precision
from trackyard.evaluate.intervals import MetricValue
from trackyard.recipes.nine.study import LIBRARIES
from trackyard.record.code import CodeIdentity
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-evaluation/1"
RESULT, CLUSTERS = "result.json", "clusters.json"
ANSWERS = "answers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """What was evaluated, as far as it decides answers. digest: of weights, configuration and tokenizer."""

    name: str
    digest: str
    precision: Precision
    visual: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """A task that is complete, or says in `watermark` that it is not.

    asked: digest of the questions and of how they are put; equal for models that were asked the same. metric: the one
    that counts, of `metrics`; secondary ones that cannot be measured are not among them. cap_rate, unparsed_rate: None
    where nothing is generated. files: blake3 of those that comparisons read, by name.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    layout: str
    asked: str
    metric: str
    metrics: Mapping[str, MetricValue]
    expected: int
    ok: int
    failed: int
    cap_rate: float | None
    unparsed_rate: float | None
    new_tokens: int
    files: Mapping[str, str]
    watermark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """not_measured: tasks that were asked for and cannot be scored here, with the reason."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: Model
    tasks: Mapping[str, TaskResult]
    not_measured: Mapping[str, str]
    code: Mapping[str, str | None]
    libs: Mapping[str, str]


_EVALUATION = TypeAdapter(Evaluation)


def read_evaluation(out: Path) -> Evaluation:
    """DataError if there is none, it was altered, or a file of samples is not the one that it is about."""
    found = _stated(out)
    for name, task in found.tasks.items():
        for file, stated in task.files.items():
            at = out / name / file
            if not at.is_file() or digest_file(at) != stated:
                raise DataError(
                    what=f"{at} is {'not the file that was written' if at.is_file() else 'not there'}",
                    why=f"{out / RESULT} is about its answers",
                    fix=_again(out),
                )
    return found


def _stated(out: Path) -> Evaluation:
    """result.json alone: files of samples may be newer where a process was killed between the two."""
    body = read_sealed(out / RESULT, SCHEMA, fix=_again(out))
    try:
        return _EVALUATION.validate_python(body)
    except ValidationError as error:
        raise DataError(
            what=f"{out / RESULT} is no evaluation: {error}", why="it lacks or misstates a part", fix=_again(out)
        ) from error


def _again(out: Path) -> str:
    return f"evaluate the model again: trackyard evaluate run FOLDER --tasks ... --data ... --out {out}"


def require_same_model(out: Path, model: Model) -> None:
    """ConfigError where a folder holds results of another model, or of this one in another form."""
    if not (out / RESULT).exists():
        return
    held = _stated(out).model
    other = [name for name, value in asdict(held).items() if name != "name" and value != getattr(model, name)]
    if other:
        raise ConfigError(
            what=f"{out} holds results of {held.name}: other {', '.join(other)}",
            why="results of two models in one folder could not be told apart",
            fix="name another folder with --out, or move this one away",
        )


def write_evaluation(
    out: Path,
    model: Model,
    tasks: Mapping[str, TaskResult],
    *,
    not_measured: Mapping[str, str],
    code: CodeIdentity,
) -> Evaluation:
    """Write result.json: these tasks, and those that the folder holds of the same model already."""
    held = _stated(out).tasks if (out / RESULT).exists() else {}
    found = Evaluation(
        model=model,
        tasks={**held, **tasks},
        not_measured=not_measured,
        code=asdict(code),
        libs={name: version(name) for name in LIBRARIES},
    )
    write_sealed(out / RESULT, SCHEMA, asdict(found))
    return found
