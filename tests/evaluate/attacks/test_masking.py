"""Controls as one, and when gradients are doubted."""

from __future__ import annotations

import pytest

from tests.evaluate.attacks.test_outcome import result
from tests.evaluate.attacks.toys import BUDGET, MODELS, POOL, documents
from trackyard.errors import DataError
from trackyard.evaluate.attacks.controls import query, random_flips
from trackyard.evaluate.attacks.hotflip import greedy
from trackyard.evaluate.attacks.masking import averaged, gradient_masking_suspected
from trackyard.evaluate.attacks.scoring import Scorer


def test_several_triggers_are_one_control_by_their_mean_per_document() -> None:
    one, two = result("random_trigger", {"a": 0.1, "b": 0.4}), result("random_trigger", {"a": 0.3, "b": 0.0})
    mean = averaged([one, two])
    assert mean.deltas == pytest.approx([0.2, 0.2])
    assert [record.attacked for record in mean.records] == pytest.approx([2.2, 2.2])
    assert mean.mean_delta_nats == pytest.approx((one.mean_delta_nats + two.mean_delta_nats) / 2)
    with pytest.raises(ValueError, match="shorter"):
        averaged([one, result("random_trigger", {"a": 0.3})])


def test_gradients_are_doubted_where_a_control_does_better_on_the_same_documents() -> None:
    gradient = result("hotflip_greedy", {"a": 0.3, "b": 0.3, "c": 9.0})
    assert not gradient_masking_suspected(gradient, result("query", {"a": 0.2, "b": 0.3}))
    assert gradient_masking_suspected(gradient, result("query", {"a": 0.4, "b": 0.3}))
    weak = result("random_flips", {"a": 0.0, "b": 0.0})
    assert gradient_masking_suspected(gradient, weak, result("query", {"a": 0.4, "b": 0.3}))
    # Several random triggers are one control: their mean.
    triggers = [result("random_trigger", {"a": 0.5}), result("random_trigger", {"a": 0.0})]
    assert not gradient_masking_suspected(gradient, *triggers)
    with pytest.raises(DataError, match="no document in common"):
        gradient_masking_suspected(gradient, result("query", {"z": 0.1}))


@pytest.mark.parametrize("name", MODELS)
def test_greedy_flips_do_more_than_the_controls_on_models_without_masking(name: str) -> None:
    scorer, given = Scorer(MODELS[name]), documents()
    strong = greedy(scorer, given, POOL, BUDGET)
    weak = [random_flips(scorer, given, POOL, BUDGET, seed=0), query(scorer, given, POOL, BUDGET, seed=0)]
    assert weak[0].mean_delta_nats < weak[1].mean_delta_nats
    assert not gradient_masking_suspected(strong, weak[0])
