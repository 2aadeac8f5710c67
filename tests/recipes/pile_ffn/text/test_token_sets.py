import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.recipes.pile_ffn.tiny_study import tiny_study
from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text.token_sets import (
    attack_documents,
    load_tokenizer,
    open_set,
    scored_texts,
    set_of,
    slice_digest,
    training_set,
)


def test_a_set_names_what_it_was_read_from(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    tokens = open_set(study, "val")
    assert tokens.inputs(study) == {
        "artifacts/pile_ffn/tokens/docs.parquet": digest_file(study.tokens / "docs.parquet"),
        "artifacts/pile_ffn/tokens/val/manifest.json": tokens.digest,
    }
    with pytest.raises(DataError, match="does not exist"):
        open_set(study, "train-02")


def test_documents_come_with_their_ids(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    tokens = open_set(study, "uat_opt")
    whole = np.empty(tokens.shards.tokens, dtype=np.int64)
    tokens.shards.read(0, whole)
    texts = list(scored_texts(tokens))
    assert np.concatenate([text.ids for text in texts]).tolist() == whole.tolist()
    assert [(text.id, text.bytes, text.component) for text in texts] == [
        (entry.doc_id, entry.bytes, entry.component) for entry in tokens.entries
    ]
    assert attack_documents(tokens) == {text.id: text.ids.tolist() for text in texts}
    for replicate in (0, 1):
        name = training_set(replicate)
        assert {set_of(entry) for entry in open_set(study, name).entries} == {name}


def test_slices_have_digests_of_their_own(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    assert slice_digest(study, 0) != slice_digest(study, 1)
    with pytest.raises(DataError, match=r"knows no slice of replicate 2, only \['0', '1'\]"):
        slice_digest(study, 2)


def test_the_table_is_compared_with_the_shards(tmp_path: Path) -> None:
    """Negative control: the shards of another set under this one's name."""
    study = tiny_study(tmp_path)
    shutil.rmtree(study.tokens / "val")
    shutil.copytree(study.tokens / "test", study.tokens / "val")
    with pytest.raises(DataError, match="disagree on its documents"):
        _ = open_set(study, "val").entries


def test_a_tokenizer_that_is_not_there(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    assert load_tokenizer(study).eos_token_id is not None
    (study.tokens / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        load_tokenizer(study)
