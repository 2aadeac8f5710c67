"""A study in a folder of its own: tiny token sets, a tokenizer and an export of random weights, nothing trained.

It has the layout that the stages fetch, tokenize and untouched put out, and is made in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from trackyard.digest import digest_json
from trackyard.models.nonneg_export import EXACT, ROUNDED, write_folded
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.arms.original import write_original
from trackyard.recipes.pile_ffn.arms.origins import made_from_seed, origins_of, spec_of
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.parameters import Family, PileFfnParameters
from trackyard.recipes.pile_ffn.results import DOCUMENT, write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.document_table import TRAIN, Entry, write_table
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised
from trackyard.recipes.pile_ffn.text.mini_corpus import document, training_file
from trackyard.record.code import CodeIdentity
from trackyard.record.lineage.document import lineage_of
from trackyard.record.lineage.origins import Origins
from trackyard.snapshot.token_writer import write_tokens

FAMILIES: tuple[Family, ...] = get_args(Family)
SEEDS = (42, 1337)
VOCABULARY, WINDOW, ATTACK_TOKENS = 320, 32, 64
EOS = "<|endoftext|>"
"""Id 0, as in Pythia's tokenizer."""
VARIANTS: Mapping[str, tuple[str, str]] = {
    "gpt_neox": ("mlp_in", "mlp_both"),
    "llama": ("gated_updown", "gated_all"),
    "qwen2": ("gated_updown", "gated_all"),
}  # fmt: skip
"""Two of each family; the second is the one that arms besides `nonneg` are of."""
DOCUMENTS = {"val": 3, "test": 4, "uat_opt": 4, "uat_eval": 4, "flip": 4}
TRAINED_ON = 12
"""Documents of a training file: about 5,000 tokens."""


def tiny_study(tmp_path: Path, family: Family = "gpt_neox", **changes: Any) -> Study:
    """All token sets, the tokenizer and the untouched export. changes: groups of the parameters, merged in."""
    study = Study(root=tmp_path, parameters=parse_parameters(PileFfnParameters, values(family, changes), where="tiny"))
    # A folder that is no checkout has no code of its own.
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    study.tokens.mkdir(parents=True)
    tokenizer().save_pretrained(study.tokens / "tokenizer")
    entries = [entry for name in set_names() for entry in write_set(study, name)]
    write_table(study.tokens / "docs.parquet", entries)
    write_tokenize_result(study, entries)
    export = study.export(Cell(arm=UNTOUCHED, seed=None))
    write_folded(export, random_model(family))
    for folder in (EXACT, ROUNDED):
        tokenizer().save_pretrained(export / folder)
    write_original(
        study, {"pretrained": None}, lineage=lineage_of(untrained(study)), inputs={}, device="cpu", wall_s=0.0
    )
    return study


def untrained(study: Study) -> Origins:
    """Of the untouched export: nobody has trained it."""
    spec = spec_of(
        study, stage="untouched", parameters={}, model={"made": "random weights"}, snapshots={}, parent=None, seed=0
    )  # fmt: skip
    return origins_of(study, spec, plan=None, models=made_from_seed(study), parent=None)


