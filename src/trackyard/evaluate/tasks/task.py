"""A task as its YAML file states it. Source: nine-datasets spec section 1, molmo2 spec section 14."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trackyard.digest import digest_json
from trackyard.parameters import Parameters

Layout = Literal[
    "vqa_v2",
    "text_vqa",
    "okvqa",
    "science_qa",
    "st_qa",
    "doc_qa",
    "tally_qa",
    "mmmu",
    "coco_caption",
    "mmmu_files",
    "rows",
    "harness",
]
"""How the questions lie on disk: a staged copy of one of the nine data sets, MMMU's questions as local files, a data
set of a snapshot, or a benchmark that lm-evaluation-harness defines."""


class Task(Parameters):
    """What is asked of a model on one data set, and how its answers are scored."""

    name: str = Field(min_length=1)
    title: str = ""
    entry: str | None = None
    """Of the catalogue, which pins the data."""
    split: str = "validation"
    layout: Layout
    style: str = "user_qa"
    """Molmo2's, which decides the tag of a prompt."""
    instruction: str = ""
    """What is added to the question for models that know no styles."""
    new_tokens: int = Field(ge=1)
    """An answer ends there at the latest; answers that reach it are counted."""
    metric: str
    """The one that is plotted, by its name in `evaluate.scorers.table`."""
    secondary: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Names under which several tasks are asked for together."""
    samples: int | None = Field(default=None, ge=1)
    """Questions of the whole split."""
    breakdown: str | None = None
    """Key of `Question.groups` by which scores are given apart."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """All of them, the plotted one first."""
        return (self.metric, *self.secondary)

    @property
    def digest(self) -> str:
        """Of all that decides prompts and scores. Titles and groups do not."""
        return digest_json(self.model_dump(mode="json", exclude={"title", "groups", "samples"}))
