"""The table of contractions that follows from their right spellings."""

from __future__ import annotations

from trackyard.evaluate.scorers.contractions import CONTRACTIONS


def test_the_lines_of_the_official_table_that_act() -> None:
    assert len(CONTRACTIONS) == 114
    for wrong, right in {
        "aint": "ain't",
        "couldn'tve": "couldn't've",
        "couldnt've": "couldn't've",
        "yall": "y'all",
        "yall'd've": "y'all'd've",
        "y'alld've": "y'all'd've",
        "y'all'dve": "y'all'd've",
        "y'allll": "y'all'll",
        "ow's'at": "'ow's'at",
        "'ows'at": "'ow's'at",
        "'ow'sat": "'ow's'at",
        "twas": "'twas",
        "maam": "ma'am",
        "somebody'd": "somebodyd",
    }.items():
        assert CONTRACTIONS[wrong] == right


def test_words_that_are_no_contraction_are_left_out() -> None:
    assert not {"shell", "were", "well", "ill", "hell", "its", "lets", "shes", "im", "ive", "couldntve"} & set(
        CONTRACTIONS
    )
    assert all(key == key.lower() and key != right for key, right in CONTRACTIONS.items())


def test_only_the_apostrophe_is_put_back() -> None:
    for wrong, right in CONTRACTIONS.items():
        assert wrong.replace("'", "") == right.replace("'", "")
        assert right.count("'") == wrong.count("'") + (-1 if wrong == "somebody'd" else 1)
