import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from tests.loopback.hub import LoopbackHub
from tests.recipes.pile_ffn.small_source import HELD_OUT, study_of
from trackyard.digest import digest_file
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.feed.tokens import train_tokenizer
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text import fetching
from trackyard.recipes.pile_ffn.text.document_ids import document_id, hashed_split
from trackyard.recipes.pile_ffn.text.fetching import fetch
from trackyard.recipes.pile_ffn.text.mini_corpus import MiniCorpusParameters, document
from trackyard.recipes.pile_ffn.text.source_manifest import SourceManifest
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer, open_set
from trackyard.recipes.pile_ffn.text.tokenizing import tokenize

NO_SIZES = {"val_tokens": 400, "test_predicted": 400, "uat_opt": 0, "uat_eval": 0, "flip": 0}
TRAINING = {"steps": 2, "window": 32, "windows_per_step": 4}


def texts(name: str, count: int) -> list[str]:
    return [document(0, name, number).text for number in range(count)]


def lines(found: list[str]) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in found)


def parquet(found: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": found}), sink)
    return bytes(sink.getvalue())


def catalogue(root: Path, name: str, **hub: Any) -> None:
    """An entry of a catalogue of its own."""
    entry = {"name": name, "title": name, "roles": ["train"], "group": "pile_ffn", "hub": [hub]}
    defaults = {"media": "text", "access": "auto", "recipe": {"kind": "none"}}
    (root / "catalog").mkdir(exist_ok=True)
    (root / "catalog" / "one.yaml").write_text(yaml.safe_dump({"defaults": defaults, "datasets": [entry]}))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with LoopbackHub() as found:
        yield found


def model(hub: LoopbackHub, tmp_path: Path) -> dict[str, Any]:
    """A Llama with its tokenizer, as a repository has it."""
    tokenizer = train_tokenizer(texts("model", 10), 400)
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    files |= {
        "config.json": json.dumps({"model_type": "llama", "vocab_size": 512}).encode(),
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"pickled",
        "onnx/config.json": b"{}",
    }
    commit = hub.add_repository("made/llama", files, kind="model")
    return {"id": "made/llama", "revision": commit, "made": None}


def of_kind(root: Path, source: dict[str, Any], held_out: dict[str, int] | None = None, **changes: Any) -> Study:
    sizes = HELD_OUT | NO_SIZES | (held_out or {})
    return study_of(root, data={"source": source, "held_out": sizes}, training=TRAINING, **changes)


def sources(study: Study, name: str) -> set[str]:
    return {entry.source for entry in open_set(study, name).entries}


def test_a_made_corpus_and_its_manifest(tmp_path: Path) -> None:
    study, said = study_of(tmp_path), list[str]()
    fetch(study, said.append)
    manifest = SourceManifest.read(study.source)
    assert [(file.role, file.path) for file in manifest.files] == [
        ("train-00", "text/train/00.jsonl.zst"),
        ("train-01", "text/train/01.jsonl.zst"),
        ("pretrain", "text/train/02.jsonl.zst"),
        ("val", "text/val.jsonl.zst"),
        ("test", "text/test.jsonl.zst"),
    ]
    assert all(digest_file(study.source / file.path) == file.blake3 for file in manifest.files)
    assert [line.split()[0] for line in said] == ["text", "model"]
    fetch(study, said.append)
    assert SourceManifest.read(study.source) == manifest


def test_too_few_files_for_the_seeds(tmp_path: Path) -> None:
    mini = MiniCorpusParameters(train_files=2).model_dump()
    with pytest.raises(ConfigError, match="train_files=2 for train-00, train-01, pretrain"):
        fetch(study_of(tmp_path, data={"mini": mini}), lambda line: None)
    assert not study_of(tmp_path).source.exists()


def test_files_of_the_repository(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("a", "b0", "b1", "p", "v", "t"):
        (folder / f"{name}.txt").write_text("\n\n".join(texts(name, 12)))
    source = {"kind": "files", "train": ["own/a.txt", "own/b*.txt", "own/p.txt"], "licence": "CC0-1.0"}
    source |= {"val": "own/v.txt", "test": "own/t.txt"}
    study = of_kind(tmp_path, source)
    fetch(study, lambda line: None)
    tokenize(study, None, lambda line: None)
    assert sources(study, "val") == {"own/v.txt"}
    assert sources(study, "train-01") == {"own/b0.txt"}
    assert open_set(study, "test").shards.manifest.licence == "CC0-1.0"


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (["own/a.txt", "own/b.txt"], "names 2 files or patterns for train-00, train-01, pretrain"),
        (["own/a.txt", "own/c.txt", "own/b.txt"], "'own/c.txt' names no file"),
        (["own/a.txt", "own/*.txt", "own/b.txt"], "own/a.txt is named for train-00 and for train-01"),
        (["own/a.txt", "../x.txt", "own/b.txt"], r"'\.\./x\.txt' names no file below"),
        (["own/a.txt", "own/b.txt", "own/d.csv"], "d.csv has none of the endings"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, train: list[str], said: str) -> None:
    (tmp_path / "own").mkdir()
    for name in ("a.txt", "b.txt", "d.csv", "v.jsonl", "t.jsonl"):
        (tmp_path / "own" / name).write_text("a\n")
    source = {"kind": "files", "train": train, "val": "own/v.jsonl", "test": "own/t.jsonl", "licence": "CC0-1.0"}
    with pytest.raises(ConfigError, match=said):
        fetch(of_kind(tmp_path, source), lambda line: None)


def test_the_pile_from_the_hub_with_its_model(tmp_path: Path, hub: LoopbackHub) -> None:
    files = {f"train/{n:02d}.jsonl.zst": zstandard.compress(lines(texts(str(n), 8))) for n in range(4)}
    files |= {f"{n}.jsonl.zst": zstandard.compress(lines(texts(n, 8))) for n in ("val", "test")}
    commit = hub.add_repository("monology/pile-uncopyrighted", files)
    catalogue(tmp_path, "pile", repo="monology/pile-uncopyrighted", revision=commit)
    source = {"kind": "hub", "entry": "pile", "train": ["train/00.jsonl.zst", "train/01.jsonl.zst"]}
    source |= {"val": "val.jsonl.zst", "test": "test.jsonl.zst"}
    study = of_kind(tmp_path, source, model=model(hub, tmp_path))
    fetch(study, lambda line: None, endpoint=hub.url)
    assert not any("02.jsonl" in name for name in hub.counts("GET")), "no file that the study does not read"
    assert sorted(path.name for path in (study.source / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (study.source / "text/val.jsonl.zst").stat().st_nlink == 2
    tokenize(study, None, lambda line: None)
    tokenizer = load_tokenizer(study)
    for entry, ids in open_set(study, "train-01").documents():
        assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert document_id(tokenizer.decode(ids[1:-1]).encode()).hex() == entry.doc_id
    assert open_set(study, "val").shards.manifest.vocabulary == 512


def test_offline_the_cache_is_enough_and_nothing_else(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{n}.json.gz": gzip.compress(lines(texts(n, 3))) for n in ("a", "b", "c", "v", "t")}
    catalogue(tmp_path, "pile", repo="made/text", revision=hub.add_repository("made/text", files))
    source = {"kind": "hub", "entry": "pile", "train": ["a.json.gz", "b.json.gz", "c.json.gz"]}
    study = of_kind(tmp_path, source | {"val": "v.json.gz", "test": "t.json.gz"})
    fetch(study, lambda line: None, endpoint=hub.url)
    hub.forget_log()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch(study, lambda line: None, endpoint=hub.url)
    assert not hub.log
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentLacking, match="HF_HUB_OFFLINE is set"):
        fetch(study, lambda line: None, endpoint=hub.url)


def test_an_entry_without_a_commit_needs_one(tmp_path: Path, hub: LoopbackHub) -> None:
    commit = hub.add_repository("Skylion007/openwebtext", {f"{n}.parquet": parquet(texts(n, 3)) for n in "abc"})
    catalogue(tmp_path, "openwebtext", repo="Skylion007/openwebtext", split="train")
    source = {"kind": "hub", "entry": "openwebtext", "train": ["a.parquet", "b.parquet", "c.parquet"]}
    source["held_out"] = "hashed"
    with pytest.raises(ConfigError, match=r"openwebtext .* has no pinned revision"):
        fetch(of_kind(tmp_path, source), lambda line: None, endpoint=hub.url)
    fetch(of_kind(tmp_path, source | {"revision": commit}), lambda line: None, endpoint=hub.url)


def test_c4_halves_its_one_held_out_file(tmp_path: Path, hub: LoopbackHub) -> None:
    files = {f"en/c4-train.0000{n}-of-01024.json.gz": gzip.compress(lines(texts(str(n), 12))) for n in range(4)}
    files["en/c4-validation.00000-of-00008.json.gz"] = gzip.compress(lines(texts("v", 30)))
    commit = hub.add_repository("allenai/c4", files)
    catalogue(tmp_path, "c4-en", repo="allenai/c4", config="en", files=["en/*"])
    train = ["en/c4-train.0000[01]-*.json.gz", "en/c4-train.00002-*", "en/c4-train.00003-*"]
    source = {"kind": "hub", "entry": "c4-en", "revision": commit, "train": train, "held_out": "halved"}
    study = of_kind(tmp_path, source | {"val": "en/c4-validation.*.json.gz"})
    fetch(study, lambda line: None, endpoint=hub.url)
    assert len(SourceManifest.read(study.source).of_role("train-00")) == 2
    tokenize(study, None, lambda line: None)
    for name, odd in (("val", 0), ("test", 1)):
        entries = open_set(study, name).entries
        assert {int(entry.doc_id[:16], 16) % 2 for entry in entries} == {odd}


def test_openwebtext_holds_out_by_hash(tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    # One in a hundred is held out, and as many texts as that takes are not made here.
    pool = [f"{text} {number}" for number, text in enumerate(texts("pool", 3) * 1_300)]
    kept = [text for text in pool if hashed_split(document_id(text.encode())) is not None]
    assert {hashed_split(document_id(text.encode())) for text in kept} == {"val", "test"}
    train = [text for text in pool if hashed_split(document_id(text.encode())) is None]
    files = {f"{n}.parquet": parquet(kept[at::3] + train[at : at + 30]) for at, n in enumerate("abc")}
    commit = hub.add_repository("Skylion007/openwebtext", files)
    catalogue(tmp_path, "openwebtext", repo="Skylion007/openwebtext")
    source = {"kind": "hub", "entry": "openwebtext", "revision": commit, "held_out": "hashed"}
    study = of_kind(tmp_path, source | {"train": ["a.parquet", "b.parquet", "c.parquet"]})
    fetch(study, lambda line: None, endpoint=hub.url)
    tokenize(study, None, lambda line: None)
    for name in ("val", "test", "train-00", "train-01", "pretrain"):
        found = {hashed_split(bytes.fromhex(entry.doc_id)) for entry in open_set(study, name).entries}
        assert found == {name if name in ("val", "test") else None}


def test_without_hard_links_there_are_symbolic_ones(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "hard_link", lambda source, target: target.parent.mkdir(exist_ok=True) and False)
    files = {f"{n}.json": lines(texts(n, 2)) for n in ("a", "b", "c", "v", "t")}
    catalogue(tmp_path, "pile", repo="made/text", revision=hub.add_repository("made/text", files))
    source = {"kind": "hub", "entry": "pile", "train": ["a.json", "b.json", "c.json"], "val": "v.json"}
    study = of_kind(tmp_path, source | {"test": "t.json"})
    fetch(study, lambda line: None, endpoint=hub.url)
    assert (study.source / "text/a.json").is_symlink()
    assert (study.source / "text/a.json").read_bytes() == files["a.json"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "mini", "train": ["a"]}, "names its files itself"),
        ({"kind": "files", "train": ["a"], "val": "v", "test": "t"}, "a licence for files"),
        ({"kind": "hub", "train": ["a"], "val": "v", "test": "t"}, "an entry for hub"),
        ({"kind": "hub", "entry": "e", "train": ["a"], "val": "v"}, "files needs val and test"),
        ({"kind": "hub", "entry": "e", "train": ["a"], "val": "v", "held_out": "hashed"}, "hashed neither"),
        ({"kind": "hub", "entry": "e", "held_out": "hashed"}, r"train=\[\]"),
        ({"kind": "hub", "entry": "e", "train": ["a"], "held_out": "hashed", "revision": "main"}, "a branch moves"),
    ],
)
def test_sources_that_cannot_be_meant(tmp_path: Path, source: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        of_kind(tmp_path, source)
