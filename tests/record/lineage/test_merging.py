"""Joined chains give every name to one link, and lose none."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.record.lineage.links import Claim, Link
from trackyard.record.lineage.merging import PARENT, Joined, told_apart


def link(name: str, value: str, *inputs: Link) -> Link:
    return Link(kind="code", name=name, fix="", claims=(Claim(what="x", expected=value, found=value),), inputs=inputs)


@st.composite
def chains(draw: st.DrawFn) -> Link:
    """A chain of few names, so that they collide, whose links may have inputs in common."""
    made: list[Link] = []
    for _ in range(draw(st.integers(1, 5))):
        inputs = draw(st.lists(st.sampled_from(made), max_size=2)) if made else []
        made.append(link(draw(st.sampled_from("abc")), draw(st.sampled_from("12")), *inputs))
    return made[-1]


def stated(chain: Link) -> set[tuple[str, ...]]:
    """What each path through a chain claims, whatever names are."""
    here = chain.claims[0].expected
    return {(here, *below) for one in chain.inputs for below in stated(one)} | {(here,)}


def every(chain: Link) -> list[Link]:
    return [chain, *(below for one in chain.inputs for below in every(one))]


@settings(max_examples=50)
@given(st.lists(chains(), min_size=1, max_size=4))
def test_a_name_stands_for_one_link_and_nothing_is_lost(given_chains: list[Link]) -> None:
    joined = Joined()
    found = [joined.add(chain, f"place{at % 2}") for at, chain in enumerate(given_chains)]
    assert [stated(chain) for chain in found] == [stated(chain) for chain in given_chains]
    by_name: dict[str, Link] = {}
    for one in (one for chain in found for one in every(chain)):
        assert by_name.setdefault(one.name, one) == one


def test_what_two_chains_share_is_joined_and_what_differs_is_told_apart() -> None:
    joined = Joined()
    first = joined.add(link("run", "1", link("data", "7")), "here")
    second = joined.add(link("run", "2", link("data", "7")), "there")
    assert first.inputs[0] is second.inputs[0]
    assert (first.name, second.name) == ("run", "there: run")
    assert joined.add(link("run", "3", link("data", "8")), "there").name == "there (2): run"


def test_exports_of_one_run_have_the_run_in_common() -> None:
    def export(commit: str, *, before: str = PARENT) -> Link:
        code = replace(link(f"{before}code", commit), facts={"commit": commit})
        run = replace(link(f"{before}run", commit, code), kind="run", facts={"run": "abc"})
        return replace(link(f"{before}files", commit, run), kind="made")

    joined = Joined()
    fp32, bf16 = (joined.add(told_apart(export("c" * 40), place), place) for place in ("x/fp32", "x/bf16"))
    assert (fp32.name, bf16.name) == ("x/fp32: files", "x/bf16: files")
    assert fp32.inputs[0] is bf16.inputs[0]
    assert fp32.inputs[0].name == "run abc"
    assert fp32.inputs[0].inputs[0].name == f"code {'c' * 12}"
    grand = export("d" * 40, before=PARENT * 2)
    child = replace(link(f"{PARENT}files", "e", replace(grand, facts={"run": "abc"})), kind="made")
    assert told_apart(child, "y").inputs[0].name == "files taken of run abc"