def values(family: Family = "gpt_neox", changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters as in a file."""
    first, second = VARIANTS[family]
    arms = ["baseline", f"nonneg_{first}", f"nonneg_{second}", f"signfrozen_{second}", f"absinit_{second}"]
    made = {"family": family, "layers": 2, "hidden": 32, "heads": 4, "ffn": 64, "vocabulary": VOCABULARY, "steps": 4}
    found: dict[str, Any] = {
        "seeds": list(SEEDS),
        "arms": arms,
        "degraded": [second],
        "measured": ["untouched", *arms, f"degraded_{second}"],
        "model": {"id": f"tiny-{family}", "made": made},
        "data": {"held_out": {"attack_tokens": ATTACK_TOKENS}},
        "training": {
            "steps": 6,
            "window": WINDOW,
            "windows_per_step": 4,
            "learning_rates": dict.fromkeys(arms, 1e-3),
            "save_every": 3,
        },
        "engine": {"micro_batch": 4, "log_every": 2},
        "perplexity": {"length": WINDOW, "stride": WINDOW // 2, "batch": 32, "resamples": 100},
        "benchmarks": {"source": "made", "made_items": 8},
        "attacks": {
            "budget": "own",
            "own": {
                "restarts": 1, "iterations": 2, "candidates": 4, "opt_docs": 4, "eval_docs": 4, "flip_docs": 4,
                "query_docs": 2, "trigger_tokens": 3, "flips": 3, "greedy_candidates": 2, "query_candidates": 2,
                "random_triggers": 2,
            },
        },
        "probes": {"directions": 4, "fit_steps": 5, "resamples": 100, "samples": 8},
    }  # fmt: skip
    for group, change in (changes or {}).items():
        found[group] = {**found.get(group, {}), **change} if isinstance(change, Mapping) else change
    return found


def random_model(family: Family, seed: int = 0) -> Any:
    """2 layers of width 32, in fp32, ready to be scored. Weights are large enough that tokens matter."""
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 128, "initializer_range": 0.1, "bos_token_id": 0,
        "eos_token_id": 0,
    }  # fmt: skip
    config = {
        "gpt_neox": lambda: GPTNeoXConfig(**common),
        "llama": lambda: LlamaConfig(**common, num_key_value_heads=2),
        "qwen2": lambda: Qwen2Config(**common, num_key_value_heads=2, tie_word_embeddings=True),
    }[family]()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over the mini corpus; every id decodes, 0 ends a document."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((found.document.text for found in _documents("pretrain", marks=False)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS)


def set_names() -> list[str]:
    """Of all token sets."""
    return [*(f"{TRAIN}-{replicate:02d}" for replicate in range(len(SEEDS))), "pretrain", *DOCUMENTS]


def write_set(study: Study, name: str) -> list[Entry]:
    """Write the shards of a set, and return its rows of docs.parquet."""
    found = list(_tokenised(name))
    write_tokens(
        study.tokens / name,
        [item.ids for item in found],
        dataset=name,
        source={"kind": "mini"},
        licence="CC0-1.0",
        tokenizer="tiny",
        vocabulary=VOCABULARY,
    )
    split, _, replicate = name.partition("-")
    return [Entry.of(item, split=split, slice=int(replicate) if replicate else None) for item in found]


def write_tokenize_result(study: Study, entries: list[Entry]) -> None:
    """What later stages read of it: the digest of every slice."""
    digests = {
        str(replicate): digest_json([entry.doc_id for entry in entries if entry.slice == replicate])
        for replicate in range(len(SEEDS))
    }
    header = study.header(
        "tokenize",
        Cell(arm=UNTOUCHED, seed=None),
        run_id="tiny",
        inputs={},
        slice_digest=None,
        precision={},
        device="cpu",
        wall_s=0.0,
    )
    write_result(study.tokens / DOCUMENT, "tokenize", header, {"slice_digests": digests})


@cache
def _tokenised(name: str) -> tuple[Tokenised, ...]:
    attacked = name in ("uat_opt", "uat_eval", "flip")
    return tuple(
        Tokenised(document=item.document, ids=item.ids[:ATTACK_TOKENS] if attacked else item.ids)
        for item in _documents(name, marks=True)
    )


def _documents(name: str, *, marks: bool) -> Iterator[Tokenised]:
    """Documents of the mini corpus, from a file of their own for each set. marks: tokenised, and ended."""
    number = set_names().index(name)
    for row in range(DOCUMENTS.get(name, TRAINED_ON)):
        record = document(0, training_file(number), row)
        made = Document.of(record.text, component=record.component, source=training_file(number), row=row)
        ids = [*tokenizer()(record.text)["input_ids"], 0] if marks else []
        yield Tokenised(document=made, ids=np.array(ids, dtype=np.int64))
