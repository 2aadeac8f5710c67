"""The measure of memory sees what is held, also when the peak was higher before."""

from __future__ import annotations

from tests.memory import peak_growth

MEGABYTE = 1 << 20


def test_the_peak_of_a_call_is_seen_after_a_higher_one() -> None:
    earlier = bytearray(200 * MEGABYTE)
    del earlier
    with peak_growth() as grown:
        held = bytearray(b"x") * (60 * MEGABYTE)
        assert 55 * MEGABYTE < grown() < 90 * MEGABYTE
        del held
    with peak_growth() as grown:
        assert grown() < 5 * MEGABYTE
