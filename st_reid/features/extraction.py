"""The features of tracklets: clips through a model, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from st_reid.config import ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.loader import eval_loader
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import to_float
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.models.folding import fold_batchnorm
from st_reid.runtime.compute import Compute
from st_reid.runtime.distributed import ALONE

Model = Callable[[Tensor], Tensor]
"""In evaluation mode, or exported."""


def extract_features(
    model: Model,
    tracklets: Sequence[Tracklet],
    spec: ClipSpec,
    read: ReadConfig,
    compute: Compute,
    description: str = "features",
) -> FeatureSet:
    """Return a feature a tracklet: the mean over its clips, weighted by their real frames.

    Several processes share the tracklets; each returns all features.

    Args:
        model: on its device; or an exported one.
        tracklets: any.
        spec: what the clips are like.
        read: workers, and what to do with a bad image.
        compute: the device and precision.
        description: for the progress bar.

    Raises:
        UserError: no tracklets, or an image that cannot be read.
    """
    if isinstance(model, nn.Module):  # an exported one is the same file for all
        compute.world.share_first(model.buffers())
    world = compute.world if len(tracklets) >= compute.world.size else ALONE
    share = world.share(range(len(tracklets)))
    features = list(iterate_features(model, tracklets, spec, read, compute, description, share))
    if not features:
        raise UserError("no tracklets to extract features of")
    return FeatureSet.of_tracklets(tracklets, world.unite(np.stack(features), len(tracklets)))


def iterate_features(
    model: Model,
    tracklets: Sequence[Tracklet],
    spec: ClipSpec,
    read: ReadConfig,
    compute: Compute,
    description: str = "features",
    which: Sequence[int] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the feature (D,) of each of ``tracklets``, or of ``which`` of them, in order, as soon as it is done."""
    model = for_extraction(model, spec, compute)
    uses_time = getattr(model, "uses_time", True)
    loader = eval_loader(tracklets, spec, read, uses_time=uses_time, device=compute.device, which=which)

    def features() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        with compute.world.progress(description, total=len(loader)) as progress:
            for clips, owners, weights in loader:
                yield features_of_clips(model, clips, compute), owners, weights
                progress.update()

    yield from means_over_clips(features())


def for_extraction(model: Model, spec: ClipSpec, compute: Compute) -> Model:
    """Return what to extract features with: a model in evaluation mode, its batch norms folded into convolutions.

    Args:
        model: on its device; an exported one, and one that is compiled, stay as they are.
        spec: of the clips that it will see.
        compute: the device.
    """
    if not isinstance(model, nn.Module):
        return model
    model.eval()
    if compute.compile:
        return model
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, *spec.shape), dtype=torch.uint8, generator=generator)
    return fold_batchnorm(model, to_float(pixels.to(compute.device)))


@torch.inference_mode()
def features_of_clips(model: Model, clips: Tensor, compute: Compute) -> Tensor:
    """Return the features (B, D) of uint8 clips (B, T, 3, H, W); exported models normalise pixels themselves."""
    if getattr(model, "takes_pixels", False):
        return model(clips)
    with compute.autocast():
        return model(to_float(clips.to(compute.device, non_blocking=True)))


class ClipMean:
    """The mean of a tracklet's clips, each weighted by its real frames.

    Sums are taken in float64, so that they do not depend on how clips came in batches.
    """

    def __init__(self) -> None:
        self._total: NDArray[np.float64] | float = 0.0
        self._weight = 0.0

    def add(self, weighted_sum: NDArray[np.float64], weight: float) -> None:
        """Add clips: the sum of their features (D,), each times its weight, and the sum of these weights."""
        self._total, self._weight = self._total + weighted_sum, self._weight + weight

    def feature(self) -> NDArray[np.float32]:
        """Return the mean (D,)."""
        return np.asarray(self._total / self._weight, np.float32)


def means_over_clips(batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Iterator[NDArray[np.float32]]:
    """Yield the feature of one tracklet after the other, (D,), from batches of clips.

    Args:
        batches: features (n, D), their tracklets (n,) as indices, and their weights (n,): a clip's real frames. The
            clips of a tracklet follow one another, over batches too.
    """
    owner: int | None = None
    mean = ClipMean()
    for features, owners, weights in batches:
        values, shares = features.double().cpu().numpy(), weights.double().numpy()
        starts = np.flatnonzero(np.diff(owners.numpy(), prepend=-1))
        sums = np.add.reduceat(values * shares[:, None], starts)
        counts = np.add.reduceat(shares, starts)
        for index, part, share in zip(owners.numpy()[starts], sums, counts, strict=True):
            if owner not in (None, index):
                yield mean.feature()
                mean = ClipMean()
            owner = index
            mean.add(part, share)
    if owner is not None:
        yield mean.feature()
