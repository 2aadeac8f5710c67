"""Which documents a study uses and for what: held-out sets, and one slice of training text per seed.

Documents come as streams and are decided on one after another, in the order of their files, after they were tokenised:
so nothing depends on how far ahead a tokeniser works, and only ids (16 bytes) of what was taken stay in memory.
Source: pile-ffn spec section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError, DataError
from trackyard.parameters import Parameters
from trackyard.recipes.pile_ffn.text.document_ids import DocumentIds, Pool, document_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document of a source. id: of its text [16 bytes]; size: bytes of the text in UTF-8; row: from 0 in its file."""

    id: bytes
    text: str
    size: int
    component: str
    source: str
    row: int

    @classmethod
    def of(cls, text: str, *, component: str, source: str, row: int) -> Document:
        """DataError if the text has no UTF-8 form (half of a surrogate pair)."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                what=f"{source}, row {row}: {error}",
                why="a document is named by its UTF-8 bytes, and tokenizers read those",
                fix=f"correct or remove row {row} of {source}",
            ) from error
        return cls(id=document_id(data), text=text, size=len(data), component=component, source=source, row=row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenised:
    """A document and its token ids [n], with the marks of beginning and end that its family has."""

    document: Document
    ids: NDArray[np.int64]


@dataclass(kw_only=True, slots=True)
class Dropped:
    """Documents that were left out, by reason."""

    duplicate: int = 0
    heldout_overlap: int = 0
    empty: int = 0


class HeldOutParameters(Parameters):
    """Sizes of the held-out sets; whole documents up to the first total that reaches them."""

    val_tokens: int = 4_194_304
    test_predicted: int = 8_388_608
    """Predicted tokens: one fewer than it has, for each document."""
    uat_opt: int = 80
    uat_eval: int = 120
    flip: int = 1_000
    """At most; the other sets must be met."""
    attack_tokens: int = 512
    """Attack documents have as many or more, and are cut to exactly as many."""


@dataclass(frozen=True, slots=True)
class _Quota:
    """predicted: count the tokens that are predicted; attack: count documents of `attack_tokens` or more."""

    name: str
    wanted: int
    attack: bool = False
    predicted: bool = False
    at_most: bool = False


def quotas(pool: Pool, sizes: HeldOutParameters) -> Sequence[_Quota]:
    """The sets of a pool, filled one after another: attacks last, so that no set has only short documents left.

    What an attack is searched on comes from the validation file, what it is reported on from the test file.
    """
    if pool == "val":
        return (_Quota("val", sizes.val_tokens), _Quota("uat_opt", sizes.uat_opt, attack=True))
    return (
        _Quota("test", sizes.test_predicted, predicted=True),
        _Quota("uat_eval", sizes.uat_eval, attack=True),
        _Quota("flip", sizes.flip, attack=True, at_most=True),
    )


class Selection:
    """What a study has taken so far: no text twice, neither in two sets nor in the slices of two seeds."""

    def __init__(self) -> None:
        self.dropped = Dropped()
        self._held_out, self._trained = DocumentIds(), DocumentIds()

    def resume(self, *, held_out: Iterable[bytes] = (), trained: Iterable[bytes] = (), dropped: Dropped) -> None:
        """Count as taken what an earlier process took: ids of its documents, and what it had dropped in all."""
        for known, names in ((self._held_out, held_out), (self._trained, trained)):
            for name in names:
                known.add(name)
        self.dropped = dropped

    def hold_out(
        self, pool: Pool, documents: Iterable[Tokenised], sizes: HeldOutParameters
    ) -> Iterator[tuple[str, Tokenised]]:
        """Documents of a held-out file, each with the set that it belongs to; reads no further than needed.

        Documents of attacks are cut. DataError if the file ends before its sets are full.
        """
        wanted = [quota for quota in quotas(pool, sizes) if quota.wanted]
        stream = iter(documents)
        for quota in wanted:
            total = 0
            for item in stream:
                if not self._is_text(item):
                    continue
                if quota.attack and item.ids.size < sizes.attack_tokens:
                    continue
                if not self._held_out.add(item.document.id):
                    self.dropped.duplicate += 1
                    continue
                if quota.attack:
                    item = Tokenised(document=item.document, ids=item.ids[: sizes.attack_tokens])
                yield quota.name, item
                total += 1 if quota.attack else item.ids.size - quota.predicted
                if total >= quota.wanted:
                    break
            if total < quota.wanted and not quota.at_most:
                kind = f"documents of {sizes.attack_tokens} tokens" if quota.attack else "tokens"
                raise DataError(
                    what=f"the {pool} file holds {total} of the {quota.wanted} {kind} of {quota.name}",
                    why="a smaller set than declared gives wider intervals than the study states",
                    fix=f"lower the size of {quota.name} under pile_ffn.data.held_out in params.yaml, or add documents",
                )

    def training_slice(self, documents: Iterable[Tokenised], *, tokens: int) -> Iterator[Tokenised]:
        """Documents of one training file up to the first total of `tokens`, without those that are held out or taken.

        Hold out first, and take slices in the order of the seeds. DataError if the file ends before.
        """
        if not len(self._held_out):
            raise ConfigError(
                what="a training slice is asked for before any document was held out",
                why="nothing could be kept out of it, and the perplexity would be that of seen text",
                fix="call Selection.hold_out for the validation and test files first",
            )
        total = 0
        for item in documents:
            if not self._is_text(item):
                continue
            if item.document.id in self._held_out:
                self.dropped.heldout_overlap += 1
            elif not self._trained.add(item.document.id):
                self.dropped.duplicate += 1
            else:
                yield item
                total += item.ids.size
                if total >= tokens:
                    return
        raise DataError(
            what=f"a training file ends after {total:,} of {tokens:,} tokens",
            why="an arm with fewer tokens than the others cannot be compared with them",
            fix="lower the token budget in params.yaml for all arms alike, or add documents to the file",
        )

    def _is_text(self, item: Tokenised) -> bool:
        if item.document.text.strip():
            return True
        self.dropped.empty += 1
        return False


def replicate_of(seed: int, seeds: Sequence[int]) -> int:
    """Number of the training file of a seed: its place in the list. ConfigError if it is not there, or twice."""
    if seeds.count(seed) != 1:
        raise ConfigError(
            what=f"seed {seed} occurs {seeds.count(seed)} times in {list(seeds)}",
            why="its place says which training file is its own; two replicates with one file are no replicates",
            fix="list each seed once under pile_ffn.seeds in params.yaml",
        )
    return seeds.index(seed)
