"""Baselines: features that need no training, and what is left of a model's without several frames or their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from st_reid.data.clip_spec import ClipSpec
from st_reid.data.frames import FrameReader
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import resize_clip
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet

LEVELS = 4  # of each of red, green and blue
STRIPES = 6  # from head to feet


def color_histogram(frames: np.ndarray) -> np.ndarray:
    """Describe a tracklet by its colours alone.

    The middle third of every frame, where the person is, is cut into six stripes from head to feet; each has a
    histogram of red, green and blue. The mean over the frames, made to sum to 1 and square-rooted, is a unit vector:
    the cosine of two of them is the Bhattacharyya coefficient of the two histograms.

    Args:
        frames: RGB images (T, H, W, 3) uint8, T >= 1, H >= 6, W >= 1.

    Returns:
        A unit vector (384,) float32.

    Raises:
        UserError: another shape or type.
    """
    if frames.ndim != 4 or 0 in frames.shape or frames.shape[1] < STRIPES or frames.shape[3] != 3:
        raise UserError(f"colour histogram: frames are {frames.shape}; expected (T, H, W, 3), T >= 1, H >= {STRIPES}")
    if frames.dtype != np.uint8:
        raise UserError(f"colour histogram: frames are {frames.dtype}; expected uint8, from 0 to 255")
    side = frames.shape[2] // 3
    levels = frames[:, :, side : frames.shape[2] - side].astype(np.int64) * LEVELS // 256
    colors = levels @ np.array([LEVELS * LEVELS, LEVELS, 1])  # (T, H, W / 3), from 0 to LEVELS ** 3 - 1
    stripes = np.array_split(colors, STRIPES, axis=1)
    histogram = [np.bincount(s.ravel(), minlength=LEVELS**3) / s.size for s in stripes]
    return np.sqrt(np.concatenate(histogram) / STRIPES).astype(np.float32)


def color_histograms(tracklets: Sequence[Tracklet], on_bad_image: str) -> FeatureSet:
    """Return the colour histogram of every tracklet, over all its frames.

    Raises:
        UserError: an image that cannot be read.
    """
    reader = FrameReader(on_bad_image)

    def histogram(tracklet: Tracklet) -> np.ndarray:
        clip = resize_clip(reader.read(tracklet, range(len(tracklet))), 128, 64)
        return color_histogram(clip.permute(0, 2, 3, 1).numpy())

    progress = tqdm(tracklets, desc="colour histogram", leave=False, disable=None)
    return FeatureSet.of_tracklets(tracklets, np.stack([histogram(t) for t in progress]))


def fewer_frames(
    features: FeatureSet, spec: ClipSpec, extract: Callable[[str, ClipSpec], FeatureSet], *, uses_time: bool
) -> dict[str, FeatureSet]:
    """Return the features of the same model from one frame of each tracklet, and from its frames in another order.

    Args:
        features: of all frames in their order.
        spec: what their clips are like.
        extract: computes features with another specification; its first argument is for the progress bar.
        uses_time: whether the model does; without time, the order of the frames of a mean changes nothing.

    Returns:
        ``one_frame`` and ``shuffled``.
    """
    one = extract("one frame", replace(spec, frames="one"))
    if not uses_time and spec.sampler == "all":
        return {"one_frame": one, "shuffled": features}
    return {"one_frame": one, "shuffled": extract("shuffled", replace(spec, frames="shuffled"))}
