"""Contact sheets: rows of tracklets, each in a frame of a colour, with lines below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG, QUERY = "#2a9d3a", "#d62728", "#3b6fb6"
UNSURE, NEUTRAL = "#e8a317", "#888888"
CELL = (144, 96)  # width and height in pixels
BORDER, GAP, CAPTION = 4, 10, 16


class Cell(NamedTuple):
    """A tracklet on a sheet.

    Attributes:
        pictures: RGB uint8 (h, w, 3) each, drawn side by side: some of its frames, or a thumbnail of them.
        color: of the frame around it.
        caption: the line below it.
        second: another line.
    """

    pictures: Sequence[NDArray[np.uint8]]
    color: str
    caption: str
    second: str = ""


def draw_sheet(
    title: str, rows: Sequence[Sequence[Cell]], path: Path, *, columns: int | None = None, min_width: int = 0
) -> None:
    """Draw rows of cells as a PNG.

    Args:
        title: above them.
        rows: of cells; the first cell of a row stands a little apart.
        path: of the PNG.
        columns: to make room for; by default as many as the longest row has.
        min_width: of the sheet in pixels.
    """
    columns = max(len(cells) for cells in rows) if columns is None else columns
    width, height = CELL[0] + 2 * BORDER, CELL[1] + 2 * BORDER
    captions = 2 if any(cell.second for cells in rows for cell in cells) else 1
    # A sheet that is wider than its cells has more room for what stands below them.
    pitch_x, pitch_y = max(width + GAP, (min_width - 2 * GAP) // columns), height + captions * CAPTION + GAP
    size = max(min_width, GAP + columns * pitch_x + GAP), 3 * CAPTION + len(rows) * pitch_y
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)  # Matplotlib's own, with most scripts
    draw.text((GAP, GAP), title, "black", font)
    for line, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x = GAP + column * pitch_x + (GAP if column else 0)
            y = 2 * CAPTION + line * pitch_y
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=cell.color)
            each = CELL[0] // len(cell.pictures)
            for i, picture in enumerate(cell.pictures):
                sheet.paste(Image.fromarray(picture).resize((each, CELL[1])), (x + BORDER + i * each, y + BORDER))
            for i, text in enumerate((cell.caption, cell.second)):
                draw.text((x, y + height + 1 + i * CAPTION), _fit(text, pitch_x - GAP, font), "black", font)
    sheet.save(path)


def spread_evenly(count: int, rows: int) -> NDArray[np.int64]:
    """Return ``rows`` indices at equal steps from 0 to ``count - 1``."""
    return np.linspace(0, count - 1, min(rows, count)).round().astype(int)


def _fit(text: str, width: int, font: Any) -> str:
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
