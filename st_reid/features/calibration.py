"""Finds thresholds of the similarity on labelled tracklets, and their error rates."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.features.pairs import Labelled, Pairs, blocks_of_pairs
from st_reid.files import write_text
from st_reid.reading import Cosine, Share, read_json

RATES = (1e-2, 1e-3, 1e-4)
MAX_KEPT = 2**25  # pairs that are held at a time, for the interval of a threshold: 0.8 GB
logger = logging.getLogger(__name__)

Decision = Literal["same", "unsure", "nobody here"]


@dataclass(frozen=True)
class Calibration:
    """When to say that two tracklets are of one person.

    Attributes:
        same: similarity from which on the decision is 'same'.
        unsure: similarity from which on the decision is 'unsure'; below it, 'nobody here'.
        false_accept_rate: the rate for which ``same`` was chosen, over pairs of two persons.
        about: metadata: the fingerprint of the features' model, pairs, rates.

    Raises:
        UserError: ``unsure`` above ``same``.
    """

    same: Cosine
    unsure: Cosine
    false_accept_rate: Share
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.unsure <= self.same:
            raise UserError(f"unsure from {self.unsure:g} on, and same from {self.same:g} on; expected the first below")

    def decide(self, similarity: float) -> Decision:
        """Return the decision for a similarity."""
        return "same" if similarity >= self.same else "unsure" if similarity >= self.unsure else "nobody here"

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(json.dumps(asdict(self), indent=2) + "\n", path)

    @classmethod
    def load(cls, path: str | Path, features: FeatureSet) -> Calibration:
        """Read what :meth:`save` wrote, for use with ``features``.

        Raises:
            UserError: a file that is missing or not a calibration, or that is of another model's features.
        """
        calibration = read_json(Path(path), cls, "make a calibration with python -m st_reid.calibrate")
        if calibration.about.get("fingerprint") != features.fingerprint:
            raise UserError(
                f"{path} is of the model {calibration.about.get('fingerprint')}, the features are of "
                f"{features.fingerprint}; calibrate with features of the same weights and settings"
            )
        return calibration


def bootstrap_threshold(
    features: FeatureSet, pairs: Pairs, rate: float, *, across: bool = False, samples: int = 200, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the threshold for a false-accept rate, over persons drawn with replacement.

    Persons are drawn, not pairs: the pairs of one person are alike. ``None`` if the samples have too few pairs, or if
    there are more than :data:`MAX_KEPT` that are needed.

    A person drawn k times counts k times: a pair of two persons counts as often as the product of their numbers. So
    the pairs are sorted once, and for each sample only the most similar ones are used.

    Args:
        features: of labelled tracklets.
        pairs: their pairs, see :func:`label_pairs`.
        rate: of false accepts.
        across: as in :func:`label_pairs`.
        samples: how often to draw.
        seed: of the draws.
    """
    labelled = Labelled.of(features)
    expected = rate * len(pairs.different)
    needed, wanted = (min(len(pairs.different), max(10_000, int(times * expected))) for times in (4, 20))
    least = pairs.different.ranked(-max(needed, min(wanted, MAX_KEPT)))
    kept = pairs.different.at_least(least)
    if kept > MAX_KEPT:
        logger.warning(
            f"no interval of the threshold: it needs the {kept} most similar pairs, and {MAX_KEPT} are held at most; "
            "lower far, or label fewer tracklets"
        )
        return None
    similarity, one, other = _most_similar(labelled, least, kept, across)
    table = np.zeros((labelled.person.max() + 1, labelled.camera.max() + 1))
    np.add.at(table, (labelled.person, labelled.camera), 1)
    nobody = np.unique(labelled.person[labelled.nobody])
    rng = np.random.default_rng(seed)
    thresholds = []
    for _ in range(samples):
        drawn = np.bincount(rng.choice(len(table), len(table)), minlength=len(table))
        sample = np.multiply(drawn[:, None], table, dtype=np.float64)
        count = _pairs_of_two(sample, across) - _pairs_of_two(sample[nobody], across)
        if allowed := int(rate * count):
            # Many times as many are kept as a sample needs on average; if they are not enough, the lowest is used.
            thresholds.append(np.nextafter(similarity[_place_of(allowed + 1, drawn, one, other)], np.inf))
    if len(thresholds) < samples / 2 or not thresholds:
        return None
    low, high = np.percentile(thresholds, [2.5, 97.5])
    return float(low), float(high)


