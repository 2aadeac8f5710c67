"""A chain is proved as a whole or not at all: claims, files, what is absent, what is taken on trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.record.lineage.links import Algorithm, Claim, Hashed, Kind, Link
from trackyard.record.lineage.proof import prove

SAME = Claim(what="it", expected="a", found="a")
OTHER = Claim(what="it", expected="a", found="b")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Hashed:
    path = tmp_path_factory.mktemp("proof") / "file"
    path.write_bytes(b"content")
    return Hashed(path=path, algorithm="blake3", digest=digest_bytes(b"content"))


def link(
    name: str, *inputs: Link, claims: tuple[Claim, ...] = (SAME,), files: tuple[Hashed, ...] = (),
    absent: str | None = None, kind: Kind = "plan",
) -> Link:  # fmt: skip
    return Link(
        kind=kind, name=name, fix=f"mend {name}", claims=claims, files=files, absent=absent, inputs=inputs
    )  # fmt: skip


@given(
    states=st.lists(st.sampled_from(["sound", "claim", "file", "absent"]), min_size=1, max_size=8),
    shape=st.lists(st.integers(0, 7), min_size=8, max_size=8),
)
def test_a_chain_is_proved_exactly_where_all_of_it_is(file: Hashed, states: list[str], shape: list[int]) -> None:
    """Any tree of links: what is wrong comes before what is absent, the nearest first."""
    wrong = Hashed(path=file.path, algorithm="blake3", digest="0" * 64)
    links: list[Link] = []
    for number in reversed(range(len(states))):
        # Each link hangs below one with a lower number, so that the last one made leads to all.
        below = tuple(each for each in links if shape[int(each.name)] % int(each.name) == number)
        state = states[number]
        made = link(
            str(number), *below,
            claims=(OTHER,) if state == "claim" else (SAME,),
            files=(wrong,) if state == "file" else (file,),
            absent="gone" if state == "absent" else None,
        )  # fmt: skip
        links = [made, *links]
    chain = links[0]
    order = [int(each.name) for each in chain.walk()]
    assert sorted(order) == list(range(len(states)))
    bad = [number for number in order if states[number] in ("claim", "file")]
    absent = [number for number in order if states[number] == "absent"]
    if bad:
        with pytest.raises(DataError, match=f"link '{bad[0]}' is wrong") as raised:
            prove(chain)
        assert raised.value.fix == f"mend {bad[0]}"
    elif absent:
        with pytest.raises(DataError, match=f"stopped: {len(absent)} of {len(states)} links are unproved") as raised:
            prove(chain)
        assert all(f"{number} (gone)" in raised.value.what for number in absent)
    else:
        assert prove(chain).proved == [f"{number}: 1 record agrees, 1 file re-hashed" for number in order]


@pytest.mark.parametrize("algorithm", ["blake3", "md5", "sha256"])
def test_each_algorithm_finds_a_changed_byte(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    digest = digest_bytes(b"content") if algorithm == "blake3" else hashlib.new(algorithm, b"content").hexdigest()
    chain = link("one", files=(Hashed(path=path, algorithm=algorithm, digest=digest),))
    proof = prove(chain)
    assert (proof.hashed, proof.bytes) == (1, 7)
    path.write_bytes(b"Content")
    with pytest.raises(DataError, match=rf"{algorithm} of .*file: expected {digest}, found"):
        prove(chain)
    path.unlink()
    with pytest.raises(DataError, match="found none"):
        prove(chain)


def test_no_recorded_digest_stands_for_a_file_that_is_gone(tmp_path: Path) -> None:
    """What the proof says of such a file is no digest, whatever a record has in its place."""
    for word in ("none", "none (no such file)", "none (No such file or directory)"):
        with pytest.raises(DataError, match=r"found none \(no such file\)"):
            prove(link("a", files=(Hashed(path=tmp_path / "gone", algorithm="blake3", digest=word),)))
    with pytest.raises(DataError, match="found none"):
        prove(link("a", files=(Hashed(path=tmp_path, algorithm="md5", digest="d" * 32),)))


def test_a_file_of_several_links_is_read_once(file: Hashed) -> None:
    proof = prove(link("a", link("b", files=(file,)), files=(file,)))
    assert (proof.hashed, proof.bytes) == (1, 7)


def test_what_is_trusted_is_not_read_and_said(file: Hashed) -> None:
    gone = Hashed(path=Path("nowhere"), algorithm="blake3", digest="0")
    chain = link(
        "a", link("image", absent="missing", kind="image"), link("code", claims=(OTHER,), kind="code"),
        link("data", files=(gone, gone), kind="snapshot"), files=(file,),
    )  # fmt: skip
    with pytest.raises(DataError, match="link 'code' is wrong"):
        prove(chain)
    with pytest.raises(DataError, match="link 'data' is wrong"):
        prove(chain, trust={"code"})
    with pytest.raises(DataError, match=r"stopped: 1 of 4 .*image \(missing\)") as raised:
        prove(chain, trust={"code", "snapshot"})
    assert raised.value.fix == "mend image; or take it on trust: trackyard lineage verify PATH --trust image"
    proof = prove(chain, trust={"code", "snapshot", "image"})
    assert proof.proved == ["a: 1 record agrees, 1 file re-hashed"]
    assert proof.trusted == [
        "image: missing",
        "code: it: recorded a, found b",
        "data: its records agree, 2 files not read",
    ]


def test_a_chain_of_which_no_file_was_read_is_not_proved(file: Hashed) -> None:
    with pytest.raises(DataError, match="stopped: no file of the chain of 'a' was hashed"):
        prove(link("a", link("b")))
    with pytest.raises(DataError, match="no file"):
        prove(link("a", files=(file,)), trust={"plan"})


def test_a_chain_that_is_built_wrongly_is_an_error_of_the_program(file: Hashed) -> None:
    with pytest.raises(ValueError, match="link 'b' has no claim, no file and no reason"):
        prove(link("a", link("b", claims=()), files=(file,)))
    # Of two links of one name the walk would show and prove the first alone.
    with pytest.raises(ValueError, match="two different links are called 'b'"):
        prove(link("a", link("b"), link("c", link("b", claims=(OTHER,))), files=(file,)))
    prove(link("a", link("b"), link("c", link("b")), files=(file,)))
