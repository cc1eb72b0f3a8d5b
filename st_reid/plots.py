"""Pictures of a run: curves, and contact sheets of what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from st_reid.calibration import Calibration, Pairs
from st_reid.data.frames import FrameReader
from st_reid.data.tracklet import Tracklet
from st_reid.evaluation import Ranking, Retrieval
from st_reid.features import FRAMES, shown_frames
from st_reid.retrieval import SpatialTemporalModel, rank_gallery
from st_reid.retrieval.matrix import Matrix, entries, row_blocks

RIGHT, WRONG, QUERY = "#2a9d3a", "#d62728", "#3b6fb6"
UNSURE, NEUTRAL = "#e8a317", "#888888"
CELL = (48, 96)  # width and height of a frame on a contact sheet
BORDER, GAP, CAPTION = 4, 10, 16
MOST_CAMERAS = 12  # in a picture of transit times


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


def contact_sheet(retrieval: Retrieval, ranking: Ranking, path: Path, *, queries: int = 10, top: int = 6) -> None:
    """Draw queries with their nearest gallery tracklets, right ones framed in green, wrong ones in red.

    Of each tracklet its first, middle and last frame are shown. Of the queries that have a match, the ones shown lie
    at equal steps from the best to the worst average precision.

    Args:
        retrieval: the query and gallery.
        ranking: of them.
        path: the PNG to write.
        queries: rows.
        top: gallery tracklets in a row.
    """
    result, distances = ranking.result, ranking.distances
    order = np.argsort(-result.ap, kind="stable")
    chosen = [int(result.valid[i]) for i in order[steps(len(order), queries)]]
    junk = _junk(retrieval)
    rows = []
    for q in chosen:
        query, row = retrieval.query[q], distances[q]
        cells = [Cell(query, QUERY, f"person {query.person}, camera {query.camera}")]
        for g in rank_gallery(row, junk(q), top):
            found = retrieval.gallery[g]
            color = RIGHT if found.person == query.person else WRONG
            cells.append(Cell(found, color, f"{found.person}, camera {found.camera}, d {row[g]:.2g}"))
        rows.append(cells)
    legend = "query (blue), then its nearest tracklets: right (green), wrong (red)"
    _draw_sheet(f"{legend}; first, middle and last frame; best query first", rows, top + 1, path)


def changed_sheet(retrieval: Retrieval, appearance: Matrix, joint: Matrix, path: Path, *, queries: int = 10) -> None:
    """Draw queries whose first hit the joint metric changed: the query, the hit by appearance, the hit by both.

    The ones that it put right and the ones that it put wrong are shown in the proportion in which there are such.

    Args:
        retrieval: the query and gallery.
        appearance: (Q, G) cosine distances.
        joint: (Q, G), 1 - the joint score.
        path: the PNG to write.
        queries: rows.
    """
    hits = [_first_hits(retrieval, matrix) for matrix in (appearance, joint)]
    kinds: dict[str, list[tuple[int, int, int]]] = {"put right": [], "put wrong": [], "still wrong": []}
    for q, (query, before, after) in enumerate(zip(retrieval.query, *hits, strict=True)):
        was, now = (retrieval.gallery[g].person == query.person for g in (before, after))
        if before != after and not (was and now):
            kinds["put right" if now else "put wrong" if was else "still wrong"].append((q, before, after))
    changed = [(kind, *row) for kind, found in kinds.items() for row in found]
    rows = []
    for kind, q, *pair in (changed[i] for i in steps(len(changed), queries)):
        query = retrieval.query[q]
        cells = [Cell(query, QUERY, f"person {query.person}, camera {query.camera}", f"time {query.time:g}: {kind}")]
        similarity, score = (1 - entries(matrix, np.array([q, q]), np.array(pair)) for matrix in (appearance, joint))
        for g, s, j in zip(pair, similarity, score, strict=True):
            found = retrieval.gallery[g]
            color = RIGHT if found.person == query.person else WRONG
            gap = (found.time or 0) - (query.time or 0)
            caption = f"{found.person}, camera {found.camera}, {gap:+.0f}"
            cells.append(Cell(found, color, caption, f"cos {s:.3f}, joint {j:.3f}"))
        rows.append(cells)
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in kinds.items())
    title = f"first hit by appearance, then by the joint metric, where they differ: {counts}"
    _draw_sheet(title, rows, 3, path, min_width=720)


def transit_times(model: SpatialTemporalModel, path: Path) -> None:
    """Draw a grid of cameras: persons counted (bars) and the smoothed probability (line) by transit time.

    Of more than ``MOST_CAMERAS`` cameras those are drawn that most persons passed.
    """
    passed = np.zeros(len(model.cameras))
    for column in model.pairs.T:
        np.add.at(passed, column, model.counts.sum(axis=1))
    shown = np.sort(np.argsort(-passed, kind="stable")[:MOST_CAMERAS])
    place = {int(camera): i for i, camera in enumerate(shown)}
    cameras = len(shown)
    size = min(2.2, 24 / cameras)
    figure = Figure(figsize=(1 + size * cameras, 0.8 + size * 0.8 * cameras), layout="constrained")
    grid = figure.subplots(cameras, cameras, sharex=True, sharey=True, squeeze=False)
    times = (np.arange(model.bins) + 0.5) * model.bin_width
    highest = model.counts.max()
    coarse = max(1, model.bins // 100)  # a bar for each hundredth; bins are finer than pixels
    edges = np.arange(0, model.bins + coarse, coarse) * model.bin_width
    for axes in grid.flat:
        axes.tick_params(labelsize=7)
    for (later, earlier), counts, curve in zip(model.pairs.tolist(), model.counts, model.curves, strict=True):
        if later not in place or earlier not in place:
            continue
        axes = grid[place[later], place[earlier]]
        axes.plot(times, curve, color=QUERY, linewidth=1.2)
        if highest:
            bars = np.add.reduceat(counts, np.arange(0, model.bins, coarse))
            axes.stairs(bars / bars.max() * curve.max(), edges[: len(bars) + 1], color="tab:gray", alpha=0.4, fill=True)
            axes.annotate(f"n = {counts.sum():.0f}", (0.97, 0.9), xycoords="axes fraction", ha="right", fontsize=7)
    for i, camera in enumerate(model.cameras[shown]):
        grid[0, i].set_title(f"from {camera}", fontsize=9)
        grid[i, 0].set_ylabel(f"to {camera}", fontsize=9)
    title = "Transit times: probability a bin (line), persons counted (bars, scaled to it)"
    if cameras < len(model.cameras):
        title += f"; the {cameras} cameras of {len(model.cameras)} that most persons passed"
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(f"time between cameras (bins of {model.bin_width:g}, sigma {model.sigma:g} bins)", fontsize=9)
    figure.savefig(path, dpi=110)


def found_sheet(title: str, rows: Sequence[Sequence[Cell]], path: Path) -> None:
    """Draw what was found for queries, a row each: the query's cell, then those of the found ones, nearest first."""
    _draw_sheet(title, rows, max(len(cells) for cells in rows), path)


