import json
import multiprocessing
import shutil
from collections.abc import Iterable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.recipes.pile_ffn.small_source import HELD_OUT, study_of, tokenize_counted
from trackyard.digest import digest_file
from trackyard.errors import ConfigError, DataError
from trackyard.feed.token_windows import TokenWindows
from trackyard.recipes.pile_ffn.results import DOCUMENT, read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text import tokenizing
from trackyard.recipes.pile_ffn.text.document_table import check_splits, read_table
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised
from trackyard.recipes.pile_ffn.text.encoding import Encoding
from trackyard.recipes.pile_ffn.text.fetching import fetch
from trackyard.recipes.pile_ffn.text.reading import read_documents
from trackyard.recipes.pile_ffn.text.token_sets import (
    TABLE,
    attack_documents,
    load_tokenizer,
    open_set,
    set_of,
    slice_digest,
)
from trackyard.recipes.pile_ffn.text.tokenizing import tokenize
from trackyard.snapshot.fast_bpe import plain_copy

SETS = ("val", "uat_opt", "test", "uat_eval", "flip", "train-00", "train-01", "pretrain")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[str]]:
    """Fetched and tokenised, without a disturbance; and what was said."""
    study, said = study_of(tmp_path_factory.mktemp("study")), list[str]()
    fetch(study, said.append)
    tokenize(study, None, said.append)
    return study, said


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.recipes.pile_ffn.small_source", "transformers", "trackyard.feed.tokens"])
    return context


def files(study: Study) -> dict[str, str]:
    """Everything but the result, which names its time."""
    paths = (path for path in study.tokens.rglob("*") if path.is_file() and path.name != DOCUMENT)
    return {path.relative_to(study.tokens).as_posix(): digest_file(path) for path in paths}


def copied(made: Study, root: Path) -> Study:
    """The same source in another repository."""
    study = study_of(root)
    shutil.copytree(made.source, study.source)
    return study


