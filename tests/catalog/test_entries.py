"""Reading entries: what the groups refuse, the short forms of YAML, and names that must be unique."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trackyard.catalog.entries import UNPINNED, Entry, Figure, HubSource, MediaRecipe, load_catalogue
from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters

COMMIT = "3be90335b66f24456a5d6659d9c8d208c0357119"


def plain(name: str, **values: Any) -> dict[str, Any]:
    """The least that an entry says."""
    entry = {"name": name, "title": name, "roles": ["train"], "group": "g", "media": "image", "access": "auto"}
    return entry | {"recipe": {"kind": "embedded"}} | values


def write(directory: Path, *entries: dict[str, Any], defaults: dict[str, Any] | None = None, file: str = "a") -> Path:
    family: dict[str, Any] = {"datasets": list(entries)}
    if defaults is not None:
        family["defaults"] = defaults
    (directory / f"{file}.yaml").write_text(yaml.safe_dump(family))
    return directory


def parse(entry: dict[str, Any]) -> Entry:
    return parse_parameters(Entry, entry, where="test")


@given(st.integers(min_value=0), st.sampled_from(["measured", "stated", "public", "derived"]), st.text())
def test_a_figure_may_be_written_as_a_list(value: int, basis: str, source: str) -> None:
    assert Figure.model_validate([value, basis, source]) == Figure(value=value, basis=basis, source=source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "figure", [[1], [1, "stated"], [1, "stated", "a", "b"], [1, "unknown", ""], [-1, "stated", ""], {"basis": "stated"}]
)
def test_a_figure_without_basis_or_value_is_refused(figure: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse(plain("a", expected={"rows": figure}))


@pytest.mark.parametrize("revision", [COMMIT, UNPINNED])
def test_a_commit_or_unpinned(revision: str) -> None:
    assert HubSource(repo="a/b", revision=revision).revision == revision


@pytest.mark.parametrize("revision", ["main", COMMIT[:39], COMMIT + "0", COMMIT.upper(), "v1.0", ""])
def test_a_branch_or_half_a_commit_is_refused(revision: str) -> None:
    with pytest.raises(ConfigError, match="branches move"):
        parse(plain("a", hub=[{"repo": "a/b", "revision": revision}]))


@pytest.mark.parametrize(
    "recipe",
    [
        {"kind": "urls"},
        {"kind": "embedded", "url_column": "url"},
        {"kind": "archives"},
        {"kind": "embedded", "sha256_column": "sha256"},
        {"kind": "urls", "url_column": "url", "acceptance": [0.9, 0.4]},
        {"kind": "urls", "url_column": "url", "acceptance": [0.4, 1.4]},
    ],
)
def test_a_recipe_says_all_that_its_kind_needs(recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse(plain("a", recipe=recipe))


def test_a_url_list() -> None:
    recipe = MediaRecipe(kind="urls", url_column="url", sha256_column="sha256")
    assert parse(plain("a", access="url", recipe=recipe)).recipe.acceptance == (0.35, 0.98)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"access": "manual"}, "without steps"),
        ({"access": "url"}, "access by URL"),
        ({"needs": ["a"]}, "needs itself"),
        ({"licence": {"name": "MIT"}}, "licence"),
        ({"licence": {"basis": "card"}}, "licence"),
        ({"roles": []}, "roles"),
        ({"stages": [4]}, "stages"),
        ({"stage": [1]}, "did you mean 'stages'"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(plain("a", **values))


@pytest.mark.parametrize("name", ["A", "a b", "a/b", "-a", ".a", ""])
def test_a_name_is_a_folder_name(name: str) -> None:
    with pytest.raises(ConfigError, match="lower-case"):
        parse(plain(name))


@pytest.mark.parametrize("kind", ["manual", "video-ids"])
def test_media_by_hand_need_instructions(kind: str) -> None:
    with pytest.raises(ConfigError, match="without steps"):
        parse(plain("a", access="mixed", recipe={"kind": kind}))


def test_founding_bytes_are_those_of_the_founding_documents_only() -> None:
    def of(**values: Any) -> int | None:
        return parse(plain("a", **values)).founding_bytes

    assert of() is None
    assert of(expected={"bytes": [7, "stated", "seed"]}) == 7
    assert of(expected={"bytes": [7, "public", "a page"]}) is None
    assert of(expected={"bytes": [7, "public", "a page"]}, founding={"bytes": 9}) == 9


def test_defaults_complete_entries_and_their_mappings(tmp_path: Path) -> None:
    bare = {key: value for key, value in plain("a").items() if key not in ("group", "recipe")}
    other = plain("b", mixture={"loss_weight": 0.1}, recipe={"kind": "urls", "url_column": "url"}, access="url")
    defaults = {"group": "g", "recipe": {"kind": "none"}, "mixture": {"loss_weight": 0.2, "rate_percent": 3.0}}
    first, second = load_catalogue(write(tmp_path, bare, other, defaults=defaults)).values()
    assert (first.group, first.recipe.kind, first.mixture.loss_weight) == ("g", "none", 0.2)
    assert (second.recipe.kind, second.mixture.loss_weight, second.mixture.rate_percent) == ("urls", 0.1, 3.0)


def test_entries_come_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    write(tmp_path, plain("z"), plain("b"), file="1")
    assert list(load_catalogue(write(tmp_path, plain("a"), file="2"))) == ["z", "b", "a"]


@pytest.mark.parametrize(
    "second",
    [
        plain("a"),
        plain("known"),
        plain("b", aliases=["a"]),
        plain("b", aliases=["b"]),
        plain("b", aliases=["known"]),
    ],
)
def test_a_name_leads_to_one_dataset(tmp_path: Path, second: dict[str, Any]) -> None:
    write(tmp_path, plain("a", aliases=["known"]), file="1")
    with pytest.raises(ConfigError, match=r"names .* already"):
        load_catalogue(write(tmp_path, second, file="2"))


def test_an_unknown_need(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a needs nowhere, which no file"):
        load_catalogue(write(tmp_path, plain("a", needs=["nowhere"])))


def test_an_empty_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no catalogue entry"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["datasets: {a: 1}", "datasets: [1]", "data: []", "defaults: [1]\ndatasets: [{name: a}]", "defaults: 1", "- 1"],
)
def test_a_file_of_another_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load_catalogue(tmp_path)
