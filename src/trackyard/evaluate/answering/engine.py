"""Greedy answers of many prompts at a time: continuous batching over the key-value cache of the stock model.

Prompts of similar length are read together and join the rows that are being answered; one step of the model gives every
row its next token; rows that have ended leave, and their places are given to others. A row's answer does not depend on
the rows beside it, but for rounding: what is left of its first token is seen by nobody.
Source: nine-datasets spec section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.evaluate.answering.lane import Lane
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject

Key = TypeVar("Key", bound=Hashable)

AHEAD = 2
"""Prompts that wait, in batches: among them those of similar length are chosen."""
READ_AT_ONCE = 16_384
"""Tokens, with padding, that prompts read together have at most: it bounds vision tower and mask as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """An answer. tokens: with the one that ended it. hit_cap: ended by the cap on new tokens, without an end token.

    n_prompt: tokens of the prompt, with those of its pictures; n_visual: of those that carry a feature.
    """

    tokens: tuple[int, ...]
    hit_cap: bool
    n_prompt: int
    n_visual: int


@dataclass(kw_only=True, slots=True)
class _Row(Generic[Key]):
    """A prompt on its way. tokens: of its answer so far."""

    key: Key
    prompt: Prompt
    cap: int
    tokens: list[int] = field(default_factory=list)

    @property
    def cached(self) -> int:
        """Tokens that the model has read: the last one chosen is read in the next step."""
        return len(self.prompt) + len(self.tokens) - 1


def answer(
    subject: Subject,
    prompts: Iterable[tuple[Key, Prompt, int]],
    *,
    batch: int,
    forced: bool = False,
    on_smaller: Callable[[int], None] | None = None,
) -> Iterator[tuple[Key, Generated]]:
    """The greedy answer of each prompt, as soon as it has ended. Of equal logits the lowest id is taken.

    prompts: (key, prompt, new tokens at most), asked for as places become free. batch: prompts answered at a time; it
    is halved, and `on_smaller` told, when the device has no memory for them, and what had not ended is answered again.
    forced: end tokens are suppressed, every answer reaches its cap. ConfigError for a batch or a cap below 1,
    EnvironmentLacking where a single prompt finds no memory.
    """
    if batch < 1:
        raise ConfigError(
            what=f"a batch of {batch} prompts",
            why="nothing would ever be answered",
            fix="set the batch to 1 or more",
        )
    yield from _Engine(subject, prompts, batch=batch, forced=forced, on_smaller=on_smaller).run()


