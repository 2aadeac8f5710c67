"""The streams of documents that a study reads, one after another, and what it takes of each.

Held-out pools come first, so that training text can be kept clear of them; then a slice for every seed in the order of
the list; then pretraining text of a made model. Source: pile-ffn spec section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.document_ids import Pool, halved, hashed_split
from trackyard.recipes.pile_ffn.text.document_table import TRAIN, Entry
from trackyard.recipes.pile_ffn.text.documents import Document, HeldOutParameters, Selection, Tokenised
from trackyard.recipes.pile_ffn.text.reading import read_documents
from trackyard.recipes.pile_ffn.text.source_manifest import TEST, TEXT, VAL, SourceManifest, training_roles
from trackyard.recipes.pile_ffn.text.token_sets import PRETRAIN, training_set

Belongs = Callable[[Document], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Documents of the files of `roles`, as far as they are needed. name: of the pool, or of the set that is taken.

    pool: held-out sets are filled from it; None for training text, of which `tokens` are taken. replicate: None for
    pretraining text.
    """

    name: str
    roles: tuple[str, ...]
    belongs: Belongs
    pool: Pool | None = None
    tokens: int = 0
    replicate: int | None = None

    def documents(self, study: Study, manifest: SourceManifest) -> Iterator[Document]:
        """All of them, in the order of the files; they name their file by its path below the text."""
        for role in self.roles:
            for file in manifest.of_role(role):
                source = file.path.removeprefix(f"{TEXT}/")
                yield from filter(self.belongs, read_documents(study.source / file.path, source=source))

    def taken(
        self, selection: Selection, documents: Iterable[Tokenised], sizes: HeldOutParameters
    ) -> Iterator[tuple[str, Tokenised]]:
        """The documents that the study uses, each with the set that it belongs to; those of a set are together."""
        if self.pool is not None:
            return selection.hold_out(self.pool, documents, sizes)
        return ((self.name, item) for item in selection.training_slice(documents, tokens=self.tokens))

    def entry(self, name: str, item: Tokenised) -> Entry:
        """The row of the table for a document of the set `name`."""
        if self.replicate is not None:
            return Entry.of(item, split=TRAIN, slice=self.replicate)
        return Entry.of(item, split=name)


def streams(parameters: PileFfnParameters) -> tuple[Stream, ...]:
    """In the order in which they have to be read."""
    training, made = parameters.training, parameters.model.made
    clear: Belongs = _of_training if parameters.data.source.held_out == "hashed" else _always
    found = [_pool(parameters, "val"), _pool(parameters, "test")]
    for replicate in range(len(parameters.seeds)):
        name = training_set(replicate)
        # The last token of a window is the target of the one before it, so one more than is predicted.
        tokens = training.tokens + 1
        found.append(Stream(name=name, roles=(name,), belongs=clear, tokens=tokens, replicate=replicate))
    if made is not None:
        tokens = made.steps * training.windows_per_step * training.window + 1
        found.append(Stream(name=PRETRAIN, roles=(PRETRAIN,), belongs=clear, tokens=tokens))
    return tuple(found)


def _pool(parameters: PileFfnParameters, pool: Pool) -> Stream:
    kind = parameters.data.source.held_out
    if kind == "files":
        return Stream(name=pool, roles=({"val": VAL, "test": TEST}[pool],), belongs=_always, pool=pool)
    if kind == "halved":
        return Stream(name=pool, roles=(VAL,), belongs=lambda document: halved(document.id) == pool, pool=pool)
    return Stream(
        name=pool,
        roles=training_roles(parameters),
        belongs=lambda document: hashed_split(document.id) == pool,
        pool=pool,
    )


def _always(document: Document) -> bool:
    return True


def _of_training(document: Document) -> bool:
    return hashed_split(document.id) is None
