"""A rank's share: the same tokens in the same order for every arm and however many ranks there are (row 15)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.recipes.pile_ffn.tiny_study import VOCABULARY, WINDOW, tiny_study
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.arms.jobs import arm_job
from trackyard.recipes.pile_ffn.arms.share import Share
from trackyard.recipes.pile_ffn.arms.windows import windows_of
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.study import Study
from trackyard.train.loop import Logged

CONFIG = SimpleNamespace(
    model_type="gpt_neox", num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64,
    vocab_size=VOCABULARY,
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    found = tiny_study(tmp_path_factory.mktemp("share"))
    init(found, lambda _: None)
    return found


class Recorded:
    """A spool in memory."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.steps[step] = values

    def flush(self) -> None:
        self.steps[-1] = {}


def share(study: Study, arm: str = "baseline", *, rank: int = 0, world: int = 1, **changes: Any) -> Share:
    """Of a rank among some, without an engine."""
    job = arm_job(study, Cell(arm=arm, seed=42))
    plan = job.plan
    order = windows_of(job.tokens, window=plan.window, windows_per_step=plan.windows_per_step, seed=plan.seed)
    engine: Any = SimpleNamespace(
        module=SimpleNamespace(config=CONFIG), ranks=SimpleNamespace(data_rank=rank, data_ranks=world)
    )
    movements: Any = SimpleNamespace(after=lambda done: None)
    settings = {"spool": None, "separator": None, "micro_batch": 2} | changes
    return Share(plan, order, engine, movements, **settings)


def tokens(of: Share, start: int = 0) -> list[np.ndarray]:
    with of.steps(start) as steps:
        return [np.concatenate([packs.input_ids for packs in of.batches(data)]) for data in steps]


def test_row_15_two_arms_of_a_seed_see_the_same_tokens_in_the_same_order(study: Study) -> None:
    first = arm_job(study, Cell(arm="baseline", seed=42))
    second = arm_job(study, Cell(arm="nonneg_mlp_both", seed=42))
    assert first.plan_fingerprint == second.plan_fingerprint
    assert first.plan_path == second.plan_path
    assert first.spec.run_id != second.spec.run_id
    ours, theirs = tokens(share(study, "baseline")), tokens(share(study, "nonneg_mlp_both"))
    assert len(ours) == 6
    assert np.array_equal(ours, theirs)
    # Negative control: another seed has another slice and another order.
    other = arm_job(study, Cell(arm="baseline", seed=1337))
    assert other.plan_fingerprint != first.plan_fingerprint
    assert other.tokens.digest != first.tokens.digest


def test_targets_are_the_next_tokens_and_a_resume_is_a_start_elsewhere(study: Study) -> None:
    whole = share(study)
    assert np.array_equal(tokens(whole, 4), tokens(whole)[4:])
    data = whole.share(2)
    assert (data.step, data.weight, len(data.batches)) == (2, 4 * WINDOW, 2)
    assert np.array_equal(data.batches[0].targets[:, :-1], data.batches[0].input_ids[:, 1:])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_divide_a_step_in_its_order(study: Study, world: int) -> None:
    parts = [tokens(share(study, rank=rank, world=world, micro_batch=1)) for rank in range(world)]
    whole = tokens(share(study))
    assert all(np.array_equal(np.concatenate(step), one) for *step, one in zip(*parts, whole, strict=True))


def test_ends_of_documents_are_no_targets_with_a_mask(study: Study) -> None:
    """Any token may stand in for the end of a document; this one is frequent."""
    plain = share(study)
    end = int(np.bincount(np.concatenate(tokens(plain)).flatten()).argmax())
    masked = share(study, separator=end)
    ends = [sum(int((packs.input_ids == end).sum()) for packs in plain.share(step).batches) for step in range(6)]
    assert min(ends) > 0
    assert [masked.share(step).weight for step in range(6)] == [4 * WINDOW - count for count in ends]


def test_what_is_recorded(study: Study) -> None:
    spool = Recorded()
    of = share(study, spool=spool)
    made = {
        "gradient_norm": 0.5, "rates": {"others": 1e-3}, "losses": (),
    }  # fmt: skip
    steps = [
        Logged(data=SimpleNamespace(step=0), loss=2.0, skipped=None, **made),
        Logged(data=SimpleNamespace(step=1), loss=9.0, skipped=SimpleNamespace(step=1), **made),  # type: ignore[arg-type]
    ]
    of.log(steps, {"usage/tokens_per_second": 7.0})
    of.flush()
    assert spool.steps[1] == {
        "train/loss": 2.0,
        "train/gradient_norm": 0.5,
        "train/skipped": 0.0,
        "train/step_tokens": 4.0 * WINDOW,
        "train/learning_rate/others": 1e-3,
    }
    assert spool.steps[2].keys() == {
        "train/skipped", "train/step_tokens", "train/learning_rate/others", "usage/tokens_per_second"
    }  # fmt: skip
    cost = of.cost(of.share(0))
    assert (cost.tokens, cost.useful_tokens, cost.rows) == (4 * WINDOW, 4 * WINDOW, {"train-00": 4})
    assert cost.flops is not None
    assert len(of.rows(0)) == 4
    assert of.rows(0)[0].startswith("train-00/")


def test_the_probe_changes_every_input_and_no_target(study: Study) -> None:
    packs, changed = share(study).probes()["text"]
    assert (packs.input_ids != changed.input_ids).all()
    assert changed.input_ids.max() < VOCABULARY
    assert packs.targets is changed.targets
