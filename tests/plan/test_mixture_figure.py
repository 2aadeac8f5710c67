"""The picture of a mixture shows every entry, its numbers, what is missing, and the same bytes twice."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from trackyard.plan.mixture_figure import Bar, mixture_figure

BARS = [
    Bar(name="small", group="text", reference_rate=0.1, rate=0.15, epochs=11.0, tokens=100, visual_tokens=0),
    Bar(name="large", group="captions", reference_rate=0.7, rate=0.85, epochs=0.4, tokens=900, visual_tokens=600),
    Bar(name="gone", group="captions", reference_rate=0.2, rate=0.0, epochs=None, tokens=0, visual_tokens=0),
]


def _unplanned(count: int) -> list[Bar]:
    return [
        Bar(name=f"set-{number}", group=f"group {number % 9}", reference_rate=1 / count, rate=1 / count,
            epochs=None if number == 3 else 1.5, tokens=None, visual_tokens=None)
        for number in range(count)
    ]  # fmt: skip


def test_everything_is_said(tmp_path: Path) -> None:
    out = tmp_path / "new" / "mixture.svg"
    mixture_figure(BARS, title="Mixture of stage1", max_epochs=8.0, out=out)
    text = out.read_text(encoding="utf-8")
    for words in (
        "Mixture of stage1", ">small<", ">large<", ">gone<", ">missing<", ">85 %<", ">15 %<", ">11<", ">0.4<",
        "limit 8", "captions 85 %", "text 15 %", "visual, 60.0 % of all", "text, 40.0 % of all",
    ):  # fmt: skip
        assert words in text, words
    # Groups stay together, the larger rate first: in the picture as in the list.
    assert text.index(">small<") < text.index(">large<") < text.index(">gone<")


def test_the_same_mixture_gives_the_same_bytes(tmp_path: Path) -> None:
    """And without a plan and a limit there is nothing about them."""
    first, second = tmp_path / "1.svg", tmp_path / "2.svg"
    for out in (first, second):
        mixture_figure(_unplanned(10), title="Mixture", max_epochs=None, out=out)
    text = first.read_text(encoding="utf-8")
    assert second.read_text(encoding="utf-8") == text
    assert "tokens" not in text
    assert "limit" not in text
    assert text.count(">set-") == 10
    assert text.count(">rows unknown<") == 1


def test_a_picture_grows_with_its_entries(tmp_path: Path) -> None:
    mixture_figure(_unplanned(20), title="Mixture", max_epochs=None, out=tmp_path / "mixture.png")
    with Image.open(tmp_path / "mixture.png") as image:
        assert image.height > 20 * 20
        assert 1_000 < image.width < 2_000
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20
