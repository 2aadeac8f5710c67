"""The miniature datasets by folder name: task, sizes, and the builder of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from trackyard.acquire.mini import answer_rows, clip_rows, point_rows, text_rows
from trackyard.acquire.mini.draft import Builder, random_of
from trackyard.errors import ConfigError
from trackyard.row import Row

SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MiniDataset:
    """One generated dataset; row k of a split is a function of (seed, name, split, k)."""

    name: str
    task: str
    """Style name of molmo2 spec section 7."""
    build: Builder
    sizes: Mapping[str, int]
    """Rows per split."""

    def row(self, split: str, index: int, *, seed: int = SEED) -> Row:
        """Row `index` of a split, without making any other."""
        draft = self.build(random_of("mini", seed, self.name, split, index), index)
        name = f"{split}-{index:05d}"
        suffix = {"image": "png", "video": "mp4"}
        media = tuple(replace(m, path=f"{name}-{k}.{suffix[m.kind]}") for k, m in enumerate(draft.media, start=1))
        return Row(id=name, task=self.task, media=media, conversations=draft.conversations, meta=draft.meta)

    def rows(self, split: str, *, seed: int = SEED) -> Iterator[Row]:
        """All rows of "train" or "validation", one at a time."""
        if split not in self.sizes:
            raise ConfigError(
                what=f"split {split!r} of mini dataset {self.name!r}",
                why=f"it has the splits {', '.join(self.sizes)}",
                fix="ask for one of these splits",
            )
        return (self.row(split, index, seed=seed) for index in range(self.sizes[split]))


def _dataset(name: str, task: str, build: Builder, train: int, validation: int = 48) -> MiniDataset:
    return MiniDataset(name=name, task=task, build=build, sizes={"train": train, "validation": validation})


STAGE1 = (
    _dataset("pixmo-cap", "long_caption", answer_rows.captioning, 1500, 64),
    _dataset("pixmo-points", "pointing", point_rows.pointing, 2000, 96),
    _dataset("pixmo-count", "point_count", point_rows.counting, 2000, 96),
    _dataset("cosyn-point", "cosyn_point", point_rows.chart_pointing, 600),
    _dataset("tulu", "text_sft", text_rows.instruction, 600),
)
STAGE2 = (
    _dataset("docvqa", "doc_qa", answer_rows.document, 600),
    _dataset("chartqa", "chart_qa", answer_rows.chart, 600),
    _dataset("textvqa", "text_vqa", answer_rows.sign, 600),
    _dataset("tallyqa", "tally_qa", answer_rows.tally, 1500, 96),
    _dataset("a-okvqa", "a_okvqa_mc", answer_rows.choice, 1500, 96),
    _dataset("vqa-v2", "vqa2", answer_rows.three_questions, 600),
    _dataset("molmo2-multiimageqa", "user_qa", answer_rows.which_image, 600),
    _dataset("molmo2-multiimagepoint", "multi_image_pointing", point_rows.multi_image_pointing, 600),
    _dataset("molmo2-cap", "video_long_caption", clip_rows.clip_caption, 300),
    _dataset("molmo2-capqa", "video_short_answer", clip_rows.clip_question, 300),
    _dataset("next-qa", "video_multiple_choice", clip_rows.clip_choice, 300),
    _dataset("molmo2-videopoint", "video_point", clip_rows.appearance, 300),
    _dataset("molmo2-videotrack", "video_point_track_per_frame", clip_rows.tracking, 300),
)

MINI: dict[str, MiniDataset] = {dataset.name: dataset for dataset in (*STAGE1, *STAGE2)}
"""Every dataset by name. The second stage also trains on the first stage's."""