def _pairs_of_two(table: NDArray[np.float64], across: bool) -> int:
    """Count the pairs of two persons (with ``across``, also of two cameras) among tracklets (persons, cameras)."""
    twice = table.sum() ** 2 - (table.sum(axis=1) ** 2).sum()
    if across:
        twice += (table**2).sum() - (table.sum(axis=0) ** 2).sum()
    return round(twice / 2)


def _most_similar(
    labelled: Labelled, least: float, count: int, across: bool
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    """Return the ``count`` similarities of two persons from ``least`` on, highest first, and whose they are."""
    similarity, one, other = np.empty(count, np.float32), np.empty(count, np.int32), np.empty(count, np.int32)
    start = 0
    for block in blocks_of_pairs(labelled, across):
        i, j = np.nonzero(block.different & (block.similarity >= least))
        part = slice(start, start + len(i))
        similarity[part] = block.similarity[i, j]
        one[part], other[part] = labelled.person[block.rows][i], labelled.person[block.columns][j]
        start = part.stop
    order = np.argsort(-similarity)
    return similarity[order].astype(np.float64), one[order], other[order]


def _place_of(wanted: int, drawn: NDArray[np.int64], one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Return the first place at which so many pairs are reached, each counted as often as its persons were drawn."""
    step = max(1000, len(one) // 16)
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        reached = np.cumsum(drawn[one[part]] * drawn[other[part]])
        if reached[-1] >= wanted:
            return start + int(np.searchsorted(reached, wanted))
        wanted -= int(reached[-1])
    return len(one) - 1


@dataclass(frozen=True)
class OpenSet:
    """Error rates of a search whose queries may have no match in the gallery.

    Attributes:
        found: share of queries in the gallery whose nearest tracklet is theirs and above the threshold: DIR.
        missed: share of them for which no tracklet is above the threshold.
        wrong: share of them whose nearest tracklet is of another person and above the threshold.
        false_alarms: share of queries not in the gallery for which a tracklet is above the threshold: FPIR.
        queries: in the gallery.
    """

    found: float
    missed: float
    wrong: float
    false_alarms: float
    queries: int


def open_set(features: FeatureSet, threshold: float, across: bool = False) -> OpenSet:
    """Search for every labelled tracklet among the others, with its person's other tracklets there and without them.

    Tracklets of unknown persons are left out. Distractors are in the gallery, but are not queries.

    Raises:
        UserError: no labelled tracklet has another one of its person.
    """
    labelled = Labelled.of(features)
    own, others = np.full((2, len(labelled.person)), -np.inf)  # the highest similarities of each
    for rows, columns, similarity, same, different in blocks_of_pairs(labelled, across):
        i, j = np.nonzero(same)
        for index in (i + rows.start, j + columns.start):
            np.maximum.at(own, index, similarity[i, j])
        similarity[~different] = -np.inf
        for side, axis in ((rows, 1), (columns, 0)):
            np.maximum(others[side], similarity.max(axis=axis), out=others[side])
    asked = np.isfinite(own) & ~labelled.nobody
    hit, other, queries = own[asked], others[asked], int(asked.sum())
    found = int(((hit > other) & (hit >= threshold)).sum())
    wrong = int(((hit <= other) & (other >= threshold)).sum())
    missed = int((np.maximum(hit, other) < threshold).sum())
    alarms = int((other >= threshold).sum())
    if not queries:
        raise UserError("no labelled tracklet has another one of its person to be found; label more tracklets")
    return OpenSet(found / queries, missed / queries, wrong / queries, alarms / queries, queries)
