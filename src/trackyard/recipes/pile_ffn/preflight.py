"""The ten checks of the study's models and data; each mode does what it says. Source: pile-ffn spec 2, 5, 12.

quick: metadata only. default: also tokenizer and configuration into the real cache, and first records of each split.
full: also weights with their digests, a forward pass, the held-out files and the benchmarks' data, into the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trackyard.acquire.hub.fetch import check_access, fetch_repository, list_repository, read_record, verify_repository
from trackyard.acquire.hub.files import HubAddress, Listing, RepositoryKind
from trackyard.acquire.places import Places, room
from trackyard.catalog.entries import UNPINNED, Entry, HubSource
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.launch.preflight import Check, Report, Row, Seen, Skipped, run_checks
from trackyard.parameters import Parameters
from trackyard.recipes.pile_ffn.streaming import first_records

Mode = Literal["quick", "default", "full"]
MODES: tuple[Mode, ...] = ("quick", "default", "full")

SMALL_FILES = ("config.json", "tokenizer*", "special_tokens_map.json")
"""What of a model a default check fetches."""
WEIGHTS = "*.safetensors"
FIXTURE = "The quick brown fox: 1,024 tokens — naïve café.\n\tdef f(x):\n"
LARGEST_UINT16 = 65_536


class PreflightParameters(Parameters):
    """What the checks expect. parameters, ffn_parameters, vocabulary_rows: of the model (pile-ffn spec section 2).
    splits: file of each split whose first records are read. train_files: compressed training files. dtype_rows: largest
    vocabulary that the token shards' type holds. needed_bytes: free bytes by mode."""

    model: str = "EleutherAI/pythia-1.4b"
    model_revision: str = UNPINNED
    model_gated: bool = False
    parameters: int = 1_414_647_808
    ffn_parameters: int = 805_552_128
    vocabulary_rows: int = 50_304
    splits: dict[str, str] = Field(
        default={"train": "train/00.jsonl.zst", "validation": "val.jsonl.zst", "test": "test.jsonl.zst"}
    )
    train_files: int = 30
    records: int = Field(default=100, gt=0)
    needs_accelerator: bool = False
    needed_bytes: dict[Mode, int] = Field(default={"quick": 5_000_000, "default": 200_000_000, "full": 8_000_000_000})


def run_preflight(
    dataset: Entry,
    benchmarks: Sequence[Entry],
    parameters: PreflightParameters,
    *,
    mode: Mode,
    offline: bool,
    places: Places,
    root: Path,
    endpoint: str | None = None,
    progress: Callable[[Row], None] | None = None,
) -> Report:
    """Run the ten checks of a mode; modes are cumulative. offline: the cache is verified instead of the network.

    dataset: the entry of the training text; benchmarks: entries of the evaluation tasks.
    """
    study = _Study(dataset, tuple(benchmarks), parameters, mode, offline, places, root, endpoint)
    return run_checks(
        (
            Check(name="network", run=study.network),
            Check(name="dependencies", run=study.dependencies),
            Check(name="auth", run=study.auth),
            Check(name="disk and inodes", run=study.disk),
            Check(name="model metadata", run=study.model),
            Check(name="dataset metadata", run=study.data),
            Check(name="tokenizer", run=study.tokenizer),
            Check(name="benchmarks", run=study.tasks),
            Check(name="accelerator", run=study.accelerator),
            Check(name="self-test", run=study.self_test),
        ),
        progress=progress,
    )