def calibration_curves(pairs: Pairs, calibration: Calibration, path: Path) -> None:
    """Draw how the similarities of one person and of two are spread, with the thresholds, and the ROC curve."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    spread, roc = figure.subplots(1, 2)
    bins = np.linspace(min(pairs.same[0], pairs.different[0]), 1, 60)
    for values, color, label in (
        (pairs.different, WRONG, f"two persons, {len(pairs.different)} pairs"),
        (pairs.same, RIGHT, f"one person, {len(pairs.same)} pairs"),
    ):
        spread.hist(values, bins, density=True, color=color, alpha=0.5, label=label)
    spread.axvline(calibration.same, color="black", label=f"same from {calibration.same:.3f} on")
    spread.axvline(calibration.unsure, color="black", linestyle=":", label=f"unsure from {calibration.unsure:.3f} on")
    spread.set(title="Similarities", xlabel="cosine similarity", ylabel="density")
    spread.legend(fontsize=8)
    thresholds = np.quantile(np.concatenate([pairs.different, pairs.same]), np.linspace(0, 1, 2000))
    far = [pairs.false_accepts(t) for t in thresholds]
    roc.plot(far, [pairs.true_accepts(t) for t in thresholds], color=QUERY)
    roc.plot(pairs.false_accepts(calibration.same), pairs.true_accepts(calibration.same), "o", color="black")
    roc.set(
        title="ROC; the point is the threshold for the same",
        xlabel="false accepts: pairs of two persons called the same",
        ylabel="true accepts",
        ylim=(0, 1.02),
    )
    roc.set(xscale="log", xlim=(1 / len(pairs.different), 1))
    roc.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def dataset_overview(splits: Mapping[str, Sequence[Tracklet]], sizes: Sequence[tuple[int, int]], path: Path) -> None:
    """Draw a dataset: lengths of tracklets and tracklets by camera, a split each, and the heights of images."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    lengths, cameras, heights = figure.subplots(1, 3)
    present = {name: tracklets for name, tracklets in splits.items() if tracklets}
    most = max(len(t) for tracklets in present.values() for t in tracklets)
    bins = np.linspace(0, most + 1, min(most + 2, 40))
    labels = sorted({t.camera for tracklets in present.values() for t in tracklets})
    shown = labels[:MOST_CAMERAS]
    width = 0.8 / len(present)
    for i, (name, tracklets) in enumerate(present.items()):
        lengths.hist([len(t) for t in tracklets], bins, histtype="step", label=f"{name}: {len(tracklets)} tracklets")
        counts = Counter(t.camera for t in tracklets)
        cameras.bar(np.arange(len(shown)) + i * width, [counts[camera] for camera in shown], width, label=name)
    lengths.set(title="Frames a tracklet", xlabel="frames", ylabel="tracklets")
    lengths.legend(fontsize=8)
    rest = f" (the first {len(shown)} of {len(labels)})" if len(labels) > len(shown) else ""
    cameras.set(title=f"Tracklets by camera{rest}", xlabel="camera")
    cameras.set_xticks(np.arange(len(shown)) + 0.4 - width / 2, shown, fontsize=8)
    cameras.legend(fontsize=8)
    if sizes:
        heights.hist([height for height, _ in sizes], 40, color="tab:gray")
    heights.set(title="Height of images", xlabel="pixels", ylabel="images", xlim=(0, None))
    figure.savefig(path, dpi=110)


