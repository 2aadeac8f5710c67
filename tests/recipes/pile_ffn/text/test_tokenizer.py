import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.feed.tokens import train_tokenizer
from trackyard.recipes.pile_ffn.parameters import MadeModelParameters
from trackyard.recipes.pile_ffn.text.mini_corpus import document
from trackyard.recipes.pile_ffn.text.tokenizer import copy, family_and_rows, marks_of, train

TEXTS = [document(0, "any", number).text for number in range(30)]


@pytest.mark.parametrize(("family", "begins"), [("gpt_neox", False), ("llama", True), ("qwen2", False)])
def test_a_made_tokenizer_has_the_marks_of_its_family(tmp_path: Path, family: str, begins: bool) -> None:
    made = MadeModelParameters.model_validate({"family": family, "vocabulary": 400})
    train(tmp_path, made, iter(TEXTS))
    marks = marks_of(tmp_path, family=family, vocabulary=400)
    assert (marks.begin is not None) is begins
    assert marks.begin != marks.end
    assert 0 <= marks.end < 400 == marks.vocabulary
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert len(tokenizer) == 400
    assert tokenizer.eos_token_id == marks.end


def test_it_is_a_function_of_the_texts(tmp_path: Path) -> None:
    made = MadeModelParameters(vocabulary=400)
    digests = []
    for name, texts in (("a", TEXTS), ("b", TEXTS), ("c", TEXTS[1:])):
        (tmp_path / name).mkdir()
        train(tmp_path / name, made, texts)
        digests.append(digest_file(tmp_path / name / "tokenizer.json"))
    assert digests[0] == digests[1] != digests[2]


def test_the_files_of_a_model(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, 400).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "gpt_neox", "vocab_size": 50_304}))
    (tmp_path / "tokenizer").mkdir()
    copy(tmp_path / "tokenizer", tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert family_and_rows(tmp_path / "model") == ("gpt_neox", 50_304)
    assert marks_of(tmp_path / "tokenizer", family="gpt_neox", vocabulary=50_304).begin is None


def test_what_cannot_mark_documents_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="400 entries; the model has 399 rows"):
        marks_of(tmp_path, family="gpt_neox", vocabulary=399)
    with pytest.raises(DataError, match="llama has begin=None"):
        marks_of(tmp_path, family="llama", vocabulary=400)
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        copy(tmp_path, tmp_path / "none")
    with pytest.raises(DataError, match=r"config\.json: FileNotFoundError"):
        family_and_rows(tmp_path)
