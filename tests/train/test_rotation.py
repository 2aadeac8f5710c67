"""Rotation: never fewer than one sound checkpoint, never the best or the resumed one, never through a link."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.newest import newest_valid
from tests.train.test_checkpoint import IDENTITY, every_file, steps, truncate, write
from trackyard.train.checkpoint import MANIFEST, complete_checkpoints, directory_name
from trackyard.train.rotation import best_checkpoint, delete_newer, rotate

SCORES = st.one_of(st.none(), st.sampled_from([0.5, 1.0, 2.0]))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(1, 50), SCORES, min_size=1, max_size=7), st.integers(1, 4), st.integers(0, 7))
def test_the_newest_the_best_and_the_resumed_stay(
    tmp_path_factory: object, numbers: dict[int, float | None], keep: int, resumed: int
) -> None:
    root = tmp_path_factory.mktemp("rotate")  # type: ignore[attr-defined]
    paths = [write(root, number, numbers[number]) for number in sorted(numbers)]
    never = paths[resumed] if resumed < len(paths) else None
    scored = [(score, -number) for number, score in numbers.items() if score is not None]
    best = root / directory_name(-min(scored)[1]) if scored else None
    assert best_checkpoint(paths) == best
    deleted = rotate(root, keep=keep, never=never)
    kept = [path for path in paths if path in paths[-keep:] or path in (never, best)]
    assert complete_checkpoints(root) == kept
    assert deleted == [path for path in paths if path not in kept]
    assert sorted(root.iterdir()) == kept
    assert rotate(root, keep=keep, never=never) == []


def test_after_a_fall_back_what_was_just_written_stays(tmp_path: Path) -> None:
    resumed = write(tmp_path, 100)
    for step in (200, 300):
        truncate(write(tmp_path, step))
    assert newest_valid(tmp_path, IDENTITY)[0] == resumed
    stopped = write(tmp_path, 150)
    delete_newer(tmp_path, stopped)
    rotate(tmp_path, keep=2, never=resumed)
    assert newest_valid(tmp_path, IDENTITY) == (stopped, [])
    assert steps(tmp_path) == [100, 150], "200 and 300 were damaged, and would push sound ones out"


def test_a_damaged_score_is_no_score(tmp_path: Path) -> None:
    best, other = write(tmp_path, 1, 0.1), write(tmp_path, 2, 0.2)
    for manifest in ("not json", "[]", '{"score": "low"}', '{"score": NaN}'):
        (best / MANIFEST).write_text(manifest)
        assert best_checkpoint([best, other]) == other


def test_names_clocks_and_links_mislead_nobody(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "checkpoints"
    other = write(outside, 9)
    before = {file: file.read_bytes() for file in every_file(outside)}
    for step in (1, 2, 3):
        write(root, step)
    # The oldest looks newest to a clock, and one lies in the future.
    os.utime(root / directory_name(1), (4e9, 4e9))
    os.utime(root / directory_name(2), (4e9, 4e9))
    os.utime(root / directory_name(3), (0, 0))
    (root / "latest").symlink_to(directory_name(1), target_is_directory=True)
    (root / directory_name(9)).symlink_to(other, target_is_directory=True)
    for name in ("step-final", "step-0004", "notes"):
        (root / name).mkdir()
    (root / ".partial-step-00000010.t.1").mkdir()
    rotate(root, keep=2)
    assert steps(root) == [2, 3]
    left = {path.name for path in root.iterdir()} - {directory_name(2), directory_name(3)}
    assert left == {"latest", directory_name(9), "step-final", "step-0004", "notes", ".partial-step-00000010.t.1"}
    assert {file: file.read_bytes() for file in every_file(outside)} == before
