"""The pretrained model: its files, its weights counted and run once, its tokenizer. Source: pile-ffn spec 2, 12."""

from __future__ import annotations

import math

from trackyard.acquire.hub.fetch import read_record
from trackyard.errors import DataError
from trackyard.launch.preflight import Seen, Skipped
from trackyard.recipes.pile_ffn.cost.arithmetic import PACKED_ROWS
from trackyard.recipes.pile_ffn.preflight.hub import Asked
from trackyard.recipes.pile_ffn.preflight.parameters import Mode

WEIGHTS = "*.safetensors"
FIXTURE = "The quick brown fox: 1,024 tokens — naïve café.\n\tdef f(x):\n"


def model(asked: Asked) -> Seen:
    """The revision and its files; then configuration and tokenizer; then the weights, counted and run."""
    if asked.offline:
        return asked.cached(asked.model, "model", _files("full" if asked.reaches("full") else "default"))
    listing = asked.listing(asked.model, "model")
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
    if asked.reaches("default"):
        fetched += asked.fetch(asked.model, "model", _files("default"))
    if asked.reaches("full"):
        fetched += asked.fetch(asked.model, "model", _files("full"))
        detail += f"; {_weights_are_right(asked)}"
    return Seen(detail=detail, examined=len(listing.files), fetched=fetched)


def tokenizer(asked: Asked) -> Seen:
    """Text comes back from its ids, and every id fits the type of the token shards."""
    if not asked.reaches("default"):
        raise Skipped("default and full fetch it")
    from tokenizers import Tokenizer

    wanted = asked.model.model_copy(update={"files": _files("default")})
    directory = read_record(wanted, asked.places.hub, kind="model").directory
    found = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = found.encode(FIXTURE, add_special_tokens=False).ids
    back, rows = found.decode(ids, skip_special_tokens=False), found.get_vocab_size()
    if back != FIXTURE or rows > asked.parameters.vocabulary_rows:
        raise DataError(
            what=f"tokenizer of {asked.parameters.model}: {rows:,} entries for {asked.parameters.vocabulary_rows:,} "
            f"rows of the model, {FIXTURE!r} comes back as {back!r}",
            why="an id beyond the table has no embedding, and documents must be restored from their ids",
            fix="correct the model or its revision",
        )
    bits = 16 if asked.parameters.vocabulary_rows <= PACKED_ROWS else 32
    return Seen(detail=f"{rows:,} entries in {bits} bits, {len(ids)} tokens there and back", examined=len(ids))


def _files(mode: Mode) -> tuple[str, ...]:
    return ("config.json", "tokenizer.json") if mode == "default" else ("config.json", "tokenizer.json", WEIGHTS)


def _weights_are_right(asked: Asked) -> str:
    """Counts and one forward pass of the cached weights, from safetensors alone."""
    import torch
    from transformers import AutoModelForCausalLM

    wanted = asked.model.model_copy(update={"files": _files("full")})
    directory = read_record(wanted, asked.places.hub, kind="model").directory
    loaded = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, dtype=torch.float32).eval()
    expected = asked.parameters
    found = {
        "parameters": sum(tensor.numel() for tensor in loaded.parameters()),
        "ffn_parameters": sum(t.numel() for name, t in loaded.named_parameters() if ".mlp." in name),
        "vocabulary_rows": loaded.get_input_embeddings().weight.shape[0],
    }
    wrong = {name: value for name, value in found.items() if value != getattr(expected, name)}
    with torch.no_grad():
        tokens = torch.arange(64).unsqueeze(0) % found["vocabulary_rows"]
        loss = float(loaded(input_ids=tokens, labels=tokens).loss)
    limit = math.log(found["vocabulary_rows"])
    if wrong or not loss < limit:
        raise DataError(
            what=f"{expected.model}: counted {found}, expected "
            f"{ {name: getattr(expected, name) for name in found} }; loss {loss:.3f}, limit {limit:.3f}",
            why="it is not the model of the study, or its weights are no trained weights",
            fix="correct the model or its revision",
        )
    return f"{found['parameters']:,} parameters, {found['ffn_parameters']:,} in feed-forward layers, loss {loss:.3f}"