class Cell(NamedTuple):
    """A tracklet on a sheet, or its picture (64, 96, 3); the colour of its frame, and the lines below it."""

    tracklet: Tracklet | NDArray[np.uint8]
    color: str
    caption: str
    second: str = ""


def _draw_sheet(title: str, rows: Sequence[Sequence[Cell]], columns: int, path: Path, min_width: int = 0) -> None:
    width, height = FRAMES * CELL[0] + 2 * BORDER, CELL[1] + 2 * BORDER
    captions = 2 if any(cell.second for cells in rows for cell in cells) else 1
    pitch_x, pitch_y = width + GAP, height + captions * CAPTION + GAP
    size = max(min_width, GAP + columns * pitch_x + GAP), 3 * CAPTION + len(rows) * pitch_y
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    draw.text((GAP, GAP), title, "black", font)
    reader = FrameReader("skip")
    for line, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x = GAP + column * pitch_x + (GAP if column else 0)
            y = 2 * CAPTION + line * pitch_y
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=cell.color)
            sheet.paste(_strip(reader, cell.tracklet), (x + BORDER, y + BORDER))
            for i, text in enumerate((cell.caption, cell.second)):
                draw.text((x, y + height + 1 + i * CAPTION), _fit(text, width, font), "black", font)
    sheet.save(path)


def _first_hits(retrieval: Retrieval, distances: Matrix) -> list[int]:
    """Return each query's nearest gallery item that is not junk."""
    persons, views = (np.unique(np.concatenate(pair), return_inverse=True)[1] for pair in _labels(retrieval))
    (qp, gp), (qv, gv) = (np.split(labels, [len(retrieval.query)]) for labels in (persons, views))
    hits: list[int] = []
    for rows in row_blocks(distances.shape):
        junk = (qp[rows, None] == gp) & (qv[rows, None] == gv)
        hits += np.where(junk, np.inf, distances[rows]).argmin(axis=1).tolist()
    return hits


def _labels(retrieval: Retrieval) -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    return ([t.person for t in retrieval.query], [t.person for t in retrieval.gallery]), retrieval.views()


def _junk(retrieval: Retrieval) -> Callable[[int], NDArray[np.bool_]]:
    persons = np.array([t.person for t in retrieval.gallery])
    q_views, g_views = (np.array(v) for v in retrieval.views())
    return lambda q: (persons == retrieval.query[q].person) & (g_views == q_views[q])


def steps(count: int, rows: int) -> NDArray[np.int64]:
    """Return ``rows`` indices at equal steps from 0 to ``count - 1``."""
    return np.linspace(0, count - 1, min(rows, count)).round().astype(int)


def _strip(reader: FrameReader, tracklet: Tracklet | NDArray[np.uint8]) -> Image.Image:
    if not isinstance(tracklet, Tracklet):
        return Image.fromarray(tracklet).resize((FRAMES * CELL[0], CELL[1]))
    strip = Image.new("RGB", (FRAMES * CELL[0], CELL[1]))
    for i, frame in enumerate(reader.read(tracklet, shown_frames(len(tracklet)))):
        strip.paste(Image.fromarray(frame.permute(1, 2, 0).numpy()).resize(CELL), (i * CELL[0], 0))
    return strip


def _fit(text: str, width: int, font: Any) -> str:
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