@dataclass(frozen=True)
class _Study:
    dataset: Entry
    benchmarks: tuple[Entry, ...]
    parameters: PreflightParameters
    mode: Mode
    offline: bool
    places: Places
    root: Path
    endpoint: str | None

    def reaches(self, mode: Mode) -> bool:
        """Whether the chosen mode includes `mode`."""
        return MODES.index(self.mode) >= MODES.index(mode)

    @cached_property
    def model_source(self) -> HubSource:
        parameters = self.parameters
        return HubSource(repo=parameters.model, revision=parameters.model_revision, gated=parameters.model_gated)

    @cached_property
    def address(self) -> str:
        """The hub that is asked."""
        return HubAddress.of(self.model_source, self.endpoint, "model").endpoint

    @cached_property
    def text_source(self) -> HubSource:
        return self.dataset.hub[0]

    def network(self) -> Seen:
        """The API by the model's list of files, the file server by the head of one of them."""
        if self.offline:
            raise Skipped("offline: the cache is verified instead")
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        listing = list_repository(self.model_source, endpoint=self.endpoint, kind="model")
        url = hf_hub_url(listing.repo, listing.files[0].path, revision=listing.commit, endpoint=self.address)
        try:
            found = get_hf_file_metadata(url)
        except OSError as error:
            raise EnvironmentLacking(
                what=f"the hub's file server does not answer for {listing.files[0].path}: {type(error).__name__}",
                why="files could be listed and none fetched",
                fix="check the network and HF_ENDPOINT, or run with --offline on what is cached",
            ) from None
        return Seen(detail=f"{self.address} answers, {found.size:,} bytes announced", examined=2)

    def dependencies(self) -> Seen:
        """Every pin of the lock against what is installed."""
        pins = [line.split("==") for line in (self.root / "requirements.lock").read_text().splitlines() if "==" in line]
        wrong = []
        for name, version in pins:
            try:
                found = metadata.version(name)
            except metadata.PackageNotFoundError:
                found = "absent"
            if found.partition("+")[0] != version:
                wrong.append(f"{name} {found}, locked {version}")
        if wrong:
            raise EnvironmentLacking(
                what=f"{len(wrong)} of {len(pins)} packages are not as locked: {'; '.join(wrong[:5])}",
                why="results of another environment cannot be compared",
                fix="make setup",
            )
        return Seen(detail=f"{len(pins)} packages as locked", examined=len(pins))

    def auth(self) -> Seen:
        gated: list[tuple[HubSource, RepositoryKind]] = [
            (source, "dataset") for entry in (self.dataset, *self.benchmarks) for source in entry.hub if source.gated
        ]
        gated += [(self.model_source, "model")] if self.model_source.gated else []
        if not gated:
            raise Skipped("nothing gated is configured")
        if self.offline:
            raise Skipped("offline: access is not asked for")
        for source, kind in gated:
            check_access(source, endpoint=self.endpoint, kind=kind)
        return Seen(detail=f"access to {', '.join(source.repo for source, _ in gated)}", examined=len(gated))

    def disk(self) -> Seen:
        needed = self.parameters.needed_bytes[self.mode]
        for path in (self.places.hub, self.root / "runs"):
            found = room(path)
            if found.free_bytes < needed or found.free_inodes == 0:
                raise EnvironmentLacking(
                    what=f"{path}: {found.free_bytes:,} bytes and {found.free_inodes} inodes free, {needed:,} needed",
                    why="a full disk stops the work in the middle",
                    fix="free space there, or set HF_HOME to a larger file system",
                )
        return Seen(detail=f"at least {needed:,} bytes free for the cache and for runs", examined=2)

    def listing(self, source: HubSource, kind: RepositoryKind) -> Listing:
        return list_repository(source, endpoint=self.endpoint, kind=kind)

    def model(self) -> Seen:
        if self.offline:
            return self._cached(
                self.model_source, "model", self.model_files("full" if self.reaches("full") else "default")
            )
        listing = self.listing(self.model_source, "model")
        names = {file.path for file in listing.files}
        lacking = {"config.json", "tokenizer.json"} - names
        weights = [file for file in listing.files if file.path.endswith(".safetensors")]
        if lacking or not weights:
            raise DataError(
                what=f"{listing.repo} lacks {', '.join(sorted(lacking)) or WEIGHTS}",
                why="the study loads a model from these and from nothing that has to be unpickled",
                fix="choose a revision that has them",
            )
        pinned = "pinned" if listing.pinned else "unpinned, now"
        size = sum(file.bytes for file in weights)
        detail = f"{listing.repo} {pinned} {listing.commit[:12]}, {len(listing.files)} files, weights {size:,} bytes"
        fetched = 0
        if self.reaches("default"):
            fetched += self._fetch(self.model_source, "model", self.model_files("default"))
        if self.reaches("full"):
            fetched += self._fetch(self.model_source, "model", self.model_files("full"))
            detail += f"; {self._weights_are_right()}"
        return Seen(detail=detail, examined=len(listing.files), fetched=fetched)

    @staticmethod
    def model_files(mode: Mode) -> tuple[str, ...]:
        return ("config.json", "tokenizer.json") if mode == "default" else ("config.json", "tokenizer.json", WEIGHTS)

    def _fetch(self, source: HubSource, kind: RepositoryKind, files: tuple[str, ...]) -> int:
        """Fetch into the real cache, every digest proved; returns the bytes that were not there before."""
        wanted = source.model_copy(update={"files": files})
        before = _cached_bytes(wanted, self.places, kind)
        found = fetch_repository(wanted, cache=self.places.hub, endpoint=self.endpoint, kind=kind)
        return max(0, found.bytes - before)

    def _cached(self, source: HubSource, kind: RepositoryKind, files: tuple[str, ...]) -> Seen:
        """Presence and digests in the cache, without the network."""
        wanted = source.model_copy(update={"files": files})
        report = verify_repository(wanted, self.places.hub, full=True, kind=kind)
        if report.missing or report.changed:
            raise DataError(
                what=f"{source.repo}: {len(report.missing)} files missing, {len(report.changed)} changed, "
                f"{[*report.missing, *report.changed][0]} first",
                why="a job without a network would stop at it",
                fix="run the same check without --offline on a machine with a network",
            )
        return Seen(detail=f"{source.repo}: {report.examined} cached files proved", examined=report.examined)

    def _weights_are_right(self) -> str:
        """Counts and one forward pass of the cached weights, from safetensors alone."""
        import torch
        from transformers import AutoModelForCausalLM

        directory = read_record(
            self.model_source.model_copy(update={"files": self.model_files("full")}), self.places.hub, kind="model"
        ).directory
        model = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, dtype=torch.float32).eval()
        expected = self.parameters
        found = {
            "parameters": sum(tensor.numel() for tensor in model.parameters()),
            "ffn_parameters": sum(t.numel() for name, t in model.named_parameters() if ".mlp." in name),
            "vocabulary_rows": model.get_input_embeddings().weight.shape[0],
        }
        wrong = {name: value for name, value in found.items() if value != getattr(expected, name)}
        with torch.no_grad():
            tokens = torch.arange(64).unsqueeze(0) % found["vocabulary_rows"]
            loss = float(model(input_ids=tokens, labels=tokens).loss)
        limit = math.log(found["vocabulary_rows"])
        if wrong or not loss < limit:
            raise DataError(
                what=f"{expected.model}: counted {found}, expected "
                f"{ {name: getattr(expected, name) for name in found} }; loss {loss:.3f}, limit {limit:.3f}",
                why="it is not the model of the study, or its weights are no trained weights",
                fix="correct the model or its revision",
            )
        return (
            f"{found['parameters']:,} parameters, {found['ffn_parameters']:,} in feed-forward layers, loss {loss:.3f}"
        )

    def data(self) -> Seen:
        files = tuple(self.parameters.splits.values())
        held_out = tuple(file for split, file in self.parameters.splits.items() if split != "train")
        if self.offline:
            return self._cached(self.text_source, "dataset", held_out)
        listing = self.listing(self.text_source, "dataset")
        names = {file.path: file.bytes for file in listing.files}
        train = [name for name in names if name.startswith("train/") and name.endswith(".jsonl.zst")]
        absent = [name for name in files if not names.get(name)]
        if absent or len(train) != self.parameters.train_files:
            raise DataError(
                what=f"{listing.repo}: {len(train)} training files, expected {self.parameters.train_files}; "
                f"absent or empty: {', '.join(absent) or 'none'}",
                why="splits and slices of the study are made of these files",
                fix="check the pinned revision of the entry in catalog/pile.yaml",
            )
        detail = f"{listing.repo} at {listing.commit[:12]}, {len(train)} training files"
        fetched = examined = 0
        if self.reaches("default"):
            for name in files:
                streamed = self._stream(listing, name)
                fetched += streamed
                examined += self.parameters.records
            detail += f", {examined:,} records read"
        if self.reaches("full"):
            fetched += self._fetch(self.text_source, "dataset", held_out)
            detail += f", {self._documents(held_out):,} held-out documents"
        return Seen(detail=detail, examined=len(listing.files) + examined, fetched=fetched)

    def _stream(self, listing: Listing, name: str) -> int:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(listing.repo, name, repo_type="dataset", revision=listing.commit, endpoint=self.address)
        streamed = first_records(url, self.parameters.records, what=f"{listing.repo}/{name}")
        for number, record in enumerate(streamed.records, start=1):
            problem = _record_problem(record)
            if problem:
                raise DataError(
                    what=f"{listing.repo}/{name}, record {number}: {problem}",
                    why="documents are taken from `text` and told apart by `meta.pile_set_name`",
                    fix="check the entry in catalog/pile.yaml: another revision may have other fields",
                )
        return streamed.fetched

    def _documents(self, held_out: Sequence[str]) -> int:
        """Documents of the cached held-out files, each checked."""
        import json

        import zstandard

        wanted = self.text_source.model_copy(update={"files": tuple(held_out)})
        directory = read_record(wanted, self.places.hub).directory
        count = 0
        for name in held_out:
            with zstandard.open(directory / name, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    problem = _record_problem(json.loads(line))
                    if problem:
                        raise DataError(
                            what=f"{name}, line {number}: {problem}",
                            why="the held-out documents decide the reported perplexity",
                            fix="check the pinned revision of the entry in catalog/pile.yaml",
                        )
                    count += 1
        return count

    def tokenizer(self) -> Seen:
        if not self.reaches("default"):
            raise Skipped("default and full fetch it")
        from tokenizers import Tokenizer

        wanted = self.model_source.model_copy(update={"files": self.model_files("default")})
        directory = read_record(wanted, self.places.hub, kind="model").directory
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        ids = tokenizer.encode(FIXTURE).ids
        back, rows = tokenizer.decode(ids, skip_special_tokens=False), tokenizer.get_vocab_size()
        if back != FIXTURE or rows > min(LARGEST_UINT16, self.parameters.vocabulary_rows):
            raise DataError(
                what=f"tokenizer of {self.parameters.model}: {rows:,} entries, {FIXTURE!r} comes back as {back!r}",
                why="token shards hold 16-bit ids, and documents must be restored from them",
                fix="correct the model or its revision",
            )
        return Seen(detail=f"{rows:,} entries, {len(ids)} tokens there and back", examined=len(ids))

    def tasks(self) -> Seen:
        fetched, names = 0, []
        for entry in self.benchmarks:
            for source in entry.hub:
                if self.offline:
                    if self.reaches("full"):
                        self._cached(source, "dataset", source.files)
                else:
                    names.append(self.listing(source, "dataset").repo)
                    if self.reaches("full"):
                        fetched += self._fetch(source, "dataset", source.files)
        if self.offline and not self.reaches("full"):
            raise Skipped("offline: their data are verified by --full")
        return Seen(detail=", ".join(names) or "cached", examined=len(self.benchmarks), fetched=fetched)

    def accelerator(self) -> Seen:
        import torch

        count = torch.cuda.device_count()
        if self.parameters.needs_accelerator and count == 0:
            raise EnvironmentLacking(
                what="no GPU is visible",
                why="the configured stage needs one",
                fix="run the check on a GPU node, or check CUDA_VISIBLE_DEVICES and the driver",
            )
        devices = [
            f"{torch.cuda.get_device_name(number)} {torch.cuda.get_device_properties(number).total_memory / 1e9:.0f} GB"
            for number in range(count)
        ]
        return Seen(detail=", ".join(devices) or "none visible, none needed", examined=1)

    def self_test(self) -> Seen:
        """Tiny random models of both families, without a network: matrices counted, one finite loss each."""
        import torch
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        families: dict[str, tuple[Any, int]] = {
            "GPT-NeoX": (GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=128, **shape)), 4),
            "Llama": (LlamaForCausalLM(LlamaConfig(vocab_size=128, num_key_value_heads=4, **shape)), 6),
        }
        tokens = torch.arange(16).unsqueeze(0)
        for family, (model, matrices) in families.items():
            found = sum(tensor.ndim == 2 for name, tensor in model.named_parameters() if ".mlp." in name)
            with torch.no_grad():
                loss = float(model(input_ids=tokens, labels=tokens).loss)
            if found != matrices or not math.isfinite(loss):
                raise EnvironmentLacking(
                    what=f"a tiny {family} has {found} feed-forward matrices, expected {matrices}; loss {loss}",
                    why="this environment builds other models than the study is about",
                    fix="make setup",
                )
        return Seen(detail="GPT-NeoX 4 and Llama 6 feed-forward matrices, losses finite", examined=len(families))


def _record_problem(record: Any) -> str | None:
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str) or not text.strip():
        return f"`text` is {text!r}"
    meta = record.get("meta")
    name = meta.get("pile_set_name") if isinstance(meta, dict) else None
    return None if isinstance(name, str) and name else f"`meta.pile_set_name` is {name!r}"


def _cached_bytes(source: HubSource, places: Places, kind: RepositoryKind) -> int:
    """Bytes of `source` that the cache holds by its record; 0 where the copy is not complete."""
    try:
        return read_record(source, places.hub, kind=kind).bytes
    except DataError:
        return 0
