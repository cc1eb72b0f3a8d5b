"""The log of a run's epochs: lines, metrics.jsonl and TensorBoard's events."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from st_reid.files import write_text

logger = logging.getLogger(__name__)


class RunLog:
    """The figures of a run's epochs.

    Args:
        folder: of the run.
        epochs: of the run.
        writes: true in the first process only; the others write nothing.

    Attributes:
        metrics: a row an epoch.
    """

    def __init__(self, folder: Path, epochs: int, writes: bool) -> None:
        self.folder = folder
        self.epochs = epochs
        self.writes = writes
        self.metrics: list[dict[str, Any]] = []

    def board(self, purge_step: int | None = None) -> Any:
        """Return TensorBoard's writer as a context, without what an interrupted run wrote from ``purge_step`` on."""
        return SummaryWriter(str(self.folder), purge_step=purge_step) if self.writes else nullcontext()

    def write(self) -> None:
        """Write ``metrics.jsonl``."""
        if self.writes:
            write_text("".join(json.dumps(row) + "\n" for row in self.metrics), self.folder / "metrics.jsonl")

    def add(self, row: dict[str, Any], board: SummaryWriter) -> None:
        """Add the row of an epoch: write it, and log it as a line."""
        self.metrics.append(row)
        self.write()
        if not self.writes:
            return
        for key, value in row.items():
            if key != "epoch":
                board.add_scalar(f"Train/{key}", value, row["epoch"])
        logger.info("%s", self._line(row))

    def add_test(self, dataset: str, figures: Mapping[str, Any], epoch: int) -> None:
        """Add the figures of the test to TensorBoard's events."""
        with self.board() as board:
            for key in ("rank1", "rank5", "rank10", "mAP"):
                board.add_scalar(f"Test/{dataset}/{key}", figures[key], epoch)

    def train_seconds(self) -> float:
        """Return how long all epochs took."""
        return sum(row["seconds"] for row in self.metrics)

    def _line(self, row: Mapping[str, Any]) -> str:
        validation = f"  validation rank-1 {row['val_rank1']:.1%} mAP {row['val_mAP']:.1%}" if "val_mAP" in row else ""
        skipped = f"  {row['skipped']} steps skipped" if row["skipped"] else ""
        return (
            f"epoch {row['epoch']:{len(str(self.epochs))}}/{self.epochs}  loss {row['loss']:.3f}  "
            f"accuracy {100 * row['accuracy']:5.1f}%  lr {row['lr']:.1e}  gradient {row['grad_norm']:.2g}  "
            f"{row['seconds']:.1f} s: {row['clips_per_second']:.3g} clips/s, "
            f"{100 * row['data_seconds'] / row['seconds']:.0f}% waiting for data  {row['memory_gb']:.1f} GB"
            f"{skipped}{validation}"
        )
