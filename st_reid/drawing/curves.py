"""Curves and histograms: figures in, PNGs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from st_reid.drawing.sheet import QUERY, RIGHT, WRONG

MAX_CAMERAS = 12  # in a picture of transit times


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


def transit_times(
    cameras: NDArray[np.str_],
    pairs: NDArray[np.int64],
    counts: NDArray[np.float64],
    curves: NDArray[np.float64],
    path: Path,
    *,
    bin_width: float,
    sigma: float,
) -> None:
    """Draw a grid of cameras: persons counted (bars) and the smoothed probability (line) by transit time.

    Of more than ``MAX_CAMERAS`` cameras those are drawn that most persons passed.

    Args:
        cameras: (C,) labels.
        pairs: (P, 2) indices of the later and of the earlier camera.
        counts: (P, bins) persons.
        curves: (P, bins) probability.
        path: of the PNG.
        bin_width: in the unit of the times.
        sigma: of the smoothing, in bins.
    """
    passed = np.zeros(len(cameras))
    for column in pairs.T:
        np.add.at(passed, column, counts.sum(axis=1))
    shown = np.sort(np.argsort(-passed, kind="stable")[:MAX_CAMERAS])
    place = {int(camera): i for i, camera in enumerate(shown)}
    size = min(2.2, 24 / len(shown))
    figure = Figure(figsize=(1 + size * len(shown), 0.8 + size * 0.8 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(shown), sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat:
        axes.tick_params(labelsize=7)
    for (later, earlier), counted, curve in zip(pairs.tolist(), counts, curves, strict=True):
        if later in place and earlier in place:
            _transit(grid[place[later], place[earlier]], counted, curve, bin_width, with_bars=bool(counts.any()))
    for i, camera in enumerate(cameras[shown]):
        grid[0, i].set_title(f"from {camera}", fontsize=9)
        grid[i, 0].set_ylabel(f"to {camera}", fontsize=9)
    title = "Transit times: probability a bin (line), persons counted (bars, scaled to it)"
    if len(shown) < len(cameras):
        title += f"; the {len(shown)} cameras of {len(cameras)} that most persons passed"
    figure.suptitle(title, fontsize=10)
    figure.supxlabel(f"time between cameras (bins of {bin_width:g}, sigma {sigma:g} bins)", fontsize=9)
    figure.savefig(path, dpi=110)


def _transit(axes: Any, counted: NDArray, curve: NDArray, bin_width: float, with_bars: bool) -> None:
    bins = len(curve)
    axes.plot((np.arange(bins) + 0.5) * bin_width, curve, color=QUERY, linewidth=1.2)
    if with_bars:
        coarse = max(1, bins // 100)  # a bar for each hundredth; bins are finer than pixels
        edges = np.arange(0, bins + coarse, coarse) * bin_width
        bars = np.add.reduceat(counted, np.arange(0, bins, coarse))
        axes.stairs(bars / bars.max() * curve.max(), edges[: len(bars) + 1], color="tab:gray", alpha=0.4, fill=True)
        axes.annotate(f"n = {counted.sum():.0f}", (0.97, 0.9), xycoords="axes fraction", ha="right", fontsize=7)


Counted = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Values, and how often there is each."""


def calibration_curves(
    same: Counted,
    different: Counted,
    *,
    same_from: float,
    unsure_from: float,
    roc: Sequence[tuple[float, float]],
    chosen: tuple[float, float],
    path: Path,
) -> None:
    """Draw how the similarities of one person and of two are spread, with the thresholds, and the ROC curve.

    Args:
        same: similarities of pairs of one person, ascending, and how many pairs have each.
        different: those of pairs of two persons.
        same_from: threshold of the same person.
        unsure_from: threshold below which the decision is 'nobody here'.
        roc: shares of false and of true accepts, a threshold each.
        chosen: those of ``same_from``.
        path: of the PNG.
    """
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    spread, curve = figure.subplots(1, 2)
    bins = np.linspace(min(same[0][0], different[0][0]), 1, 60)
    for (values, counts), color, whose in ((different, WRONG, "two persons"), (same, RIGHT, "one person")):
        label = f"{whose}, {counts.sum()} pairs"
        spread.hist(values, bins, weights=counts, density=True, color=color, alpha=0.5, label=label)
    spread.axvline(same_from, color="black", label=f"same from {same_from:.3f} on")
    spread.axvline(unsure_from, color="black", linestyle=":", label=f"unsure from {unsure_from:.3f} on")
    spread.set(title="Similarities", xlabel="cosine similarity", ylabel="density")
    spread.legend(fontsize=8)
    curve.plot(*zip(*roc, strict=True), color=QUERY)
    curve.plot(*chosen, "o", color="black")
    curve.set(
        title="ROC; the point is the threshold for the same",
        xlabel="false accepts: pairs of two persons called the same",
        ylabel="true accepts",
        ylim=(0, 1.02),
    )
    curve.set(xscale="log", xlim=(1 / different[1].sum(), 1))
    curve.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def dataset_overview(
    lengths: Mapping[str, Sequence[int]],
    cameras: Mapping[str, Sequence[str]],
    sizes: Sequence[tuple[int, int]],
    path: Path,
) -> None:
    """Draw a dataset: lengths of tracklets and tracklets by camera, a split each, and the heights of images.

    Args:
        lengths: frames of every tracklet, by split; splits are not empty.
        cameras: camera of every tracklet, by split.
        sizes: heights and widths of images.
        path: of the PNG.
    """
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    by_length, by_camera, by_height = figure.subplots(1, 3)
    most = max(max(counts) for counts in lengths.values())
    bins = np.linspace(0, most + 1, min(most + 2, 40))
    labels = sorted({camera for split in cameras.values() for camera in split})
    shown = labels[:MAX_CAMERAS]
    width = 0.8 / len(lengths)
    for i, name in enumerate(lengths):
        label = f"{name}: {len(lengths[name])} tracklets"
        by_length.hist(lengths[name], bins, histtype="step", label=label)
        counts = Counter(cameras[name])
        by_camera.bar(np.arange(len(shown)) + i * width, [counts[camera] for camera in shown], width, label=name)
    by_length.set(title="Frames a tracklet", xlabel="frames", ylabel="tracklets")
    by_length.legend(fontsize=8)
    rest = f" (the first {len(shown)} of {len(labels)})" if len(labels) > len(shown) else ""
    by_camera.set(title=f"Tracklets by camera{rest}", xlabel="camera")
    by_camera.set_xticks(np.arange(len(shown)) + 0.4 - width / 2, shown, fontsize=8)
    by_camera.legend(fontsize=8)
    if sizes:
        by_height.hist([height for height, _ in sizes], 40, color="tab:gray")
    by_height.set(title="Height of images", xlabel="pixels", ylabel="images", xlim=(0, None))
    figure.savefig(path, dpi=110)
