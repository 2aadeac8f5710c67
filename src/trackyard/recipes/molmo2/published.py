"""Models that others have made, as a first stage starts from them: of the hub at a commit, or in a folder.

A run names the commit that was found, since a branch moves; a folder has none, and is named by its files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trackyard.digest import digest_file
from trackyard.errors import DataError

CONFIG, ONE_FILE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
READ = (".safetensors", ".json", ".jinja")
"""Endings of what is read of a model: weights, configuration and tokenizer."""


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """source: id of the hub, or a folder. revision: of the hub that is asked for; None for its main branch."""

    source: str
    revision: str | None = None

    @property
    def restore(self) -> str:
        """The command that brings it; a folder comes back from wherever it was copied."""
        if self._own:
            return f"put its files back into {self.source}"
        return f"hf download {self.source}" + (f" --revision {self.revision}" if self.revision else "")

    @cached_property
    def folder(self) -> Path:
        """Where its files lie. DataError where neither a folder nor the hub's cache has it."""
        if self._own:
            return Path(self.source)
        try:
            found = try_to_load_from_cache(self.source, CONFIG, revision=self.revision)
        except HFValidationError:
            found = None
        if not isinstance(found, str):
            raise self._lacks(CONFIG)
        return Path(found).parent

    @property
    def commit(self) -> str | None:
        """Of the hub, None for a folder. The cache keeps the files of a commit in a folder of its name."""
        return None if self._own else self.folder.name

    @property
    def identity(self) -> dict[str, Any]:
        """How the specification of a run names it. DataError as `folder`, and where it is one as `files`."""
        return {"id": self.source} | ({"revision": self.commit} if self.commit else {"files": self.files})

    @cached_property
    def files(self) -> dict[str, str]:
        """blake3 of all that is read of it, by name. DataError where a file of its weights is not there."""
        for name in (CONFIG, *self._weights()):
            if not (self.folder / name).is_file():
                raise self._lacks(name)
        read = sorted(path for path in self.folder.iterdir() if path.name.endswith(READ))
        return {path.name: digest_file(path) for path in read}

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """DataError where it cannot be read, or not be brought."""
        try:
            return AutoTokenizer.from_pretrained(self.source, revision=self.revision)
        except (OSError, ValueError) as error:
            raise DataError(
                what=f"{self.source} gives no tokenizer: {' '.join(str(error).split())[:300]}",
                why="rows are written in its tokens",
                fix=f"correct molmo2.model in params.yaml, or {self.restore}",
            ) from error

    def _weights(self) -> list[str]:
        index = self.folder / INDEX
        if not index.is_file():
            return [ONE_FILE]
        try:
            return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                what=f"{index} does not say which files hold the weights: {error}",
                why="a part of the model would go unrecorded",
                fix=f"put it there as it was published, or {self.restore}",
            ) from error

    @property
    def _own(self) -> bool:
        return Path(self.source).is_dir()

    def _lacks(self, name: str) -> DataError:
        at = "" if self._own else f" at {self.revision or 'main'}, in the hub's cache"
        return DataError(
            what=f"there is no {name} of {self.source}{at}",
            why="the record of the run holds the commit, or the digest, of every file that it starts from",
            fix=self.restore,
        )
