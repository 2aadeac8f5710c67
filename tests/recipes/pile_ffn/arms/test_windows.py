"""Plans of windows: nothing padded, nothing twice, the same for all arms. Rows 12 and 15 of the pile-ffn spec."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recipes.pile_ffn.tiny_study import WINDOW, tiny_study
from trackyard.digest import digest_file
from trackyard.errors import DataError, IdentityError
from trackyard.recipes.pile_ffn.arms.windows import WindowPlan, plan_windows, windows_of
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import TokenSet, open_set
from trackyard.snapshot.token_shards import TokenShards
from trackyard.snapshot.token_writer import write_tokens


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("windows"))


def plan(study: Study, name: str = "train-00", **changes: int) -> WindowPlan:
    settings = {"window": WINDOW, "windows_per_step": 4, "steps": 6, "seed": 42} | changes
    return plan_windows(open_set(study, name), **settings)


def counted(directory: Path, tokens: int) -> TokenSet:
    """The ids 0, 1, 2, ... in documents of 7."""
    documents = [list(range(at, min(at + 7, tokens))) for at in range(0, tokens, 7)]
    write_tokens(
        directory / "s", documents, dataset="s", source={}, licence="CC0-1.0", tokenizer="t", vocabulary=65_000
    )
    shards = TokenShards.open(directory / "s")
    return TokenSet(study=None, name="s", shards=shards, digest=digest_file(directory / "s" / "manifest.json"))  # type: ignore[arg-type]


@settings(max_examples=15)
@given(tokens=st.integers(40, 400), window=st.integers(2, 12), seed=st.integers(0, 9))
def test_row_12_every_token_is_predicted_once_without_padding(tokens: int, window: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = counted(Path(folder), tokens)
        steps = (tokens - 1) // window
        made = plan_windows(found, window=window, windows_per_step=1, steps=steps, seed=seed)
        assert made.predicted == window * ((tokens - 1) // window)
        assert (made.unused, made.left_out) == (0, (tokens - 1) % window)
        order = windows_of(found, window=window, windows_per_step=1, seed=seed)
        taken = np.concatenate([order.batch(step) for step in range(steps)])
    assert taken.shape == (steps, window + 1)
    assert (np.diff(taken, axis=1) == 1).all(), "a window is a stretch of the stream"
    assert sorted(taken[:, 1:].flatten().tolist()) == list(range(1, made.predicted + 1))


def test_fewer_windows_than_steps_take_are_refused(tmp_path: Path) -> None:
    """101 tokens are 10 windows of 10: ten steps fit, eleven would show one twice."""
    found = counted(tmp_path, 101)
    assert plan_windows(found, window=10, windows_per_step=2, steps=5, seed=0).unused == 0
    with pytest.raises(DataError, match=r"101 tokens, which are 10 windows of 10; 11 steps of 1 take 11") as raised:
        plan_windows(found, window=10, windows_per_step=1, steps=11, seed=0)
    assert "prepare 111 tokens" in raised.value.fix


def test_a_plan_is_a_function_of_what_it_names(study: Study) -> None:
    assert plan(study).fingerprint == plan(study).fingerprint
    others = [{"seed": 43}, {"steps": 5}, {"window": 16}, {"windows_per_step": 2}]
    fingerprints = {plan(study, **change).fingerprint for change in others} | {plan(study, "train-01").fingerprint}
    assert len({plan(study).fingerprint, *fingerprints}) == 6


def test_a_plan_is_written_once(study: Study, tmp_path: Path) -> None:
    made = plan(study)
    folder = made.keep(tmp_path)
    assert folder == tmp_path / "artifacts" / "plans" / made.fingerprint[:12] == made.directory(tmp_path)
    before = (folder / "plan.json").stat().st_mtime_ns
    assert made.keep(tmp_path) == folder
    assert (folder / "plan.json").stat().st_mtime_ns == before
    document = json.loads((folder / "plan.json").read_bytes())
    assert document["plan"]["order"] == made.order
    document["plan"]["seed"] = 7
    (folder / "plan.json").write_text(json.dumps(document))
    with pytest.raises(IdentityError, match="is not the plan"):
        made.keep(tmp_path)
