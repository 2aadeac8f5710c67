"""What is reported of an attack, and when its gradients are doubted."""

from __future__ import annotations

import math

import pytest

from tests.evaluate.attacks.toys import BUDGET, MODELS, POOL, documents
from trackyard.digest import canonical_json
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.attacks.controls import query, random_flips
from trackyard.evaluate.attacks.hotflip import greedy
from trackyard.evaluate.attacks.outcome import Attack, AttackRecord, AttackResult, Documents, gradient_masking_suspected
from trackyard.evaluate.attacks.scoring import Scorer


def result(attack: Attack, deltas: dict[str, float]) -> AttackResult:
    records = tuple(
        AttackRecord(doc_id=doc_id, clean=2.0, attacked=2.0 + delta, delta=delta, positions=(1,), ids=(3,))
        for doc_id, delta in deltas.items()
    )
    return AttackResult(attack=attack, pool_digest="x", records=records)


def test_the_body_holds_the_declared_measures() -> None:
    body = result("hotflip_greedy", {"a": 0.05, "b": 0.25, "c": 1.2}).body()
    assert body["n"] == 3
    assert body["mean_delta_nats"] == pytest.approx(0.5)
    assert body["median"] == 0.25
    assert body["success"] == pytest.approx({"0.05": 1, "0.1": 2 / 3, "0.25": 2 / 3, "0.5": 1 / 3, "1.0": 1 / 3})
    assert body["delta_ppl"] == pytest.approx(math.exp(2.5) - math.exp(2))
    assert body["relative_not_primary"] == pytest.approx(0.25)
    assert canonical_json(body)


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


def test_documents_of_unequal_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 documents of 3, 4 tokens"):
        Documents.of({"a": [1, 2, 3], "b": [1, 2, 3, 4]})
    assert Documents.of({"a": [1, 2, 3], "b": [4, 5, 6]}).first(1).ids_NT.tolist() == [[1, 2, 3]]