class _Engine(Generic[Key]):
    """The state of one call: prompts that wait, and rows that are being answered."""

    def __init__(
        self,
        subject: Subject,
        prompts: Iterable[tuple[Key, Prompt, int]],
        *,
        batch: int,
        forced: bool,
        on_smaller: Callable[[int], None] | None,
    ) -> None:
        self._subject, self._batch, self._on_smaller = subject, batch, on_smaller
        self._source = iter(prompts)
        self._barred = torch.tensor(sorted(subject.eos), device=subject.device) if forced else None
        self._ends: frozenset[int] = frozenset() if forced else subject.eos
        self._waiting: list[_Row[Key]] = []
        self._reading: list[_Row[Key]] = []
        self._rows: list[_Row[Key]] = []
        self._ended: list[_Row[Key]] = []
        self._lane: Lane | None = None
        self._filling = True

    def run(self) -> Iterator[tuple[Key, Generated]]:
        """Until nothing waits and nothing is being answered."""
        while self._look_ahead() or self._rows:
            enough = True
            try:
                self._turn()
            except torch.OutOfMemoryError as error:
                enough = False
                if self._batch == 1:
                    raise self._no_memory() from error
            # Outside of the handler, whose traceback would keep the tensors alive.
            if not enough:
                self._start_smaller()
            ended, self._ended = self._ended, []
            yield from ((row.key, self._generated(row)) for row in ended)

    def _look_ahead(self) -> bool:
        """Whether prompts wait, after as many were asked for as are worth choosing from."""
        while len(self._waiting) < AHEAD * self._batch:
            found = next(self._source, None)
            if found is None:
                break
            key, prompt, cap = found
            if cap < 1:
                raise ConfigError(
                    what=f"at most {cap} new tokens for {key!r}",
                    why="an answer has at least one token",
                    fix="set new_tokens of the task to 1 or more",
                )
            self._waiting.append(_Row(key=key, prompt=prompt, cap=cap))
        return bool(self._waiting)

    def _turn(self) -> None:
        """Read a group of prompts, or take one step with the rows there are.

        Joining rows copies the cache, so places are given out once a quarter of them is free, and then all of them.
        """
        free = self._batch - len(self._rows)
        self._filling = bool(self._waiting) and free > 0 and (self._filling or free >= max(1, self._batch // 4))
        if self._filling:
            self._read(self._chosen(free))
        else:
            self._step()

    def _chosen(self, free: int) -> list[_Row[Key]]:
        """The prompt that has waited longest, and those nearest to it in length."""
        length = len(self._waiting[0].prompt)
        order = sorted(range(len(self._waiting)), key=lambda at: abs(len(self._waiting[at].prompt) - length))
        chosen: list[int] = []
        longest = 0
        for at in order[:free]:
            longest = max(longest, len(self._waiting[at].prompt))
            if chosen and longest * (len(chosen) + 1) > READ_AT_ONCE:
                break
            chosen.append(at)
        taken = [self._waiting[at] for at in chosen]
        self._waiting = [row for at, row in enumerate(self._waiting) if at not in set(chosen)]
        return taken

    def _read(self, rows: list[_Row[Key]]) -> None:
        self._reading = rows
        lane, logits_NV = Lane.read(self._subject, [row.prompt for row in rows])
        going = self._tell(lane, rows, self._choose(logits_NV))
        if going:
            if self._lane is None:
                self._lane = lane
            else:
                self._lane.join(lane)
        self._rows, self._reading = self._rows + going, []

    def _step(self) -> None:
        assert self._lane is not None, "there are rows"
        going = self._tell(self._lane, self._rows, self._choose(self._lane.step(self._subject)))
        self._rows = going
        if not going:
            self._lane = None

    def _choose(self, logits_NV: torch.Tensor) -> torch.Tensor:
        if self._barred is not None:
            logits_NV = logits_NV.index_fill(1, self._barred, -torch.inf)
        return logits_NV.argmax(dim=-1)

    def _tell(self, lane: Lane, rows: list[_Row[Key]], chosen_N: torch.Tensor) -> list[_Row[Key]]:
        """Give each row of a lane its token; the rows that go on, which are those that stay in the lane."""
        for row, token in zip(rows, chosen_N.tolist(), strict=True):
            row.tokens.append(token)
        lane.chosen = chosen_N
        going = [at for at, row in enumerate(rows) if not self._has_ended(row)]
        self._ended += [row for row in rows if self._has_ended(row)]
        if going and len(going) < len(rows):
            lane.keep(going, columns=max(rows[at].cached for at in going))
        return [rows[at] for at in going]

    def _has_ended(self, row: _Row[Key]) -> bool:
        return len(row.tokens) == row.cap or row.tokens[-1] in self._ends

    def _generated(self, row: _Row[Key]) -> Generated:
        return Generated(
            tokens=tuple(row.tokens),
            hit_cap=row.tokens[-1] not in self._ends,
            n_prompt=len(row.prompt),
            n_visual=row.prompt.visual_tokens,
        )

    def _start_smaller(self) -> None:
        """With half the batch; answers that have not ended begin anew, and come out the same."""
        again = [row for row in (*self._reading, *self._rows) if not row.tokens or not self._has_ended(row)]
        for row in again:
            row.tokens.clear()
        self._waiting = again + self._waiting
        self._reading, self._rows, self._lane, self._filling = [], [], None, True
        self._batch //= 2
        if self._subject.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._on_smaller is not None:
            self._on_smaller(self._batch)

    def _no_memory(self) -> EnvironmentLacking:
        tokens = [len(row.prompt) for row in (*self._reading, *self._rows)]
        return EnvironmentLacking(
            what=f"{self._subject.device} has no memory for one prompt of {max(tokens)} tokens",
            why="the batch cannot be made smaller than one",
            fix="use precision bf16, a lower visual level, or a device with more memory",
        )
