"""What a run does with a model: train an epoch, extract features."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from st_reid.compute import Compute
from st_reid.config import EvalConfig, ReadConfig
from st_reid.data.loader import TrackletClips, TrainItem, eval_loader
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import TestTransform, to_float
from st_reid.distributed import ALONE
from st_reid.errors import UserError
from st_reid.folding import fold_batchnorm
from st_reid.learner import Learner, NotFinite

logger = logging.getLogger(__name__)
Features = Callable[[Tensor], Tensor]
"""A model in evaluation mode, or one that was exported."""
LAYERS_KEY = 5  # of the random numbers that layers draw in a step


@dataclass
class Totals:
    """What has been counted in an epoch so far; kept in checkpoints, so that an interruption changes no mean.

    Attributes:
        batches: done, skipped ones too.
        steps: taken.
        skipped: steps not taken, as the loss or the gradient was not finite.
        clips: seen, by all processes.
        data_seconds: waited for clips.
        compute_seconds: all other seconds.
        sums: of every figure over the steps.
        counts: how many steps had a finite one.
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
        """Count a step with its figures; of one that is not finite, as float16's gradient may be, nothing."""
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
    """Take the steps of an epoch, or those that are left of it.

    Args:
        learner: takes the steps.
        loader: of batches of :class:`~st_reid.data.loader.TrainItem`, those that are left; its length is the epoch's.
        totals: what was counted before; is added to.
        seed: of the run.
        epoch: number of this one.
        after_step: is called where the epoch can be interrupted: its time counts as nobody's.
        description: for the progress bar.

    Raises:
        UserError: a loss or a gradient that is not finite, with the names of the batch's tracklets; or, where the
            learner's configuration says to skip such steps, an epoch of nothing else.
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


@dataclass(frozen=True)
class ClipReader:
    """Makes the evaluation clips of tracklets.

    Attributes:
        height: in pixels.
        width: in pixels.
        seq_len: frames in a clip.
        seed: of samplers that draw.
        read: workers, resizing, and what to do with a bad image.
        eval: the sampler and the batch size.
    """

    height: int
    width: int
    seq_len: int
    seed: int
    read: ReadConfig
    eval: EvalConfig

    def loader(
        self,
        tracklets: Sequence[Tracklet],
        uses_time: bool,
        device: torch.device,
        which: Sequence[int] | None = None,
    ) -> DataLoader:
        """Return a loader of all clips of ``tracklets``, or of ``which`` of them, by their indices, in order.

        A part of them has the clips that it has in the whole, from samplers that draw too. For a model that does not
        use time, ``all`` makes clips of one frame: then nothing is padded, and the mean over clips is the exact mean
        over frames.
        """
        which = range(len(tracklets)) if which is None else which
        single = self.eval.sampler == "all" and not uses_time
        clips = TrackletClips(
            [tracklets[i] for i in which],
            sampler=self.eval.sampler,
            seq_len=1 if single else self.seq_len,
            transform=TestTransform(self.height, self.width, self.read.interpolation or "bilinear"),
            seed=self.seed,
            on_bad_image=self.read.on_bad_image,
            numbers=which,
        )
        batch = self.eval.batch * (self.seq_len if single else 1)
        return eval_loader(clips, batch_size=batch, workers=self.read.workers, device=device)


def extract_features(
    model: nn.Module, tracklets: Sequence[Tracklet], reader: ClipReader, compute: Compute, description: str = "features"
) -> NDArray[np.float32]:
    """Return a feature a tracklet, (N, D): the mean over its clips, weighted by their real frames.

    Several processes share the tracklets; each returns all features.

    Raises:
        UserError: no tracklets, or an image that cannot be read.
    """
    compute.world.share_first(model.buffers())
    world = compute.world if len(tracklets) >= compute.world.size else ALONE
    share = world.share(range(len(tracklets)))
    features = list(iterate_features(model, tracklets, reader, compute, description, share))
    if not features:
        raise UserError("no tracklets to extract features of")
    return world.unite(np.stack(features), len(tracklets))


def iterate_features(
    model: Features,
    tracklets: Sequence[Tracklet],
    reader: ClipReader,
    compute: Compute,
    description: str = "features",
    which: Sequence[int] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the feature (D,) of each of ``tracklets``, or of ``which`` of them, in order, as soon as it is done."""
    model = for_extraction(model, (reader.seq_len, 3, reader.height, reader.width), compute)
    loader = reader.loader(tracklets, getattr(model, "uses_time", True), compute.device, which)

    def features() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        with compute.world.progress(description, total=len(loader)) as progress:
            for clips, owners, weights in loader:
                yield features_of_clips(model, clips, compute), owners, weights
                progress.update()

    yield from means_over_clips(features())


def for_extraction(model: Features, clip: tuple[int, int, int, int], compute: Compute) -> Features:
    """Return what to extract features with: a model in evaluation mode, its batch norms folded into convolutions.

    Args:
        model: on its device; an exported one, and one that is compiled, stay as they are.
        clip: the shape (T, 3, H, W) of its input.
        compute: the device.
    """
    if not isinstance(model, nn.Module):
        return model
    model.eval()
    if compute.compile:
        return model
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, *clip), dtype=torch.uint8, generator=generator)
    return fold_batchnorm(model, to_float(pixels.to(compute.device)))


@torch.inference_mode()
def features_of_clips(model: Features, clips: Tensor, compute: Compute) -> Tensor:
    """Return the features (B, D) of uint8 clips (B, T, 3, H, W); exported models normalise pixels themselves."""
    if getattr(model, "takes_pixels", False):
        return model(clips)
    with compute.autocast():
        return model(to_float(clips.to(compute.device, non_blocking=True)))


def means_over_clips(batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Iterator[NDArray[np.float32]]:
    """Yield the feature of one tracklet after the other, (D,), from batches of clips.

    Args:
        batches: features (n, D), their tracklets (n,) as indices, and their weights (n,): a clip's real frames. The
            clips of a tracklet follow one another, over batches too.
    """
    owner: int | None = None
    total = np.zeros(0)
    weight = 0.0
    for features, owners, weights in batches:
        values = features.double().cpu().numpy()  # sums in float64 do not depend on the batch size
        shares = weights.double().numpy()
        starts = np.flatnonzero(np.diff(owners.numpy(), prepend=-1))
        sums = np.add.reduceat(values * shares[:, None], starts)
        counts = np.add.reduceat(shares, starts)
        for index, part, share in zip(owners.numpy()[starts], sums, counts, strict=True):
            if index != owner:
                if owner is not None:
                    yield (total / weight).astype(np.float32)
                owner, total, weight = index, np.zeros_like(part), 0.0
            total, weight = total + part, weight + share
    if owner is not None:
        yield (total / weight).astype(np.float32)
