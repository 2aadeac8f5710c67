"""The tree tells every link once, contradictions at once, and unknown licences always."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.record.lineage.stage_world import TABLE, by_name
from trackyard.record.lineage.chain import chain_of
from trackyard.record.lineage.links import Claim, Link
from trackyard.record.lineage.words import chain_document, licence_lines, problems, shown, tree_lines


@pytest.fixture(scope="module")
def chain(made_stages: Path) -> Link:
    return chain_of(made_stages / TABLE, made_stages)


def test_every_link_of_a_real_chain_is_told_once(chain: Link) -> None:
    lines = list(tree_lines(chain))
    for name in by_name(chain):
        told = [line for line in lines if line.strip() == name or line.strip().startswith(f"{name}: ")]
        assert len(told) == 1, name
    assert lines[0] == f"made {TABLE}"
    assert "  stage toy:table" in lines
    assert any(line.endswith("stage stage2 (as above)") for line in lines)
    assert not [line for line in lines if "!" in line], "nothing is wrong"


def test_the_licences_of_a_table_are_those_of_the_data_and_models_below_it(chain: Link) -> None:
    lines = list(licence_lines(chain))
    table = [line.split("  ")[0] for line in lines[1:-1]]
    assert sorted(table) == ["charts", "data: other files", "org/base", "text", "web"]
    assert lines[1].split() == ["data:", "other", "files", "data", "set", "unknown"]
    assert "CC-BY-4.0 (1 data set)" in lines[-1]
    assert "The licence of 2 data sets is unknown (data: other files, web)" in lines[-1]


def test_contradictions_and_gaps_are_said_without_hashing() -> None:
    wrong = Claim(what="md5 of x", expected="a" * 32, found="b" * 32)
    right = Claim(what="y", expected="1", found="1")
    code = Link(kind="code", name="code", fix="", claims=(right, wrong))
    made = Link(kind="made", name="made x", fix="Bring it.", absent="x is not at hand", inputs=(code,))
    assert list(problems(made)) == ["cannot be proved here: x is not at hand. Bring it."]
    assert list(problems(code)) == [f"md5 of x: recorded is {'a' * 12}…, found is {'b' * 12}…"]
    assert list(tree_lines(made)) == [
        "made x",
        "  ! cannot be proved here: x is not at hand. Bring it.",
        "  code",
        f"    ! md5 of x: recorded is {'a' * 12}…, found is {'b' * 12}…",
    ]


def test_digests_are_shortened_for_people_only() -> None:
    digest = "0123456789abcdef" * 2
    assert shown(f"md5 {digest}.dir of 3") == "md5 0123456789ab… of 3"
    assert shown("deadbeef CC-BY-4.0") == "deadbeef CC-BY-4.0"


def test_the_document_has_all_of_it(chain: Link, made_stages: Path) -> None:
    document = json.loads(json.dumps(chain_document(chain, made_stages)))
    assert document["root"] == f"made {TABLE}"
    assert [link["name"] for link in document["links"]] == [link.name for link in chain.walk()]
    assert sum(len(link["files"]) for link in document["links"]) == sum(len(link.files) for link in chain.walk())
    named = {link["name"] for link in document["links"]}
    assert all(set(link["inputs"]) <= named for link in document["links"])
    assert not [link for link in document["links"] for file in link["files"] if file["path"].startswith("/")]
    assert {row["licence"] for row in document["licences"]} == {"CC-BY-4.0", "CC0-1.0", "apache-2.0", "unknown"}
    assert "inherits the terms" in document["terms"]
