"""A run's folder and its checkpoints: writing them whole, keeping the last few, and resuming from them."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from st_reid.config import TrainConfig
from st_reid.errors import UserError
from st_reid.files import check_output, is_ours, partial_path
from st_reid.models.checkpoints import load_checkpoint, save_checkpoint, save_weights
from st_reid.reading import Count, of_type

logger = logging.getLogger(__name__)

LAST = "last.pth"
BEST = "best.pth"
NUMBERED = "epoch[0-9]*-batch[0-9]*.pth"
RESUME_ONLY = ("optimizer", "scheduler", "scaler", "learned", "averaged_steps", "totals")
"""The entries of a checkpoint that are only needed to resume: two thirds of the file."""

MAY_CHANGE = ("epochs", "output", "resume", "root", "device", "patience", "data.workers", "data.on_bad_image",
              "data.follow_links", "eval.sheet_queries", "optim.on_bad_loss")  # fmt: skip
MAY_CHANGE_WITHIN = ("eval.joint.", "eval.rerank.", "compute.", "checkpoint.")
"""Settings that may differ between a run and its resumption; any other would make it another run."""


class Baselines(TypedDict):
    """What a run measures before it begins."""

    figures: dict[str, Any]
    cmc: dict[str, list[float]]


class RunSettings(TypedDict, total=False):
    """``config`` in a checkpoint, as far as it has to be known before it is compared; it has other entries too."""

    sources: str


class RunState(TypedDict):
    """What a checkpoint needs to resume from; it has other entries too."""

    config: RunSettings
    state_dict: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    baselines: Baselines
    epoch: Count
    best: dict[str, float]
    metrics: list[dict[str, float]]


class Checkpoints:
    """Writes checkpoints into ``folder``: each under its place in the run, the newest as ``last.pth`` too.

    Args:
        folder: is made when the first is written.
        keep: how many of the last ones stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Mapping[str, Any], epoch: int, batch: int) -> None:
        """Write where the run is: ``batch`` batches behind the end of ``epoch``.

        Raises:
            UserError: it cannot be written; earlier checkpoints are intact.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch{epoch:04d}-batch{batch:05d}.pth"
        save_checkpoint(checkpoint, path)
        self._rename_last(path)
        newest = self.newest_first()
        place = newest.index(path)
        for other in newest[:place] + newest[place + self.keep :]:  # what is ahead, this run has resumed from before
            other.unlink()

    def save_best(self, checkpoint: Mapping[str, Any]) -> None:
        """Write the chosen model without the entries that only resuming needs: ``best.pth``, and weights to share."""
        chosen = {key: value for key, value in checkpoint.items() if key not in RESUME_ONLY}
        save_checkpoint(chosen, self.folder / BEST)
        save_weights(chosen, self.folder / BEST.replace(".pth", ".safetensors"))

    def _rename_last(self, path: Path) -> None:
        with partial_path(self.folder / LAST) as link:
            try:
                os.link(path, link)  # a second name for the same bytes
            except OSError:  # a file system without hard links
                shutil.copyfile(path, link)
            os.replace(link, self.folder / LAST)

    def newest_first(self) -> list[Path]:
        """Return the checkpoints by their places in the run, which their names say; a clock may be set back."""

        def place(path: Path) -> list[int]:
            return [int(number) for number in re.findall(r"\d+", path.name)]

        return sorted(self.folder.glob(NUMBERED), key=place, reverse=True)


def folder_of(config: TrainConfig) -> Path:
    """Return the folder of a run."""
    return Path(config.output or f"runs/{config.arch}-{config.sources}-seed{config.seed}")


def check_folder(config: TrainConfig) -> Path:
    """Return the folder of a run, which is empty but for what a run leaves that is killed before it has begun.

    Raises:
        UserError: there is a run in it already, or it cannot be made.
    """
    folder = folder_of(config)
    if config.resume is None and folder.exists() and not all(map(is_ours, folder.iterdir())):
        raise UserError(f"{folder} holds a run already; pass another --output, or --resume {folder} to resume that run")
    check_output(folder)
    return folder


def read_resumed(config: TrainConfig) -> dict[str, Any] | None:
    """Return the checkpoint to resume from; ``None`` for a new run.

    Raises:
        UserError: it cannot be read (the message names an earlier one that can), is not of a run, or of one with
            other settings.
    """
    if config.resume is None:
        return None
    path = Path(config.resume)
    if path.is_dir():
        path = path / "checkpoints" / LAST
        if not path.exists():
            logger.info("%s was stopped before its first checkpoint: from the start", config.resume)
            return None
    try:
        checkpoint = load_checkpoint(path)
    except UserError as error:
        raise UserError(f"{error}{_one_before(path)}") from None
    of_type(checkpoint, RunState, path, "pass the folder of a training run, or its last.pth")
    check_same_run(checkpoint["config"], config)
    return checkpoint


def _one_before(path: Path) -> str:
    """Return which other checkpoint can be resumed from, for the message about a damaged one."""
    for other in Checkpoints(path.parent, 0).newest_first():
        if other.exists() and path.exists() and other.samefile(path):
            continue
        try:
            load_checkpoint(other)
        except UserError:
            continue
        return f"; the one before it is whole: --resume {other}"
    return ""


def check_same_run(before: Mapping[str, Any], config: TrainConfig) -> None:
    """Raise :class:`UserError` unless a run with the settings ``before`` may go on, or count, as one of ``config``."""
    # Settings that an earlier version did not have had today's defaults.
    was, now = (
        dict(_flatten(asdict(TrainConfig(sources=before.get("sources", ""))))) | dict(_flatten(before)),
        dict(_flatten(asdict(config))),
    )
    for name, value in now.items():
        if name not in MAY_CHANGE and not name.startswith(MAY_CHANGE_WITHIN) and was.get(name) != value:
            within = ", ".join(group.rstrip(".") for group in MAY_CHANGE_WITHIN)
            raise UserError(
                f"{name} is {value!r}, and was {was.get(name)!r} in the run that is resumed; "
                f"only {', '.join(MAY_CHANGE)}, and what is in {within} may change"
            )


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names; options, which may be anything, are not split."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and name != "options":
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
