"""ST-ReID as first formulated: loops over persons, cameras and bins, fixed table sizes; and readers of its files.

An oracle for :mod:`st_reid.retrieval.spatial_temporal`, slow and literal.

Wang, Lai, Huang, Xie: Spatial-Temporal Person Re-identification, AAAI 2019.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from st_reid.errors import UserError
from st_reid.retrieval import SpatialTemporalModel

BIN_WIDTH = 100
SIGMA = 50
EPSILON = 1e-7


def spatial_temporal_distribution(
    camera_id: Sequence[int], labels: Sequence[int], frames: Sequence[float], cameras: int = 8, bins: int = 5000
) -> NDArray[np.float64]:
    """Count transit times into [later camera][earlier camera][bin], each pair to a sum of 1.

    Args:
        camera_id: (N,) from 0.
        labels: (N,) persons, from 0.
        frames: (N,) times.
        cameras: size of the table.
        bins: size of the table; 5,000 for Market-1501, 3,000 for DukeMTMC-reID.

    Raises:
        IndexError: a transit time beyond the table.
    """
    persons = max(labels) + 1
    total = np.zeros((persons, cameras))
    count = np.zeros((persons, cameras))
    for label, camera, frame in zip(labels, camera_id, frames, strict=True):
        total[label, camera] += frame
        count[label, camera] += 1
    average = total / (count + EPSILON)
    distribution = np.zeros((cameras, cameras, bins))
    for person in range(persons):
        for i in range(cameras):
            for j in range(i + 1, cameras):
                if count[person, i] == 0 or count[person, j] == 0:
                    continue
                a, b = average[person, i], average[person, j]
                if a > b:
                    distribution[i, j, int((a - b) / BIN_WIDTH)] += 1
                else:
                    distribution[j, i, int((b - a) / BIN_WIDTH)] += 1
    return distribution / (distribution.sum(axis=2, keepdims=True) + EPSILON)


def gauss_smooth(histogram: NDArray[np.float64], sigma: float = SIGMA) -> NDArray[np.float64]:
    """Spread every bin of a histogram (bins,) over those within three sigma."""
    smoothed = np.zeros(len(histogram))
    reach = int(3 * sigma)
    for i, value in enumerate(histogram):
        if value == 0:
            continue
        for j in range(max(0, i - reach), min(len(histogram), i + reach + 1)):
            smoothed[j] += value * math.exp(-((i - j) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    return smoothed


def smooth_distribution(distribution: NDArray[np.float64], sigma: float = SIGMA) -> NDArray[np.float64]:
    """Smooth every pair of cameras, and bring it to a sum of 1 again."""
    smoothed = np.array([[gauss_smooth(pair, sigma) for pair in later] for later in distribution])
    return smoothed / (smoothed.sum(axis=2, keepdims=True) + EPSILON)


def joint_scores(
    query_feature: NDArray[np.floating],
    query_camera: int,
    query_frame: float,
    gallery_features: NDArray[np.floating],
    gallery_cameras: Sequence[int],
    gallery_frames: Sequence[float],
    distribution: NDArray[np.float64],
    alpha: float = 5,
) -> NDArray[np.float64]:
    """Score the gallery for one query: logistic of the similarity times logistic of the transit probability."""
    similarity = gallery_features.astype(np.float64) @ query_feature.astype(np.float64)
    scores = np.zeros(len(gallery_features))
    for i, (camera, frame) in enumerate(zip(gallery_cameras, gallery_frames, strict=True)):
        gap = int(abs(query_frame - frame) / BIN_WIDTH)
        if query_frame > frame:
            probability = distribution[query_camera, camera, gap]
        else:
            probability = distribution[camera, query_camera, gap]
        scores[i] = 1 / (1 + math.exp(-alpha * similarity[i])) * 1 / (1 + 2 * math.exp(-alpha * probability))
    return scores


@dataclass(frozen=True)
class Extracted:
    """The test features that the original's extraction wrote.

    Attributes:
        query_features: (Q, D).
        query_persons: (Q,).
        query_cameras: (Q,) as written, from 1.
        query_times: (Q,) in frames.
        gallery_features: (G, D).
        gallery_persons: (G,); -1 is junk, which the original leaves out when it ranks.
        gallery_cameras: (G,).
        gallery_times: (G,).
    """

    query_features: NDArray[np.floating]
    query_persons: NDArray[np.int64]
    query_cameras: NDArray[np.int64]
    query_times: NDArray[np.float64]
    gallery_features: NDArray[np.floating]
    gallery_persons: NDArray[np.int64]
    gallery_cameras: NDArray[np.int64]
    gallery_times: NDArray[np.float64]


def read_features(path: str | os.PathLike[str]) -> Extracted:
    """Read ``pytorch_result.mat``: features, persons, cameras and frames of query and gallery.

    Raises:
        UserError: a file that cannot be read, lacks an array, or holds arrays of different lengths.
    """
    content = _load(path)
    fields = {}
    for part in ("query", "gallery"):
        features = _array(content, f"{part}_f", path)
        fields[f"{part}_features"] = features
        for name, key, dtype in (("persons", "label", int), ("cameras", "cam", int), ("times", "frames", float)):
            values = _array(content, f"{part}_{key}", path).ravel().astype(dtype)
            if len(values) != len(features):
                raise UserError(f"{path}: {len(features)} features and {len(values)} values of {part}_{key}")
            fields[f"{part}_{name}"] = values
    return Extracted(**fields)


def read_distribution(
    path: str | os.PathLike[str],
    cameras: Sequence[Any] | None = None,
    bin_width: float = BIN_WIDTH,
    sigma: float = SIGMA,
    *,
    smoothed: bool = False,
) -> SpatialTemporalModel:
    """Read ``pytorch_result2.mat``, and smooth it: both of the original's scripts save it before they smooth.

    Args:
        path: the file.
        cameras: (C,) labels in the order of the table; ``None`` for the numbers 1, 2, ... of :func:`read_features`.
            The datasets of this package have strings, ``"1"``.
        bin_width: that it was made with.
        sigma: of the smoothing, in bins.
        smoothed: whether the table in the file is smoothed already, as by scripts of one's own.

    Raises:
        UserError: a file that cannot be read, or without a distribution of (C, C, bins).
    """
    distribution = _array(_load(path), "distribution", path).astype(np.float64)
    if distribution.ndim != 3 or distribution.shape[0] != distribution.shape[1]:
        raise UserError(f"{path}: the distribution is {distribution.shape}; expected (cameras, cameras, bins)")
    pairs = np.argwhere(distribution.any(axis=2))
    if not len(pairs):
        raise UserError(f"{path}: the distribution is all zeros")
    counted = distribution[tuple(pairs.T)]
    curves = counted if smoothed else smooth_distribution(counted[:, None], sigma)[:, 0]
    labels = np.arange(1, len(distribution) + 1) if cameras is None else np.asarray(cameras)
    if len(labels) != len(distribution):
        raise UserError(f"{path}: {len(labels)} labels for {len(distribution)} cameras")
    return SpatialTemporalModel(labels, pairs, np.zeros_like(curves), curves, float(bin_width), float(sigma))


def _load(path: str | os.PathLike[str]) -> dict[str, NDArray]:
    try:
        with open(path, "rb") as f:
            return scipy.io.loadmat(f)
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise UserError(f"{path} cannot be read as a MATLAB file ({error})") from None


def _array(content: dict[str, NDArray], key: str, path: str | os.PathLike[str]) -> NDArray:
    if key not in content:
        found = ", ".join(k for k in content if not k.startswith("__"))
        raise UserError(f"{path} has no {key}; it has {found or 'nothing'}")
    return content[key]
