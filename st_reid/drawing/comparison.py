"""Pictures of a comparison of models: what is gained over the first, over cost and over the budget of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def gains_over_cost(rows: Rows, path: Path) -> None:
    """Draw the gain in mAP over the operations of a clip, a point for every model and budget."""
    _draw(rows, "flops", 1e9, "GFLOPs a clip", "none", path)


def gains_over_budget(rows: Rows, path: Path) -> None:
    """Draw the gain in mAP over epochs of training, a line for every model."""
    _draw(rows, "epochs", 1, "epochs", "-", path)


def _draw(rows: Rows, key: str, unit: float, label: str, line: str, path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="gray", linewidth=1)
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model and row["frames"]["ordered"]["gain"] is not None]
        if not own:
            continue
        gains = [row["frames"]["ordered"]["gain"] for row in own]
        means = [100 * gain["mean"] for gain in gains]
        bounds = [gain["interval95"] or (gain["mean"], gain["mean"]) for gain in gains]
        low = [max(mean - 100 * bound[0], 0) for mean, bound in zip(means, bounds, strict=True)]
        high = [max(100 * bound[1] - mean, 0) for mean, bound in zip(means, bounds, strict=True)]
        places = [row[key] / unit for row in own]
        axes.errorbar(places, means, yerr=[low, high], fmt="o", linestyle=line, capsize=3, label=model)
    axes.set(xlabel=label, ylabel="gain in mAP over the first model, points; bars: 95% interval")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
