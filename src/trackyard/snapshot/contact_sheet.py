"""A contact sheet: the pictures of an inspection side by side in one PNG, with what they are underneath."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from trackyard.durable import write_atomic
from trackyard.errors import DataError
from trackyard.snapshot.inspect import Inspection, Picture, Sample

CELL = 260
"""Pixels of a picture's cell; a picture keeps its aspect inside."""
LINE = 17
LINES = 4
GAP = 14
_BACK, _INK, _FAINT, _MARK = "#ffffff", "#1a1a1a", "#6b6b6b", "#e6194b"


def contact_sheet(inspection: Inspection, path: Path, *, columns: int = 5) -> None:
    """Write the PNG. DataError if no sample has a picture: an empty sheet would look like a success."""
    cells = [(sample, picture) for sample in inspection.samples for picture in sample.pictures]
    if not cells:
        raise DataError(
            what=f"none of the {len(inspection.samples)} samples of {inspection.path} has a picture",
            why="there is nothing to lay out",
            fix="choose a dataset with images or videos, or look at the HTML page instead",
        )
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    width, height = CELL + GAP, CELL + LINES * LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), _BACK)
    draw = ImageDraw.Draw(sheet)
    for number, (sample, picture) in enumerate(cells):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        _place(sheet, draw, picture, left, top)
        _write(draw, _captions(sample, picture), left, top + CELL + 4)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def marked(picture: Picture, image: Image.Image) -> Image.Image:
    """`image` with the picture's points drawn on it."""
    if picture.points:
        image = image.copy()
        draw = ImageDraw.Draw(image)
        radius = max(3, max(image.size) // 60)
        for x, y in picture.points:
            centre = (x * image.width, y * image.height)
            box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
            draw.ellipse(box, outline="#ffffff", width=3)
            draw.ellipse(box, outline=_MARK, width=2)
    return image


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, left: int, top: int) -> None:
    scale = CELL / max(picture.image.size)
    size = (max(1, round(picture.image.width * scale)), max(1, round(picture.image.height * scale)))
    image = marked(picture, picture.image.resize(size))
    # Pictures stand on the line above their captions.
    sheet.paste(image, (left + (CELL - size[0]) // 2, top + CELL - size[1]))
    draw.rectangle([left - 1, top - 1, left + CELL, top + CELL], outline="#d9d9d9")


def _captions(sample: Sample, picture: Picture) -> list[tuple[str, str]]:
    place = f"{sample.name}/{sample.split}" if sample.split else sample.name
    head = f"{place} {sample.number}"
    lines = [(head, _INK), (" · ".join(part for part in (sample.task, picture.caption) if part), _FAINT)]
    # Coordinates are drawn, not printed.
    texts = [text for speaker, text in sample.texts if text.strip() and speaker != "points"][:2]
    return lines + [(" ".join(text.split()), _INK) for text in texts]


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[tuple[str, str]], left: int, top: int) -> None:
    font = ImageFont.load_default(13)
    for number, (text, colour) in enumerate(lines[:LINES]):
        draw.text((left, top + number * LINE), _cut(draw, text, font), fill=colour, font=font)


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text`, ended by an ellipsis where it is wider than a cell."""
    if draw.textlength(text, font=font) <= CELL:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if draw.textlength(text[:middle] + "…", font=font) <= CELL:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"
