from pathlib import Path

import pytest

from tests.evaluate.recorded import KEY, name, sample
from trackyard.errors import DataError
from trackyard.evaluate.configuration_results import (
    SCHEMA,
    ConfigurationResult,
    read_configuration,
    scores,
    summarise,
    write_configuration,
)
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.sealed import read_sealed

SAMPLES = [sample(number) for number in range(40)]
FAILED = sample(40, pred="", parsed=None, score={}, n_visual=0, n_out=0, status="failed", error="no image")


def test_summary_by_hand() -> None:
    found = summarise(SAMPLES, binary={"vqa": False, "em": True})
    assert found.metric["em"].value == 0.5
    assert found.metric["em"].method == "wilson"
    assert found.metric["vqa"].value == pytest.approx(sum(number % 11 / 10 for number in range(40)) / 40)
    assert found.cap_rate == 4 / 40
    assert found.unparsed_rate == 6 / 40
    assert (found.realised_visual.mean, found.realised_visual.P50) == (502, 502)


def test_a_sample_that_failed_scores_0_and_has_no_tokens() -> None:
    found = summarise([*SAMPLES, FAILED], binary={"em": True})
    assert found.metric["em"].value == 20 / 41
    assert found.cap_rate == 4 / 40
    assert found.realised_visual.mean == 502
    assert summarise([FAILED], binary={"em": True}).metric["em"].value == 0


def test_a_corpus_metric_and_clusters() -> None:
    clusters = {name(number): f"image {number // 4}" for number in range(40)}
    found = summarise(SAMPLES, binary={"em": True}, corpus={"cider": [1.2] * 40}, clusters=clusters)
    assert found.metric["em"].method == found.metric["cider"].method == "clustered bootstrap"
    assert found.metric["cider"].value == pytest.approx(1.2)


def test_the_order_of_metrics_changes_no_interval() -> None:
    one = summarise(SAMPLES, binary={"vqa": False, "em": True}, seed=4)
    assert one.metric["vqa"] == summarise(SAMPLES, binary={"vqa": False}, seed=4).metric["vqa"]
    assert one.metric["vqa"] != summarise(SAMPLES, binary={"vqa": False}, seed=5).metric["vqa"]


def test_a_metric_that_was_not_measured_is_named() -> None:
    with pytest.raises(DataError, match="text_vqa:validation:0 has no anls; it has vqa, em"):
        scores(SAMPLES, "anls")
    with pytest.raises(DataError, match="no samples"):
        summarise([], binary={})


def result(**changed: object) -> ConfigurationResult:
    summary = summarise(SAMPLES, binary={"em": True})
    facts: dict[str, object] = {
        "key": KEY,
        "model": "m1",
        "revision": None,
        "knobs": Configuration(visual=6, experts=8, blocks=(0, 1, 3)),
        "realised_visual": summary.realised_visual,
        "dataset": "text_vqa",
        "split": "validation",
        "expected": 40,
        "ok": 40,
        "failed": 0,
        "metric": summary.metric,
        "cap_rate": summary.cap_rate,
        "unparsed_rate": summary.unparsed_rate,
        "batch_size": 32,
        "device": "cpu",
        "lineage": {"samples": "d1"},
    }
    return ConfigurationResult(**(facts | changed))  # type: ignore[arg-type]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_configuration(path, result())
    assert read_configuration(path, fix="again") == result()
    body = read_sealed(path, SCHEMA, fix="again")
    assert body["knobs"] == {"visual": 6, "experts": 8, "blocks": [0, 1, 3]}
    assert set(body["metric"]["em"]) == {"value", "lo", "hi", "method"}
    assert set(body["realised_visual"]) == {"mean", "P50", "P95"}
    path.write_bytes(path.read_bytes().replace(b'"ok": 40', b'"ok": 39'))
    with pytest.raises(DataError, match="was altered"):
        read_configuration(path, fix="again")


def test_an_incomplete_result_bears_a_watermark() -> None:
    with pytest.raises(ValueError, match=r"39 \+ 0 of 40"):
        result(ok=39)
    assert result(ok=39, watermark="PARTIAL").ok == 39
