import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.archives import members
from trackyard.acquire.archives.members import Members, RefusedName, folded, relative_path

NAMES = st.text(st.sampled_from(list('ab.AÄä/\\:\0C ~"\n')) | st.characters(exclude_categories=()), max_size=24)


def claim_all(*names: str, max_entries: int = 100) -> list[str]:
    claimed = Members(max_entries=max_entries)
    return [claimed.claim(name, folder=name.endswith("/")) for name in names]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", "a"),
        ("./a//b/.", "a/b"),
        ("a/", "a"),
        ("./", ""),
        ("..a/b..", "..a/b.."),
        ("ab:c", "ab:c"),
        ("ä b", "ä b"),
    ],
)
def test_plain_names_lead_below_the_target(name: str, path: str) -> None:
    assert relative_path(name) == path


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("..", '".."'),
        ("../a", '".."'),
        ("a/../b", '".."'),
        ("a/..", '".."'),
        ("a\\b", "backslash"),
        ("..\\a", "backslash"),
        ("C:/a", "drive letter"),
        ("c:a", "drive letter"),
        (".//C:/a", "drive letter"),
        ("a\0/../b", "NUL"),
        ("a\udcff", "UTF-8"),
        ("a" * 256, "256 bytes"),
        ("ä" * 128, "256 bytes"),
        ("a/" * 1025, "2,050 bytes"),
    ],
)
def test_names_that_are_refused(name: str, problem: str) -> None:
    with pytest.raises(RefusedName, match=problem):
        relative_path(name)


def test_the_longest_names_are_taken() -> None:
    assert relative_path("a" * 255)
    assert relative_path("a/" * 1024)


@given(NAMES)
def test_no_name_leads_outside(name: str) -> None:
    try:
        path = relative_path(name)
    except RefusedName:
        return
    pure = PurePosixPath(path)
    assert not pure.is_absolute()
    assert ".." not in pure.parts
    assert str(pure) == (path or ".")
    assert not set("\0\\") & set(path)
    assert relative_path(path) == path


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a/b", "a/B"), "case"),
        (("A/x", "a/y"), "case"),
        (("stra\u00dfe", "STRASSE"), "case"),
        (("\u00e9", "e\u0301"), "Unicode"),
        (("\u01c4", "\u01c6"), "case"),
        (("a", "a"), "already"),
        (("a", "./a"), "already"),
        (("a", "a/b"), "a file and a folder"),
        (("a/b", "a"), "a file and a folder"),
        (("./", "."), "name is that of a folder"),
        (("a/.",), "name is that of a folder"),
    ],
)  # fmt: skip
def test_names_that_hide_one_another(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(RefusedName, match=problem):
        claim_all(*names)


def test_folders_may_come_again_before_and_after_what_is_in_them() -> None:
    assert claim_all("./", "a/", "a/b", "a/", "a/c/d", "a/c/") == ["", "a", "a/b", "a", "a/c/d", "a/c"]


def test_implied_folders_count() -> None:
    assert claim_all("a/b/c", max_entries=3)
    with pytest.raises(RefusedName, match="more than the 3"):
        claim_all("a/b/c", "d", max_entries=3)
    with pytest.raises(RefusedName, match="more than the 3"):
        claim_all("a/b/c/d", max_entries=3)


def test_names_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_NAMES_BYTES", 6)
    assert claim_all("abc", "def")
    with pytest.raises(RefusedName, match="more than 6 bytes"):
        claim_all("abc", "defg")


@given(st.text(max_size=8))
def test_every_case_and_form_of_a_name_is_one(name: str) -> None:
    key = folded(name)
    for form in ("NFC", "NFD"):
        assert folded(unicodedata.normalize(form, name)) == key
    assert folded(name.casefold()) == key
