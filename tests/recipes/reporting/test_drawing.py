"""Figures are the same bytes each time, and words stay words."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.reporting.drawing import make_plain, name_lines, new_figure, put_legend, save


def draw(path: Path) -> tuple[bytes, bytes]:
    figure = new_figure(3, 2)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], label="an arm")
    name_lines(panel, ["first", "second"])
    make_plain(panel)
    put_legend(figure, panel)
    save(figure, path, "a figure")
    return path.with_suffix(".png").read_bytes(), path.with_suffix(".svg").read_bytes()


def test_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    png, svg = draw(tmp_path / "a")
    assert (png, svg) == draw(tmp_path / "b")
    assert png.startswith(b"\x89PNG")
    assert b">an arm<" in svg
