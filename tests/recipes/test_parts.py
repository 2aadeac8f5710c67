"""Parts are disjoint, together everything, and nothing else is taken for one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError, TrackyardError
from trackyard.recipes import parts
from trackyard.recipes.parts import WHOLE, Part, alone, part_named, tell_if_empty

AGAIN = "trackyard run nine accuracy"


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_parts_of_parts_are_disjoint_and_together_everything(count: int, machines: int, cores: int) -> None:
    pieces = list(range(count))
    found = []
    for number in range(machines):
        part = Part(number, machines)
        mine = part.of_list(pieces)
        inner = [piece for each in part.divided(cores) for piece in each.of_list(pieces)]
        assert sorted(inner) == mine
        found += mine
        assert count // machines <= len(mine) <= -(-count // machines)
    assert sorted(found) == pieces


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_names_of_parts_that_are_done_at_once_differ(machines: int, cores: int, other: int) -> None:
    names = [each.name for number in range(machines) for each in Part(number, machines).divided(cores)]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set("0123456789-of") for name in names), other


def test_no_part_is_done_beside_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LOOK_S", 0.0)

    def work(part: Part) -> AbstractContextManager[None]:
        return alone(tmp_path, "latents", part, what="the latents", why="a test")

    with work(WHOLE), pytest.raises(TrackyardError, match=r"\(latents\) is in use"), work(Part(0, 2)):
        pass
    with work(Part(0, 2)), work(Part(1, 2)):
        with pytest.raises(TrackyardError, match=r"\(latents-0-of-2\) is in use"), work(Part(0, 2)):
            pass
        with pytest.raises(TrackyardError, match=r"\(latents-0-of-2\) is in use"), work(WHOLE):
            pass
    # Parts of different divisions may have the same pieces.
    with work(Part(0, 2)), pytest.raises(TrackyardError, match=r"\(latents-0-of-2\) is in use"), work(Part(0, 3)):
        pass
    with work(Part(0, 3)), work(Part(1, 3)):
        pass
    with work(WHOLE):
        pass


@given(st.integers(0, 20), st.integers(1, 30))
def test_a_part_without_a_piece_says_so_and_no_other_does(count: int, machines: int) -> None:
    for part in WHOLE.divided(machines):
        said: list[str] = []
        tell_if_empty(part, count, said.append)
        told = f"part      {part.number}/{machines} has nothing to do: there are {count} pieces of this stage"
        assert said == ([] if part.of_list(range(count)) else [told])


def test_forms() -> None:
    assert part_named(None, again=AGAIN) == WHOLE == Part(0, 1)
    assert part_named("3/8", again=AGAIN) == Part(3, 8)
    assert WHOLE.of_list("abc") == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "3", "8/8", "9/8", "0/0", "-1/4", "1/4/2", " 1/4", "1 of 4", "a/b", "1/", "/4"])
def test_whatever_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no part of the work") as refused:
        part_named(text, again=AGAIN)
    assert refused.value.fix.startswith(f"{AGAIN} --shard 0/4")
