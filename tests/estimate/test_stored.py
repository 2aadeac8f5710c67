"""Bytes on disk by how long they stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackyard.estimate.stored import Storage, Stored, cache_of, checkpoints


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.integers(1, 10**9), st.integers(0, 10**9))
def test_every_run_is_either_running_or_finished(runs: int, together: int, keep: int, state: int, final: int) -> None:
    at_once = min(runs, together)
    finished, running = checkpoints(runs=runs, at_once=at_once, keep=keep, state=state, final=final, files=8)
    assert finished.bytes + running.bytes == runs * (keep * state + final) + at_once * state
    study = (Stored(name="a", bytes=5, files=1, kept="study"), Stored(name="b", bytes=7, files=2, kept="study"))
    found = Storage(items=(*study, cache_of(study), finished, running))
    assert (found.final.bytes, found.final.files) == (24, 6)
    assert found.peak.bytes == 24 + finished.bytes + running.bytes
    assert found.without_finished() == found.peak.bytes - finished.bytes
