"""Pictures of a run: curves, and contact sheets of what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from st_reid.data.frames import FrameReader
from st_reid.data.tracklet import Tracklet
from st_reid.engine import Retrieval
from st_reid.retrieval import rank_gallery

RIGHT, WRONG, QUERY = "#2a9d3a", "#d62728", "#3b6fb6"
CELL = (48, 96)  # width and height of a frame on a contact sheet
FRAMES = 3  # of a tracklet: its first, middle and last
BORDER, GAP, CAPTION = 4, 10, 16


def training_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, learning rate and validation over the epochs of ``metrics.jsonl``."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    losses, rates, checks = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]
    for key, label in (("loss", "total"), ("cross_entropy", "cross entropy"), ("triplet", "triplet")):
        if key in rows[0]:
            losses.plot(epochs, [row[key] for row in rows], marker=".", label=label)
    losses.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    losses.legend()
    rates.plot(epochs, [row["lr"] for row in rows], marker=".", color="tab:gray")
    rates.set(title="Learning rate at the epoch's end", xlabel="epoch", ylim=(0, None))
    accuracy = [row["accuracy"] for row in rows]
    checks.plot(epochs, accuracy, marker=".", color="tab:gray", label="training accuracy")
    validated = [row for row in rows if "val_mAP" in row]
    for key, label in (("val_rank1", "validation rank-1"), ("val_mAP", "validation mAP")):
        if validated:
            checks.plot([r["epoch"] for r in validated], [r[key] for r in validated], marker="o", label=label)
    checks.set(title="Is it learning?", xlabel="epoch", ylim=(0, 1.02))
    checks.legend()
    figure.savefig(path, dpi=110)


def cmc_curves(curves: Mapping[str, NDArray[np.float64]], path: Path, ranks: int = 20) -> None:
    """Draw the CMC curves (max_rank,) of several rankings in one plot."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, cmc in curves.items():
        shown = cmc[:ranks]
        axes.plot(np.arange(1, len(shown) + 1), shown, marker=".", label=f"{name}: rank-1 {cmc[0]:.1%}")
    axes.set(
        title="Queries with a match among the first k",
        xlabel="k",
        ylabel="share of queries",
        ylim=(0, 1.02),
        xticks=[1, *range(5, ranks + 1, 5)],
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def contact_sheet(
    retrieval: Retrieval, distances: NDArray[np.floating], path: Path, *, queries: int = 10, top: int = 6
) -> None:
    """Draw queries with their nearest gallery tracklets, right ones framed in green, wrong ones in red.

    Of each tracklet its first, middle and last frame are shown. Of the queries that have a match, the ones shown lie
    at equal steps from the best to the worst average precision.

    Args:
        retrieval: the query and gallery.
        distances: (Q, G).
        path: the PNG to write.
        queries: rows.
        top: gallery tracklets in a row.
    """
    rows = _pick_rows(retrieval, distances, queries)
    persons = np.array([t.person for t in retrieval.gallery])
    q_views, g_views = (np.array(v) for v in retrieval.views())
    width, height = FRAMES * CELL[0] + 2 * BORDER, CELL[1] + 2 * BORDER
    pitch_x, pitch_y = width + GAP, height + CAPTION + GAP
    sheet = Image.new("RGB", (GAP + (top + 1) * pitch_x + GAP, 3 * CAPTION + len(rows) * pitch_y), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    legend = "query (blue), then its nearest tracklets: right (green), wrong (red)"
    draw.text((GAP, GAP), f"{legend}; first, middle and last frame; best query first", "black", font)
    reader = FrameReader("skip")
    for line, q in enumerate(rows):
        query = retrieval.query[q]
        junk = (persons == query.person) & (g_views == q_views[q])
        cells = [(query, QUERY, f"person {query.person}, camera {query.camera}")]
        for g in rank_gallery(distances[q], junk, top):
            found = retrieval.gallery[g]
            color = RIGHT if found.person == query.person else WRONG
            cells.append((found, color, f"{found.person}, camera {found.camera}, d {distances[q, g]:.2g}"))
        for column, (tracklet, color, caption) in enumerate(cells):
            x = GAP + column * pitch_x + (GAP if column else 0)
            y = 2 * CAPTION + line * pitch_y
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
            sheet.paste(_strip(reader, tracklet), (x + BORDER, y + BORDER))
            draw.text((x, y + height + 1), _fit(caption, width, font), "black", font)
    sheet.save(path)


def _pick_rows(retrieval: Retrieval, distances: NDArray[np.floating], queries: int) -> list[int]:
    """Return query indices at equal steps of average precision, best first."""
    result = retrieval.rank(distances)
    order = np.argsort(-result.ap, kind="stable")
    steps = np.linspace(0, len(order) - 1, min(queries, len(order))).round().astype(int)
    return [int(result.valid[i]) for i in order[steps]]


def _strip(reader: FrameReader, tracklet: Tracklet) -> Image.Image:
    strip = Image.new("RGB", (FRAMES * CELL[0], CELL[1]))
    shown = np.linspace(0, len(tracklet) - 1, FRAMES).round().astype(int)
    for i, frame in enumerate(reader.read(tracklet, shown)):
        strip.paste(Image.fromarray(frame.permute(1, 2, 0).numpy()).resize(CELL), (i * CELL[0], 0))
    return strip


def _fit(text: str, width: int, font: Any) -> str:
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
