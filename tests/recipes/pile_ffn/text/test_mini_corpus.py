import math
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from trackyard.evaluate.document_scores import ScoredText, score_documents
from trackyard.evaluate.perplexity import by_component
from trackyard.recipes.pile_ffn.text.document_table import Entry, check_splits
from trackyard.recipes.pile_ffn.text.documents import Document, HeldOutParameters, Selection, Tokenised
from trackyard.recipes.pile_ffn.text.jsonl import read_jsonl
from trackyard.recipes.pile_ffn.text.mini_corpus import (
    DUPLICATES,
    EMPTY,
    OVERLAPS,
    TEST,
    VAL,
    MiniCorpusParameters,
    document,
    records,
    training_file,
    write_mini_corpus,
)
from trackyard.recipes.pile_ffn.text.mini_domains import DOMAINS

SMALL = MiniCorpusParameters(train_files=2, train_documents=160, held_out_documents=80)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("mini") / "corpus"
    write_mini_corpus(directory, SMALL)
    return directory


def tokenised(path: Path) -> list[Tokenised]:
    return [Tokenised(document=item, ids=np.array([*item.text.encode(), 256])) for item in read_jsonl(path)]


def document_of(text: str) -> Tokenised:
    made = Document.of(text, component="prose", source="more", row=0)
    return Tokenised(document=made, ids=np.array([*text.encode(), 256]))


def lines(file: str, seed: int = 0) -> list[bytes]:
    return [record.line() for record in records(SMALL.model_copy(update={"seed": seed}), file)]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(corpus: Path) -> None:
    files = [training_file(0), training_file(1), VAL, TEST]
    assert sorted(str(path.relative_to(corpus)) for path in corpus.rglob("*.zst")) == sorted(files)
    for file in files:
        found = zstandard.ZstdDecompressor().decompress((corpus / file).read_bytes())
        assert found == b"".join(lines(file)) != b"".join(lines(file, seed=1))
    assert len({b"".join(lines(file)) for file in files}) == 4
    with pytest.raises(FileExistsError):
        write_mini_corpus(corpus, SMALL)


def test_domains_in_equal_shares_and_mixed(corpus: Path) -> None:
    found = list(read_jsonl(corpus / VAL))
    assert Counter(item.component for item in found) == dict.fromkeys(DOMAINS, 20)
    assert len({item.component for item in found[:12]}) == 4
    assert [item.component for item in found[:8]] != list(DOMAINS) * 2
    assert all(700 < item.size < 3_200 for item in found)
    assert all(item.text.isascii() for item in found)


def test_the_faults_are_found_and_no_others(corpus: Path) -> None:
    chosen = Selection()
    sizes = HeldOutParameters(
        val_tokens=60_000, test_predicted=60_000, uat_opt=10, uat_eval=10, flip=1_000, attack_tokens=512
    )
    entries: list[Entry] = []
    for pool, file in (("val", VAL), ("test", TEST)):
        entries += [Entry.of(item, split=name) for name, item in chosen.hold_out(pool, tokenised(corpus / file), sizes)]
    assert chosen.dropped.duplicate == chosen.dropped.heldout_overlap == 0
    held = {bytes.fromhex(entry.doc_id) for entry in entries}
    for number in range(2):
        stream = tokenised(corpus / training_file(number))
        good = {item.document.id: item.ids.size for item in stream if item.document.text.strip()}
        # One token more than the file has, from a document behind its end: so all of it is read.
        budget = sum(size for name, size in good.items() if name not in held) + 1
        more = document_of(f"after file {number}")
        taken = list(chosen.training_slice([*stream, more], tokens=budget))
        entries += [Entry.of(item, split="train", slice=number) for item in taken[:-1]]
    counts = (chosen.dropped.duplicate, chosen.dropped.heldout_overlap, chosen.dropped.empty)
    assert counts == (2 * DUPLICATES, 2 * OVERLAPS, 2 * EMPTY)
    found = check_splits(entries)
    assert found.documents["train"] == 2 * SMALL.train_documents
    assert len(set(found.slice_digests.values())) == 2


def test_facts_come_back_in_a_document() -> None:
    table = document(0, "x", 2)
    assert table.component == "tables"
    total = 0
    for line in table.text.splitlines()[2:]:
        cells = [cell.strip() for cell in line.split("|")]
        if cells[1] == "sum":
            assert int(cells[5]) == total
        else:
            assert int(cells[3]) * int(cells[4]) == int(cells[5])
            total += int(cells[5])
    assert total
    code = document(0, "x", 1)
    compile(code.text, "mini", "exec")


def test_a_tiny_model_learns_it_and_finds_the_domains_of_different_difficulty(corpus: Path) -> None:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    model = GPTNeoXForCausalLM(config)
    stream = np.concatenate([item.ids for item in tokenised(corpus / training_file(0))])
    starts = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    held = [
        ScoredText(id=item.document.id.hex(), component=item.document.component, ids=item.ids, bytes=item.document.size)
        for item in islice(tokenised(corpus / VAL), 16)
    ]

    def nll() -> dict[str, float]:
        scores = score_documents(model, held, length=128, stride=64, batch=16).documents
        rng = np.random.Generator(np.random.Philox(key=0))
        return {name: found.nll for name, found in by_component(scores, rng=rng, resamples=20).items()}

    before = nll()
    for _ in range(120):
        rows = torch.from_numpy(np.stack([stream[at : at + 65] for at in starts.integers(len(stream) - 65, size=16)]))
        loss = model(input_ids=rows, labels=rows).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = nll()
    assert before.keys() == after.keys() == set(DOMAINS)
    assert all(abs(value - math.log(257)) < 0.3 for value in before.values())
    assert all(after[name] < 0.5 * before[name] for name in DOMAINS)
    assert max(after.values()) > 1.15 * min(after.values())
