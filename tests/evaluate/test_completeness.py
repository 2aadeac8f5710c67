import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.recorded import KEY, sample
from trackyard.errors import DataError
from trackyard.evaluate.completeness import Tally, errors, require_configurations, require_samples

AGAIN = "trackyard run nine accuracy 2/4"
IDS = [str(number) for number in range(12)]


def gate(found: dict[str, str | None], expected: list[str] = IDS, most_failed: int = 0, partial: bool = False) -> Tally:
    return require_samples(
        key=KEY,
        task="text_vqa",
        expected=expected,
        found=found,
        again=AGAIN,
        most_failed=most_failed,
        partial=partial,
    )


def test_one_rank_of_four_of_the_spec_is_refused() -> None:
    expected = [f"coco_2014_vqa:validation:{number}" for number in range(214_354)]
    found: dict[str, str | None] = dict.fromkeys(expected[::4])
    assert len(found) == 53_589
    with pytest.raises(DataError, match=r"53,589 of 214,354 samples \(25\.0 %\)") as error:
        gate(found, expected)
    assert f"text_vqa under configuration {KEY[:12]}" in error.value.what
    assert "missing: coco_2014_vqa:validation:1, coco_2014_vqa:validation:2" in error.value.what
    assert "and 160,760 more" in error.value.what
    assert error.value.fix == AGAIN
    partial = gate(found, expected, partial=True)
    assert partial.watermark == "PARTIAL: 53,589 of 214,354 samples (25.0 %), 0 failed"
    assert (partial.ok, partial.expected) == (53_589, 214_354)


@given(st.sets(st.sampled_from(IDS)), st.sets(st.sampled_from(IDS)), st.integers(0, 12))
def test_the_gate_opens_for_all_of_them_and_nothing_less(missing: set[str], failing: set[str], budget: int) -> None:
    found = {name: "no image" if name in failing else None for name in IDS if name not in missing}
    failed = len(failing - missing)
    if not missing and failed <= budget:
        assert gate(found, most_failed=budget) == Tally(expected=12, ok=12 - failed, failed=failed)
    else:
        with pytest.raises(DataError):
            gate(found, most_failed=budget)
        tally = gate(found, most_failed=budget, partial=True)
        assert tally.watermark.startswith(f"PARTIAL: {12 - len(missing)} of 12 samples")
        assert tally.ok + tally.failed == 12 - len(missing)


def test_failures_are_named_with_their_error() -> None:
    found: dict[str, str | None] = dict.fromkeys(IDS) | {"3": "out of memory"}
    with pytest.raises(DataError, match="1 of 12 samples failed, 0 may: 3; the first: out of memory"):
        gate(found)


def test_other_samples_pass_in_no_case() -> None:
    for partial in (False, True):
        with pytest.raises(DataError, match="stranger not among the 12 expected"):
            gate(dict.fromkeys([*IDS[1:], "stranger"]), partial=partial)


def test_nothing_is_not_everything() -> None:
    with pytest.raises(DataError, match="none are expected"):
        gate({}, [])
    assert gate({}, [], partial=True).watermark


def test_errors_of_samples() -> None:
    failed = sample(2, score={}, status="failed", error="no image")
    assert errors([sample(1), failed]) == {sample(1).id: None, failed.id: "no image"}


def test_every_configuration_of_a_sweep() -> None:
    keys = [f"{number:064x}" for number in range(27)]

    def require(found: list[str], expected: list[str] = keys, partial: bool = False) -> str:
        return require_configurations(task="mmmu", expected=expected, found=found, again=AGAIN, partial=partial)

    assert require(keys[::-1]) == ""
    with pytest.raises(DataError, match=f"mmmu has 26 of 27 configurations; missing: {keys[3][:12]}") as error:
        require(keys[:3] + keys[4:])
    assert error.value.fix == AGAIN
    assert require(keys[:20], partial=True) == "PARTIAL: 20 of 27 configurations"
    for partial in (False, True):
        with pytest.raises(DataError, match="which the sweep does not have"):
            require([*keys, "f" * 64], partial=partial)
    with pytest.raises(DataError, match="none are expected"):
        require([], [])
