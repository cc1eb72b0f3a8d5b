"""Tracklets of all cameras grouped into persons."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from st_reid.data.tracklet import UNKNOWN
from st_reid.errors import UserError
from st_reid.features import filters
from st_reid.features.calibration import Calibration
from st_reid.features.feature_set import FeatureSet
from st_reid.files import only_writer, write_text
from st_reid.retrieval import CosineDistance
from st_reid.retrieval.ranking import encode_labels

MAX_TRACKLETS = 20_000  # their distances, all against all, are 3.2 GB
MIN_PAIRS = 20  # pairs seen at once that are needed for advice
CANNOT_LINK = 1e9  # a mean that includes this is above any threshold
logger = logging.getLogger(__name__)


def group(features: FeatureSet, threshold: float, apart: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Group tracklets into persons: average linkage down to a similarity.

    Args:
        features: of N tracklets.
        threshold: mean similarity from which on two groups are one person.
        apart: (N, N) pairs that cannot be one person, see :func:`seen_at_once`.

    Returns:
        (N,) numbers of the groups, the largest group first; equal ones in the order of their first tracklets.
    """
    if len(features) < 2:
        return np.zeros(len(features), np.int64)
    distances = np.asarray(CosineDistance(features.features, features.features), np.float64)
    distances = np.maximum((distances + distances.T) / 2, 0)
    if apart is not None:
        distances[apart] = CANNOT_LINK
    np.fill_diagonal(distances, 0)
    merges = linkage(squareform(distances, checks=False), method="average")
    # Groups are joined below the threshold, not at it.
    clusters = fcluster(merges, np.nextafter(1 - threshold, -np.inf), criterion="distance")
    _, first, numbers, sizes = np.unique(clusters, return_index=True, return_inverse=True, return_counts=True)
    return np.argsort(np.lexsort((first, -sizes)))[numbers]


def seen_at_once(features: FeatureSet) -> NDArray[np.bool_]:
    """Return which pairs (N, N) of tracklets were seen by one camera at the same time, so they are of two persons.

    Tracklets without a known time exclude nothing.
    """
    return filters.seen_at_once(features, features)(slice(None)) & ~np.eye(len(features), dtype=bool)


def advise_threshold(features: FeatureSet) -> str:
    """Describe what the data say about a threshold without identities, and what they cannot say.

    Two tracklets that one camera saw at the same time are two persons.
    """
    if len(features) > MAX_TRACKLETS:
        features = replace(features, thumbnails=None).take(range(MAX_TRACKLETS))
    at_once = np.triu(seen_at_once(features))
    pairs = np.nonzero(at_once)
    if len(pairs[0]) < MIN_PAIRS:
        return f"without identities nothing tells one: only {len(pairs[0])} pairs were seen at once by one camera"
    distances = CosineDistance(features.features, features.features)
    similarity = 1 - np.asarray(distances.pairs(*pairs), np.float64)
    bound = float(np.quantile(similarity, 0.99))
    return (
        f"{len(similarity)} pairs were seen at once by one camera, so they are of two persons: 99 % of them are below "
        f"{bound:.3f}, from where on a threshold may begin; how many pairs of one person are below it too, only "
        "identities tell"
    )


def purity_and_coverage(groups: Sequence[int] | NDArray[np.int64], persons: NDArray[np.str_]) -> dict[str, float]:
    """Return how good groups are, over tracklets whose person is known.

    Returns:
        ``purity``: share of tracklets that are of the person most frequent in their group; ``coverage``: share that
        are in the group most frequent among their person's; ``groups`` and ``persons``: how many.
    """
    known = np.flatnonzero(persons != "")
    g = encode_labels(np.asarray(groups)[known])[0]
    p = encode_labels(persons[known])[0]
    table = np.zeros((g.max(initial=-1) + 1, p.max(initial=-1) + 1))
    np.add.at(table, (g, p), 1)
    total = max(len(known), 1)
    return {
        "purity": float(table.max(axis=1, initial=0).sum() / total),
        "coverage": float(table.max(axis=0, initial=0).sum() / total),
        "groups": len(table),
        "persons": table.shape[1],
    }


@only_writer
def group_tracklets(
    features: str,
    output: str,
    *,
    calibration: str | None = None,
    threshold: float | None = None,
    at_once: bool = False,
) -> Path:
    """Write the groups and return the file.

    The arguments are the options of ``python -m st_reid.group``.

    Raises:
        UserError: no threshold or two, features that cannot be read or are too many, an output that exists.
    """
    file = Path(output)
    if file.exists():
        raise UserError(f"{file} exists; pass another --output")
    tracklets = FeatureSet.load(features)
    if (calibration is None) == (threshold is None):
        advice = "" if calibration is not None else f"; {advise_threshold(tracklets)}"
        raise UserError(f"pass either --calibration, from python -m st_reid.calibrate, or --threshold{advice}")
    if len(tracklets) > MAX_TRACKLETS:
        raise UserError(f"{len(tracklets)} tracklets; expected at most {MAX_TRACKLETS}: group them by day or by place")
    if threshold is None:
        threshold = Calibration.load(calibration or "", tracklets).same
    groups = group(tracklets, threshold, None if at_once else seen_at_once(tracklets))
    write_text(_as_csv(tracklets, groups), file)
    _announce(tracklets, groups, threshold, file)
    return file


def _as_csv(tracklets: FeatureSet, groups: NDArray[np.int64]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("tracklet", "group", "camera", "time", "frames", "person"))
    for i in np.lexsort((tracklets.time, groups)):
        time = "" if np.isnan(tracklets.time[i]) else f"{tracklets.time[i]:.15g}"
        row = (tracklets.tracklet[i], groups[i], tracklets.camera[i], time, tracklets.frames[i], tracklets.person[i])
        writer.writerow(row)
    return text.getvalue()


def _announce(tracklets: FeatureSet, groups: NDArray[np.int64], threshold: float, file: Path) -> None:
    sizes = np.bincount(groups)
    logger.info(
        f"{file}: {len(groups)} tracklets in {len(sizes)} groups, {(sizes == 1).sum()} of them of one tracklet; "
        f"similarity from {threshold:.3f}"
    )
    if tracklets.is_known.any():
        found = purity_and_coverage(groups, np.where(tracklets.is_known, tracklets.person, UNKNOWN))
        logger.info(
            f"against {found['persons']} known persons: purity {found['purity']:.1%}, coverage {found['coverage']:.1%}"
        )
