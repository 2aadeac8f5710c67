"""What the study puts on disk, in bytes and in files. Source: pile-ffn spec sections 5, 6 and 13."""

from __future__ import annotations

from trackyard.estimate.stored import Storage, Stored, cache_of, checkpoints
from trackyard.recipes.pile_ffn.cost.arithmetic import export_bytes, packed_bytes, state_bytes
from trackyard.recipes.pile_ffn.cost.scoring_work import PROBE_SENTENCES, benchmark_items
from trackyard.recipes.pile_ffn.cost.sizes import Size
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.text.mini_corpus import MiniCorpusParameters

TRAIN_FILE_BYTES, HELD_OUT_FILE_BYTES = 11_100_000_000, 338_000_000
"""Of a file of the default source, compressed (catalog/pile.yaml)."""
PILE = "pile-uncopyrighted"
TEXT_BYTES = 3.4
"""UTF-8 bytes of English text per token of a vocabulary of 50,000; counts for a smaller one as well."""
MINI_DOCUMENT_BYTES = 1_500
RECORD_BYTES, DOCUMENT_TOKENS = 400, 300
"""Of what a result says about one document, item or sentence; of a short document; assumed."""
SET_FILES, EXPORT_FILES, RESULT_FILES, CHECKPOINT_FILES, MODEL_FILES = 6, 16, 10, 8, 6
SETS = 5
"""Held-out sets: val, test, uat_opt, uat_eval, flip."""


def storage(parameters: PileFfnParameters, size: Size, *, at_once: int, keep: int | None = None) -> Storage:
    """at_once: cells that are trained at the same time. keep: checkpoints instead of the engine's."""
    keep = parameters.engine.keep_checkpoints if keep is None else keep
    made, cells, trained = parameters.model.made, len(parameters.cells), len(parameters.trained_cells)
    bf16, fp32 = export_bytes(size.parameters)
    state = state_bytes(size.parameters)
    sets = SETS + len(parameters.seeds) + (made is not None)
    study = [
        Stored(name="source text", bytes=text_bytes(parameters), files=_text_files(parameters), kept="study"),
        Stored(
            name="tokens",
            bytes=packed_bytes(_tokens(parameters), size.shape.vocab),
            files=sets * SET_FILES,
            kept="study",
        ),
        Stored(name="exports", bytes=cells * (bf16 + fp32), files=cells * EXPORT_FILES, kept="study"),
        Stored(
            name="results", bytes=cells * _records(parameters) * RECORD_BYTES, files=cells * RESULT_FILES, kept="study"
        ),
    ]
    if made is None:
        study.append(Stored(name="pretrained model", bytes=bf16, files=MODEL_FILES, kept="study"))
    runs = trained + (made is not None)
    kept = checkpoints(runs=runs, at_once=at_once, keep=keep, state=state, final=fp32, files=CHECKPOINT_FILES)
    return Storage(items=(*study, cache_of(study), *kept))


def text_bytes(parameters: PileFfnParameters) -> int:
    """Of the text as it is fetched: whole files of the default source; else as much as the tokens need."""
    source = parameters.data.source
    if source.kind == "mini":
        return _mini_documents(parameters.data.mini) * MINI_DOCUMENT_BYTES
    if source.entry == PILE:
        return len(source.train) * TRAIN_FILE_BYTES + held_out_bytes(parameters)
    return round(_tokens(parameters) * TEXT_BYTES)


def held_out_bytes(parameters: PileFfnParameters) -> int:
    """Of the default source's held-out files, those that the study has."""
    source = parameters.data.source
    return sum(name is not None for name in (source.val, source.test)) * HELD_OUT_FILE_BYTES


def _records(parameters: PileFfnParameters) -> int:
    """Documents and items of one cell's results."""
    budget = parameters.attacks.allowed
    items = sum(items for _, items in benchmark_items(parameters.benchmarks))
    attacked = 3 * budget.flip_docs + budget.query_docs + budget.eval_docs * (1 + budget.random_triggers)
    return parameters.data.held_out.test_predicted // DOCUMENT_TOKENS + items + attacked + PROBE_SENTENCES


def _mini_documents(mini: MiniCorpusParameters) -> int:
    return mini.train_files * mini.train_documents + 2 * mini.held_out_documents


def _text_files(parameters: PileFfnParameters) -> int:
    return len(parameters.seeds) + 2 + (parameters.model.made is not None)


def _tokens(parameters: PileFfnParameters) -> int:
    """Of all sets."""
    held_out, training, made = parameters.data.held_out, parameters.training, parameters.model.made
    attacked = (held_out.uat_opt + held_out.uat_eval + held_out.flip) * held_out.attack_tokens
    pretraining = 0 if made is None else made.steps * training.windows_per_step * training.window
    found = len(parameters.seeds) * training.tokens + held_out.val_tokens + held_out.test_predicted
    return found + attacked + pretraining
