"""How much each decoder block matters: what the loss of the right answers rises by when that block alone is skipped.

Which blocks a level of the knob keeps follows from these scores, so they are a file with a fingerprint of its own, and
the fingerprint is part of every configuration's key. Source: nine-datasets spec section 5 (nested sets).

Shapes: N questions; S tokens of the longest answer; V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.answering.lane import Lane
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.models.knobs import decoder_blocks, kept_blocks
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-block-importance/1"
FIX = "measure it again: trackyard run nine importance"


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockImportance:
    """model, questions: digests of what was measured.

    scores: nats by block, in order; None for the first and the last, which are never skipped.
    """

    model: str
    questions: str
    scores: tuple[float | None, ...]

    @property
    def fingerprint(self) -> str:
        """Of everything that decides which blocks are kept."""
        return digest_json({"model": self.model, "questions": self.questions, "scores": list(self.scores)})


def block_importance(score: Callable[[], Sequence[float]], model: nn.Module) -> list[float | None]:
    """Rise of the mean loss with each block skipped alone, in order; None for the first and the last.

    score: the loss in nats of each question, the same questions in the same order, with the model as it is then.
    DataError for a loss that is no number, or another number of questions.
    """
    depth = len(decoder_blocks(model))
    whole = _losses(score, "all blocks", None)
    rises: list[float | None] = [None] * depth
    for skipped in range(1, depth - 1):
        with kept_blocks(model, [number for number in range(depth) if number != skipped]):
            without = _losses(score, f"block {skipped} skipped", len(whole))
        rises[skipped] = math.fsum(after - before for after, before in zip(without, whole, strict=True)) / len(whole)
    return rises


@torch.inference_mode()
def answer_losses(subject: Subject, asked: Sequence[tuple[Prompt, Sequence[int]]], *, batch: int = 16) -> list[float]:
    """Mean loss per token of each right answer after its prompt, in nats; `batch` questions at a time.

    The answers' ids end with the end token, so that stopping counts too. The prompt is run as when it is answered, and
    the answer token by token after it. DataError for an answer without tokens.
    """
    found = []
    for start in range(0, len(asked), batch):
        found += _batch_losses(subject, asked[start : start + batch])
    return found


def write_importance(path: Path, importance: BlockImportance) -> None:
    """Write the scores with the digests of what they were measured on."""
    body = {"model": importance.model, "questions": importance.questions, "scores": list(importance.scores)}
    write_sealed(path, SCHEMA, body)


def read_importance(path: Path, *, model: str, blocks: int) -> BlockImportance:
    """Scores of a model by its digest and number of blocks. DataError if absent, altered, or of another model."""
    body = read_sealed(path, SCHEMA, fix=FIX)
    found = BlockImportance(model=body["model"], questions=body["questions"], scores=tuple(body["scores"]))
    if found.model != model or len(found.scores) != blocks:
        raise DataError(
            what=f"{path} scores {len(found.scores)} blocks of the model {found.model}, "
            f"and {blocks} blocks of {model} are to be chosen from",
            why="which blocks a model can spare is known of that model alone",
            fix=FIX,
        )
    return found


def _losses(score: Callable[[], Sequence[float]], state: str, expected: int | None) -> Sequence[float]:
    losses = score()
    if not losses or (expected is not None and len(losses) != expected) or not all(map(math.isfinite, losses)):
        raise DataError(
            what=f"{len(losses)} losses with {state}, expected {expected or 'some'}; not finite: "
            f"{sum(not math.isfinite(loss) for loss in losses)}",
            why="a block's importance is a mean over the same questions with and without it",
            fix="score the same questions each time; look at the weights of the model if losses are no numbers",
        )
    return losses


def _batch_losses(subject: Subject, asked: Sequence[tuple[Prompt, Sequence[int]]]) -> list[float]:
    answers = [list(ids) for _, ids in asked]
    if not all(answers):
        raise DataError(
            what=f"right answer {[bool(ids) for ids in answers].index(False)} of {len(answers)} has no tokens",
            why="it has no loss",
            fix="leave questions without an answer out of those that importance is measured on",
        )
    # An answer that is over goes on with padding, which nobody else in the batch sees and no sum contains.
    steps = max(len(ids) for ids in answers)
    ids_NS = torch.tensor([ids + [subject.pad] * (steps - len(ids)) for ids in answers], device=subject.device)
    counts_N = torch.tensor([len(ids) for ids in answers], device=subject.device)
    sums_N = torch.zeros(len(asked), dtype=torch.float64, device=subject.device)
    lane, logits_NV = Lane.read(subject, [prompt for prompt, _ in asked])
    for step in range(steps):
        if step:
            logits_NV = lane.step(subject)
        lane.chosen = ids_NS[:, step]
        losses_N = F.cross_entropy(logits_NV, lane.chosen, reduction="none")
        sums_N += torch.where(step < counts_N, losses_N.double(), 0.0)
    return [float(loss) for loss in sums_N / counts_N]
