"""What can be known to fail before an accelerator is asked for: names, shards, rates, budgets, labels, ids, decoding.

Every check runs, also after one has failed. Source: molmo2 spec section 3 (preflight).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import Molmo2Config

from trackyard.catalog.entries import Entry
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.feed.batch import collate
from trackyard.feed.frames import frame_limit
from trackyard.feed.geometry import largest_image
from trackyard.feed.sample import Sample, load_sample, measure
from trackyard.launch.preflight import Check, Report, Row, Seen, Skipped, run_checks
from trackyard.models.molmo2 import build_config, check_fits
from trackyard.models.presets import PRESETS
from trackyard.plan.context import check_degree, padded_length
from trackyard.plan.mixture import rates
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, StageName
from trackyard.recipes.molmo2.prepare import mixture_names
from trackyard.recipes.molmo2.start import Start, export_directory, prepare_start
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot
from trackyard.train.parameters import accumulation

SAMPLED_ROWS = 32
"""Rows of each dataset whose length is measured, evenly spread over it."""
DECODED_ROWS = 4
"""Rows of a dataset of which one must decode."""
LONG_VIDEO_S = Fraction(8 * 3600)
"""Seconds of the video whose time text is the longest that budgets are checked against."""
MASK_BLOCK = 128
"""Tokens of a block of the attention mask on an accelerator; a sequence is a whole number of them."""


def run_preflight(
    parameters: Molmo2Parameters,
    stage: StageName,
    root: Path,
    *,
    catalogue: Mapping[str, Entry],
    context_parallel: int | None = None,
    progress: Callable[[Row], None] | None = None,
) -> Report:
    """Run every check of a stage; nothing is written but the small tokenizer of a first start.

    catalogue: names that exist somewhere, to tell a set that is not here from one that is nowhere. context_parallel:
    ranks that share a pack, instead of engine.context_degree.
    """
    degree = parameters.engine_of(stage).context_degree if context_parallel is None else context_parallel
    study = _Stage(parameters, stage, root, catalogue, degree)
    return run_checks(
        (
            Check(name="mixture names", run=study.names),
            Check(name="mixture rates", run=study.rates),
            Check(name="shards", run=study.shards),
            Check(name="batch", run=study.batch),
            Check(name="budgets", run=study.budgets),
            Check(name="context parallel", run=study.context),
            Check(name="token ids", run=study.token_ids),
            Check(name="rows", run=study.rows),
            Check(name="one pack", run=study.pack),
        ),
        progress=progress,
    )


@dataclass
class _Stage:
    parameters: Molmo2Parameters
    stage: StageName
    root: Path
    catalogue: Mapping[str, Entry]
    degree: int

    @cached_property
    def datasets(self) -> dict[str, SnapshotDataset]:
        snapshot = self.root / self.parameters.snapshot
        mixture = self.parameters.stage(self.stage).mixture
        return {name: SnapshotDataset.open(snapshot / name) for name in mixture_names(mixture, snapshot)}

    @cached_property
    def start(self) -> Start:
        # The small tokenizer of a first start is trained on the whole snapshot, as a run does it.
        everything = open_snapshot(self.root / self.parameters.snapshot, None)
        return prepare_start(self.parameters, self.stage, self.root, everything)

    def names(self) -> Seen:
        """Every name of the mixture is here, or is a dataset of the catalogue that the policy allows to miss."""
        snapshot = self.root / self.parameters.snapshot
        mixture = self.parameters.stage(self.stage).mixture
        here = mixture_names(mixture, snapshot)
        named = mixture.datasets or here
        nowhere = [name for name in named if name not in here and name not in self.catalogue]
        if nowhere:
            known = [*self.catalogue, *here]
            hints = [difflib.get_close_matches(name, known, n=1) for name in nowhere]
            listed = ", ".join(
                name + (f" (did you mean {near[0]}?)" if near else "")
                for name, near in zip(nowhere, hints, strict=True)
            )
            raise ConfigError(
                what=f"{len(nowhere)} of {len(named)} names of the mixture resolve nowhere: {listed}",
                why="their share of the mixture would go to other datasets, or the job would die at its start",
                fix=f"correct molmo2.{self.stage}.mixture in the parameter file; `trackyard data list` has the names",
            )
        missing = [name for name in named if name not in here]
        if missing and self.parameters.strict:
            raise ConfigError(
                what=f"{len(missing)} of {len(named)} datasets of the mixture are not in {snapshot}: {missing}",
                why="molmo2.strict asks for all of them",
                fix=f"trackyard data fetch {missing[0]}   (then `trackyard data snapshot`), or set strict: false",
            )
        return Seen(detail=f"{len(here)} of {len(named)} datasets are here", examined=len(named))

    def rates(self) -> Seen:
        """Rates are positive and add up."""
        sizes = {name: dataset.rows("train") for name, dataset in self.datasets.items()}
        mixture = rates(self.parameters.stage(self.stage).mixture, sizes, strict=self.parameters.strict)
        total = sum(entry.rate for entry in mixture.entries)
        if abs(total - 1) > 1e-9:
            raise ConfigError(
                what=f"the rates add up to {total:.12f}",
                why="draws would follow another mixture than the one that is written",
                fix=f"correct molmo2.{self.stage}.mixture in the parameter file",
            )
        return Seen(
            detail=f"{len(mixture.drawn)} entries add up to 1; {len(mixture.missing)} missing, "
            f"total variation {mixture.distance:.3f}",
            examined=len(mixture.entries),
        )

    def shards(self) -> Seen:
        """Every shard is there with the size and the rows of its manifest."""
        files = 0
        for dataset in self.datasets.values():
            for split in dataset.splits:
                dataset.row(split, 0)
            files += len(dataset.manifest.files)
        return Seen(detail=f"{files} shards of {len(self.datasets)} datasets fit their manifests", examined=files)

    def batch(self) -> Seen:
        """The global batch can be made of micro-batches."""
        settings, processes = self.parameters.stage(self.stage), self.parameters.processes
        replicas = processes // self.degree
        if processes % self.degree:
            raise Skipped(f"{processes} processes are no whole number of groups of {self.degree}: see context parallel")
        micro_batch = self.parameters.engine_of(self.stage).micro_batch
        steps = accumulation(settings.packs_per_step, micro_batch, replicas)
        return Seen(
            detail=f"{settings.packs_per_step} packs = {micro_batch} x {steps} x {replicas}",
            examined=1,
        )

    def budgets(self) -> Seen:
        """An image and F frames fit a pack, or the policy says what happens."""
        settings, geometry = self.parameters.stage(self.stage), self.parameters.geometry
        tokens, inputs = largest_image(geometry, geometry.max_crops)
        if tokens + settings.video.text_reserve > settings.max_tokens or inputs > settings.max_inputs:
            raise ConfigError(
                what=f"an image of {geometry.max_crops} crops costs {tokens} tokens and {inputs} inputs; a pack holds "
                f"{settings.max_tokens} with {settings.video.text_reserve} kept for text, and {settings.max_inputs}",
                why="every large image would be left out",
                fix=f"raise max_tokens and max_inputs of molmo2.{self.stage}, or lower geometry.max_crops",
            )
        frames = frame_limit(
            LONG_VIDEO_S,
            settings.video,
            max_tokens=settings.max_tokens,
            inputs_budget=settings.max_inputs,
            frame_tokens=geometry.frame_tokens,
        )
        reduced = "" if frames == settings.video.max_frames else f", reduced from {settings.video.max_frames}"
        return Seen(
            detail=f"largest image {tokens} tokens and {inputs} inputs, videos {frames} frames{reduced}", examined=2
        )

    def context(self) -> Seen:
        """The context-parallel degree divides what it has to."""
        if self.degree == 1:
            raise Skipped("degree 1")
        settings, preset = self.parameters.stage(self.stage), PRESETS[self.parameters.model.preset]
        length = padded_length(settings.max_tokens, self.degree, MASK_BLOCK)
        share = check_degree(
            self.degree,
            heads=preset.heads,
            kv_heads=preset.kv_heads,
            length=length,
            world=self.parameters.processes,
            ranks=max(1, self.parameters.processes // self.degree),
            packs_per_step=settings.packs_per_step,
        )
        held = f"{share.tokens:,} tokens, {share.heads} heads and {share.kv_heads} key and value heads"
        return Seen(detail=f"{self.degree} ranks with {held} each", examined=1)

    def token_ids(self) -> Seen:
        """The tokenizer's ids are those of the model's configuration."""
        check_fits(SimpleNamespace(config=self._config()), self.start.tokens, self.parameters.geometry)  # type: ignore[arg-type]
        return Seen(detail=f"added tokens start at {self.start.tokens.vocab_size:,}", examined=1)

    def _config(self) -> Any:
        """Configuration of the model that the stage starts from; no weight is read."""
        model, preset = self.parameters.model, PRESETS[self.parameters.model.preset]
        if self.stage != "stage1":
            return Molmo2Config.from_pretrained(export_directory(self.root, STAGES[STAGES.index(self.stage) - 1]))
        if model.start != "published":
            length = self.parameters.stage1.max_tokens
            return build_config(preset, self.parameters.geometry, vocab_size=preset.vocab_size, max_positions=length)
        source = model.published or preset.published
        try:
            return Molmo2Config.from_pretrained(source, revision=model.revision)
        except OSError as error:
            raise EnvironmentLacking(
                what=f"the configuration of {source} is not here: {error}",
                why="compute nodes have no network, so the model is brought before the run",
                fix=f"hf download {source}   (where there is a network)",
            ) from error

    def rows(self) -> Seen:
        """Sampled rows of every dataset fit a pack, and have loss targets."""
        feed, tokens = self.parameters.feed(self.stage), self.start.tokens
        examined, largest, left_out = 0, 0, Counter[str]()
        useless = []
        for name, dataset in self.datasets.items():
            total = dataset.rows("train")
            numbers = sorted({place * total // SAMPLED_ROWS for place in range(SAMPLED_ROWS)})
            found = [measure(dataset.row("train", number), name, feed, tokens) for number in numbers]
            examined += len(found)
            left_out.update(f"{name}: {one.reason}" for one in found if one.reason)
            largest = max([largest, *(one.tokens for one in found)])
            if not any(one.labels for one in found if one.reason is None):
                useless.append(f"{name} ({found[0].reason or 'no loss target'})")
        if useless:
            raise DataError(
                what=f"no sampled row can be trained on in {', '.join(useless)}",
                why="their share of the mixture would teach nothing, or be left out whole",
                fix="trackyard feed view --snapshot "
                f"{self.parameters.snapshot} --dataset {useless[0].split()[0]} --out view.html",
            )
        told = f"; left out: {dict(left_out)}" if left_out else ""
        return Seen(detail=f"{examined} rows measured, the longest {largest:,} tokens{told}", examined=examined)

    def pack(self) -> Seen:
        """One row of every dataset decodes, and they go into packs."""
        feed, tokens, settings = self.parameters.feed(self.stage), self.start.tokens, self.parameters.stage(self.stage)
        samples, broken = [], []
        for name, dataset in self.datasets.items():
            tried = [
                load_sample(dataset.row("train", number), name, feed, tokens)
                for number in range(min(DECODED_ROWS, dataset.rows("train")))
                if measure(dataset.row("train", number), name, feed, tokens).reason is None
            ]
            whole = [sample for sample in tried if sample.reason is None]
            samples += whole[:1]
            if tried and not whole:
                broken.append(f"{name} ({tried[0].reason})")
        if broken:
            raise DataError(
                what=f"no row of {', '.join(broken)} decodes",
                why="a dataset that does not decode is trained on without loss, until the budget of bad rows stops it",
                fix="dvc checkout --force data.dvc   (restores the shards; else import the dataset again)",
            )
        packs = 0
        for group in _together(samples, settings.max_tokens):
            collate(group, length=settings.max_tokens, pad=tokens.pad, geometry=self.parameters.geometry)
            packs += 1
        return Seen(detail=f"{len(samples)} datasets decode into {packs} packs", examined=len(samples))


def _together(samples: Sequence[Sample], max_tokens: int) -> list[list[Sample]]:
    """Samples in order, as many in a group as fit a pack."""
    groups: list[list[Sample]] = []
    used = max_tokens
    for sample in samples:
        if used + len(sample.tree) > max_tokens:
            groups.append([])
            used = 0
        groups[-1].append(sample)
        used += len(sample.tree)
    return groups
