"""What a stage starts from: weights and tokenizer of the stage before, or those of the model parameters.

Source: molmo2 spec sections 1 and 2 (chaining).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trackyard.digest import digest_json, short
from trackyard.durable import atomic_directory
from trackyard.errors import DataError
from trackyard.feed.layout import FeedParameters
from trackyard.feed.prompts import Scope, write_dialogue
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.models.molmo2 import check_fits, load_molmo2, random_model
from trackyard.models.presets import PRESETS
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, StageName
from trackyard.recipes.molmo2.published import PublishedModel
from trackyard.record.lineage.document import require_file
from trackyard.row import Row
from trackyard.snapshot.reader import SnapshotDataset

TOKENIZER_ROWS = 200
"""Training rows of each dataset that the small tokenizer is trained on."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Tokenizer, a builder of the starting model (fp32), and the run that made it.

    facts: what of its identity is known without a look at published models; published: these, by the part they are.
    """

    tokens: TokenTable
    build: Callable[[], torch.nn.Module]
    facts: Mapping[str, Any]
    published: Mapping[str, PublishedModel] = field(default_factory=dict)
    parent_run: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """How a specification names the start. DataError where a published model is not here."""
        models = {part: model.identity for part, model in self.published.items()}
        return {**self.facts, **({"published": models} if models else {})}


def export_directory(root: Path, stage: StageName) -> Path:
    """Where a stage's exported model lies."""
    return root / "artifacts" / "molmo2" / stage / "export"


def prepare_start(
    parameters: Molmo2Parameters, stage: StageName, root: Path, datasets: Mapping[str, SnapshotDataset]
) -> Start:
    """Find the start of a stage; DataError if the stage before has no export."""
    if stage != "stage1":
        return _from_export(parameters, stage, root)
    model = parameters.model
    if model.start == "random":
        return _from_random(parameters, root, datasets)
    return _from_hub(parameters)


def _from_export(parameters: Molmo2Parameters, stage: StageName, root: Path) -> Start:
    before = STAGES[STAGES.index(stage) - 1]
    directory = export_directory(root, before)
    weights = directory / "model.safetensors"
    if not weights.is_file():
        raise DataError(
            what=f"{directory} holds no exported model",
            why=f"{stage} starts from the export of {before}",
            fix=f"dvc repro {before}",
        )
    lineage = require_file(
        directory, weights.name, fix=f"trackyard run molmo2 {before}   (a finished run puts its export out again)"
    )
    tokens = TokenTable.of(AutoTokenizer.from_pretrained(directory))
    return Start(
        tokens=tokens,
        build=lambda: _checked(
            load_molmo2(directory, max_positions=parameters.stage(stage).max_tokens), tokens, parameters
        ),
        facts={"start": before, "weights": (lineage.files or {})[weights.name], "tokenizer": tokens.fingerprint},
        parent_run=lineage.run_id,
    )


def _from_random(parameters: Molmo2Parameters, root: Path, datasets: Mapping[str, SnapshotDataset]) -> Start:
    preset = PRESETS[parameters.model.preset]
    tokens = TokenTable.of(_small_tokenizer(parameters, preset.vocab_size, root, datasets))

    def build() -> torch.nn.Module:
        model = random_model(
            parameters.model.preset,
            parameters.geometry,
            max_positions=parameters.stage1.max_tokens,
            seed=parameters.seed,
        )
        return _checked(model, tokens, parameters)

    facts = {"start": "random", "preset": parameters.model.preset, "tokenizer": tokens.fingerprint}
    return Start(tokens=tokens, build=build, facts=facts)


def _from_hub(parameters: Molmo2Parameters) -> Start:
    """The preset's published Molmo2, or its language model and vision tower put together."""
    model, preset = parameters.model, PRESETS[parameters.model.preset]
    length = parameters.stage1.max_tokens
    if model.start == "published":
        source = model.published or preset.published
        if source is None:
            raise DataError(
                what=f"no published Molmo2 of preset {model.preset!r} is known",
                why="model.start is 'published'",
                fix="name one under molmo2.model.published in params.yaml, or choose start: assemble",
            )
        whole = PublishedModel(source=source, revision=model.revision)
        published = TokenTable.of(whole.tokenizer())
        return Start(
            tokens=published,
            build=lambda: _checked(load_molmo2(whole.folder, max_positions=length), published, parameters),
            facts={"start": "published"},
            published={"start": whole},
        )
    from trackyard.models.assemble import assemble

    llm, vision = model.llm or preset.llm, model.vision or preset.vision
    if llm is None or vision is None:
        raise DataError(
            what=f"preset {model.preset!r} names no language model and vision tower",
            why="model.start is 'assemble'",
            fix="name both under molmo2.model.llm and molmo2.model.vision in params.yaml",
        )
    parts = {"llm": PublishedModel(source=llm), "vision": PublishedModel(source=vision)}
    tokens = TokenTable.of(extend_tokenizer(parts["llm"].tokenizer(), preset.vocab_size))

    def build() -> torch.nn.Module:
        folders = {part: str(found.folder) for part, found in parts.items()}
        made = assemble(preset, parameters.geometry, **folders, max_positions=length, seed=parameters.seed)
        return _checked(made, tokens, parameters)

    facts = {"start": "assemble", "tokenizer": tokens.fingerprint}
    return Start(tokens=tokens, build=build, facts=facts, published=parts)


def _checked(model: torch.nn.Module, tokens: TokenTable, parameters: Molmo2Parameters) -> torch.nn.Module:
    check_fits(model, tokens, parameters.geometry)
    return model


def _small_tokenizer(
    parameters: Molmo2Parameters, vocab_size: int, root: Path, datasets: Mapping[str, SnapshotDataset]
) -> PreTrainedTokenizerFast:
    """A tokenizer trained on what the feed writes for training rows; kept by the digest of its inputs."""
    key = digest_json(
        {
            "snapshots": {name: dataset.manifest.fingerprint for name, dataset in sorted(datasets.items())},
            "vocab_size": vocab_size,
            "rows": TOKENIZER_ROWS,
            "version": 1,
        }
    )
    directory = root / "artifacts" / "tokenizers" / short(key)
    if not directory.is_dir():
        trained = train_tokenizer(_texts(parameters.feed("stage2"), datasets), vocab_size)
        # Another command may be faster; it makes the same.
        with suppress(FileExistsError), atomic_directory(directory) as partial:
            extend_tokenizer(trained, vocab_size).save_pretrained(partial)
    return AutoTokenizer.from_pretrained(directory)


def _texts(feed: FeedParameters, datasets: Mapping[str, SnapshotDataset]) -> Iterator[str]:
    """Questions and answers as the feed writes them, dataset by dataset."""
    for name in sorted(datasets):
        dataset = datasets[name]
        for number in range(min(TOKENIZER_ROWS, dataset.rows("train"))):
            row = dataset.row("train", number)
            for branch in range(len(row.conversations)):
                dialogue = write_dialogue(row, branch, name, _whole(row), feed.wording)
                for question, answer in dialogue.turns:
                    yield f"{question}\n{answer}"


def _whole(row: Row) -> Scope:
    """All media of a row."""
    videos = [medium for medium in row.media if medium.kind == "video"]
    return Scope(end=videos[0].duration) if videos else Scope(images=len(row.media))
