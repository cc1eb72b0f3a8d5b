"""Pictures of a comparison of models: what is gained over the first, over cost and over the budget of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
MARKERS = "osD^v<>P"


def gains_over_cost(rows: Rows, path: Path) -> None:
    """Draw the gain in mAP over the operations of a clip: a colour for every model, a marker for every budget."""
    _draw(rows, "flops", 1e9, "GFLOPs a clip", "none", path)


def gains_over_budget(rows: Rows, path: Path) -> None:
    """Draw the gain in mAP over epochs of training, a line for every model."""
    _draw(rows, "epochs", 1, "epochs of training", "-", path)


def _draw(rows: Rows, key: str, unit: float, label: str, line: str, path: Path) -> None:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="gray", linewidth=1)
    drawn = [row for row in rows if row["frames"]["ordered"]["gain"] is not None]
    models = list(dict.fromkeys(row["model"] for row in drawn))
    budgets = sorted({row["epochs"] for row in drawn})
    places = np.array([row[key] / unit for row in drawn])
    step = 0.006 * (np.ptp(places) or 1.0) if len(drawn) else 0.0
    # Those that would stand at one place are set side by side, or their intervals would hide each other.
    side = [models.index(row["model"]) if key == "epochs" else budgets.index(row["epochs"]) for row in drawn]
    places = places + step * (np.array(side) - max(side, default=0) / 2)
    for number, model in enumerate(models):
        color = colormaps["tab20"](number % 20)
        own = [i for i, row in enumerate(drawn) if row["model"] == model]
        means = [100 * drawn[i]["frames"]["ordered"]["gain"]["mean"] for i in own]
        axes.plot(places[own], means, linestyle=line, color=color, label=model, marker="" if line == "-" else "_")
        for i, mean in zip(own, means, strict=True):
            bounds = drawn[i]["frames"]["ordered"]["gain"]["interval95"] or (mean / 100, mean / 100)
            reach = [[max(mean - 100 * bounds[0], 0)], [max(100 * bounds[1] - mean, 0)]]
            marker = MARKERS[budgets.index(drawn[i]["epochs"]) % len(MARKERS)]
            axes.errorbar(places[i], mean, yerr=reach, fmt=marker, color=color, capsize=2, markersize=5)
    for budget, marker in zip(budgets, MARKERS, strict=False):
        axes.plot([], [], marker, color="gray", label=f"{budget} epochs")
    first = next((row["model"] for row in rows if row["frames"]["ordered"]["gain"] is None), "the first model")
    axes.set(xlabel=label, ylabel=f"gain in mAP over {first}, points")
    axes.set_title("Bars: 95% intervals over persons", loc="left", fontsize=9)
    if models:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
