"""Market-1501's and DukeMTMC-reID's real identities, cameras and times, with a synthetic appearance.

The file names of the two datasets say who was where and when; ``file_names_*.npz`` beside this file holds them.
Appearance is a random centre a person and noise, so that no images are needed. The parity tests and the benchmarks use
it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from st_reid.data.datasets import dukemtmcreid, market1501
from st_reid.data.tracklet import DISTRACTOR

NAMES = Path(__file__).parent
PARSE = {"market": market1501.parse_name, "duke": dukemtmcreid.parse_name}
JUNK = "-1"
Columns = tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.float64]]


class RealTimes:
    """One of the datasets.

    Args:
        name: ``market`` or ``duke``.
        dim: width of the features.

    Attributes:
        train: persons, cameras and times, (N,) each.
        query: the same, (Q,) each.
        gallery: the same, (G,) each, without junk.
        query_features: (Q, dim), of unit length.
        gallery_features: (G, dim).
    """

    def __init__(self, name: str, dim: int = 64) -> None:
        with np.load(NAMES / f"file_names_{name}.npz") as names:
            rows = {part: [PARSE[name](n.decode()) for n in names[part]] for part in ("train", "query", "gallery")}
        everybody = _columns(rows["gallery"])
        kept = everybody[0] != JUNK
        self.train = _columns(rows["train"])
        self.query = _columns(rows["query"])
        self.gallery = everybody[0][kept], everybody[1][kept], everybody[2][kept]
        self.query_features = _features(self.query[0], 1, dim)
        self.gallery_features = _features(everybody[0], 2, dim)[kept]  # noise is drawn for junk too


def _columns(rows: list[tuple[str, str, float] | None]) -> Columns:
    persons, cameras, times = zip(*[row for row in rows if row is not None], strict=True)
    return np.array(persons), np.array(cameras), np.array(times)


def _features(persons: NDArray[np.str_], seed: int, dim: int) -> NDArray[np.float32]:
    number = np.where(persons == DISTRACTOR, "0", persons).astype(int)
    centres = np.random.RandomState(0).standard_normal((9000, dim))
    features = np.where(number[:, None] > 0, centres[np.maximum(number, 0)], 0)
    features = features + 2.2 * np.random.RandomState(seed).standard_normal((len(persons), dim))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
