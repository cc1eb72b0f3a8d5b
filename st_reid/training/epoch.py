"""Trains a model for one epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch.utils.data import DataLoader

from st_reid.data.loader import TrainItem
from st_reid.data.sampling import derived_rng
from st_reid.errors import UserError
from st_reid.training.learner import Learner, NotFinite

logger = logging.getLogger(__name__)


LAYERS_KEY = 5  # of the random numbers that layers draw in a step


@dataclass
class Totals:
    """The counts and sums of an epoch so far; kept in checkpoints, so that an interruption does not change the means.

    Attributes:
        batches: done, including skipped ones.
        steps: taken.
        skipped: steps not taken because the loss or the gradient was not finite.
        clips: used by all processes.
        data_seconds: time spent waiting for clips.
        compute_seconds: all other time.
        sums: of every figure over the steps.
        counts: in how many steps each figure was finite.
    """

    batches: int = 0
    steps: int = 0
    skipped: int = 0
    clips: int = 0
    data_seconds: float = 0.0
    compute_seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        """Count a step with its figures; those that are not finite, such as float16's gradient norm, are left out."""
        self.steps += 1
        for name, value in figures.items():
            finite = math.isfinite(value)
            self.sums[name] = self.sums.get(name, 0.0) + (value if finite else 0.0)
            self.counts[name] = self.counts.get(name, 0) + finite

    def row(self) -> dict[str, float]:
        """Return the means over the steps, the counts and the times."""
        seconds = self.data_seconds + self.compute_seconds
        return {
            **{name: total / max(self.counts[name], 1) for name, total in self.sums.items()},
            "steps": self.steps,
            "skipped": self.skipped,
            "data_seconds": self.data_seconds,
            "compute_seconds": self.compute_seconds,
            "seconds": seconds,
            "clips_per_second": self.clips / max(seconds, 1e-9),
        }


def train_one_epoch(
    learner: Learner,
    loader: DataLoader,
    totals: Totals,
    *,
    seed: int,
    epoch: int,
    after_step: Callable[[], None] = lambda: None,
    description: str = "",
) -> None:
    """Take the steps of an epoch, or the remaining ones.

    Args:
        learner: takes the steps.
        loader: of batches of :class:`~st_reid.data.loader.TrainItem`, the remaining ones; its length is the epoch's.
        totals: the counts so far; they are updated.
        seed: of the run.
        epoch: number of this one.
        after_step: called after each step, where the epoch can be interrupted; not included in timings.
        description: for the progress bar.

    Raises:
        UserError: a loss or a gradient that is not finite, with the names of the batch's tracklets; or, where the
            learner's configuration says to skip such steps, an epoch in which all steps were skipped.
    """
    learner.train()
    compute = learner.compute
    start = time.perf_counter()
    with compute.world.progress(description, total=len(loader), initial=totals.batches) as progress:
        for group in _groups(loader, learner.config.accumulate):
            arrived = time.perf_counter()
            totals.batches += len(group)
            totals.clips += sum(len(batch.clip) for batch in group) * compute.world.size
            key = (LAYERS_KEY, epoch, totals.batches, compute.world.rank)
            torch.manual_seed(int(derived_rng(seed, *key).integers(2**63)))
            try:
                figures = learner.step([(batch.clip, torch.as_tensor(batch.label)) for batch in group])
            except NotFinite as error:
                totals.skipped += 1
                _stop_or_skip(error, learner, f"epoch {epoch}, batch {totals.batches}", group, loader)
            else:
                totals.add(figures)
                progress.set_postfix(loss=f"{figures['loss']:.3f}")
            compute.synchronize()
            progress.update(len(group))
            totals.data_seconds += arrived - start
            totals.compute_seconds += time.perf_counter() - arrived
            after_step()
            start = time.perf_counter()
    if not totals.steps:
        raise UserError(f"epoch {epoch}: no step had a finite loss and gradient; lower optim.lr")


def _groups(loader: DataLoader, size: int) -> Iterator[list[TrainItem]]:
    batches = iter(loader)
    while group := list(islice(batches, size)):
        yield group


def _stop_or_skip(
    error: NotFinite, learner: Learner, where: str, group: Sequence[TrainItem], loader: DataLoader
) -> None:
    tracklets = loader.dataset.tracklets  # type: ignore[attr-defined]
    names = ", ".join(tracklets[int(i)].name for batch in group for i in torch.as_tensor(batch.tracklet))
    if learner.config.on_bad_loss == "stop":
        raise UserError(
            f"{error} at {where}, learning rate {learner.learning_rate:.2g}; tracklets {names}; lower optim.lr, "
            "look at them, or set on_bad_loss to skip"
        ) from None
    logger.warning("skipped: %s at %s, tracklets %s", error, where, names)