def run(context: ForkServerContext, *arguments: object) -> int | None:
    process = context.Process(target=tokenize_counted, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


def test_every_document_comes_back_from_the_shards_byte_for_byte(made: tuple[Study, list[str]]) -> None:
    study, _ = made
    tokenizer = load_tokenizer(study)
    texts = {
        (path.relative_to(study.source / "text").as_posix(), item.row): item.text
        for path in sorted((study.source / "text").rglob("*.zst"))
        for item in read_documents(path)
    }
    plain = plain_copy(Tokenizer.from_file(str(study.tokens / "tokenizer" / "tokenizer.json")))
    seen = 0
    for name in SETS:
        for entry, ids in open_set(study, name).documents():
            text = texts[entry.source, entry.row]
            expected = [*plain.encode(text, add_special_tokens=False).ids, tokenizer.eos_token_id]
            assert ids.tolist() == expected[: entry.n_tokens]
            if name in ("val", "test", "pretrain") or name.startswith("train"):
                assert tokenizer.decode(ids[:-1]) == text
                seen += len(text)
    assert seen > 50_000


def test_sets_have_the_declared_sizes(made: tuple[Study, list[str]]) -> None:
    study, said = made
    sets = {name: open_set(study, name) for name in SETS}
    assert HELD_OUT["val_tokens"] <= sets["val"].shards.tokens < HELD_OUT["val_tokens"] + 1_500
    test = sets["test"]
    assert sum(entry.n_tokens - 1 for entry in test.entries) >= HELD_OUT["test_predicted"]
    assert sum(entry.n_tokens - 1 for entry in test.entries[:-1]) < HELD_OUT["test_predicted"]
    for name in ("uat_opt", "uat_eval", "flip"):
        documents = attack_documents(sets[name])
        assert len(documents) == HELD_OUT[name]
        assert {len(ids) for ids in documents.values()} == {HELD_OUT["attack_tokens"]}
    training = study.parameters.training
    made_steps = study.parameters.model.made.steps
    for name, tokens in (
        ("train-00", training.tokens),
        ("train-01", training.tokens),
        ("pretrain", made_steps * training.windows_per_step * training.window),
    ):
        assert sets[name].shards.tokens >= tokens + 1
        assert sets[name].shards.tokens - sets[name].entries[-1].n_tokens < tokens + 1
        windows = TokenWindows(sets[name].shards, length=training.window, batch=training.windows_per_step, seed=0)
        # Row 12 of section 14: no padding, every window full of predicted tokens.
        assert windows.windows == (sets[name].shards.tokens - 1) // training.window
    assert any(line.startswith("flip      3 documents, 192 tokens") for line in said)


def test_splits_are_disjoint_and_stated(made: tuple[Study, list[str]]) -> None:
    study, _ = made
    entries = list(read_table(study.tokens / TABLE))
    names = [entry.doc_id for entry in entries]
    assert len(set(names)) == len(names)
    assert [set_of(entry) for entry in entries] == sorted(map(set_of, entries), key=SETS.index)
    assert {entry.source for entry in entries if entry.slice == 1} == {"train/01.jsonl.zst"}
    assert {entry.source for entry in entries if entry.split == "pretrain"} == {"train/02.jsonl.zst"}
    body = read_result(study.tokens / DOCUMENT, "tokenize").body
    assert list(body["splits"]) == sorted(SETS)
    assert body["splits"]["val"]["tokens"] == sum(shard["tokens"] for shard in body["splits"]["val"]["shards"])
    assert body["splits"]["val"]["dtype"] == "uint16"
    digests = check_splits(entries).slice_digests
    assert [slice_digest(study, 0), slice_digest(study, 1)] == [digests[0], digests[1]]
    assert digests[0] != digests[1]
    assert body["dropped"] == {"duplicate": 5, "empty": 0, "heldout_overlap": 3}


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(
    made: tuple[Study, list[str]], tmp_path: Path, processes: ForkServerContext
) -> None:
    study, _ = made
    other, log = copied(study, tmp_path), tmp_path / "log"
    kills = [0, 1, 9, 20, 35, 60, -1]
    for kill_at in kills:
        assert run(processes, tmp_path, log, kill_at) == -9
        assert not other.tokens.exists()
    assert run(processes, tmp_path, log, None) == 0
    assert files(other) == files(study)
    assert list((tmp_path / "runs" / "pile_ffn").iterdir()) == [tmp_path / "runs" / "pile_ffn" / "tokens.lock"]
    # What was done was not done again, but for less than a chunk at each kill.
    undisturbed = tmp_path / "undisturbed"
    copied(study, undisturbed)
    assert run(processes, undisturbed, undisturbed / "log", None) == 0
    once, done = (path.read_text().splitlines() for path in (undisturbed / "log", log))
    assert set(once) <= set(done)
    assert len(done) < len(once) + 12 * (len(kills) - 2)
    assert len(once) == len(set(once)) > 120


def test_any_number_of_processes_makes_the_same(
    made: tuple[Study, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackyard.recipes.pile_ffn.text.encoding.ALONE_BYTES", 1)
    monkeypatch.setattr("trackyard.recipes.pile_ffn.text.encoding.BATCH_BYTES", 10_000)
    study = study_of(tmp_path, data={"workers": 2})
    shutil.copytree(made[0].source, study.source)
    tokenize(study, None, lambda line: None)
    assert files(study) == files(made[0])


def test_parts_on_several_machines_end_with_the_same_bytes_and_nothing_is_tokenised_twice(
    made: tuple[Study, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list[bytes]()
    whole = tokenizing.encoded

    def counted(documents: Iterable[Document], encoding: Encoding, *, workers: int) -> Iterator[Tokenised]:
        for item in whole(documents, encoding, workers=workers):
            names.append(item.document.id + item.document.source.encode())
            yield item

    monkeypatch.setattr(tokenizing, "encoded", counted)
    study = copied(made[0], tmp_path)
    for part in ("2/4", "0/4", "1/4"):  # 3/4 died before it began
        tokenize(study, part, lambda line: None)
        assert not study.tokens.exists()
    before = len(names)
    assert before > 60
    tokenize(study, "0/4", lambda line: None)
    assert len(names) - before < 10  # what is behind the last chunk, and is not needed
    tokenize(study, None, lambda line: None)
    assert files(study) == files(made[0])
    assert len(set(names)) > before
    with pytest.raises(ConfigError, match="'4/4' is no part of the work"):
        tokenize(study, "4/4", lambda line: None)


def test_a_source_that_has_changed_is_refused(made: tuple[Study, list[str]], tmp_path: Path) -> None:
    study = copied(made[0], tmp_path)
    path = study.source / "text" / "val.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not those that were fetched"):
        tokenize(study, None, lambda line: None)
    assert not study.tokens.exists()


def test_a_repeated_run_replaces_what_was_there(made: tuple[Study, list[str]], tmp_path: Path) -> None:
    study = copied(made[0], tmp_path)
    study.tokens.mkdir(parents=True)
    (study.tokens / "old").write_text("")
    tokenize(study, None, lambda line: None)
    assert files(study) == files(made[0])
    assert json.loads((study.tokens / DOCUMENT).read_bytes())["header"]["arm"] == "untouched"
