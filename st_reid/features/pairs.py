"""How similar the pairs of labelled tracklets are, counted a block at a time: no list of all pairs is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from st_reid.data.tracklet import UNKNOWN
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import normalize
from st_reid.retrieval.matrix import row_blocks
from st_reid.retrieval.ranking import encode_labels

STEP = 2.0**-24
"""Similarities are whole multiples of it, because they are 1 - (1 - a product) in float32, as in a search."""
SLACK = 2**10  # steps beyond -1 and 1 that rounding may reach


@dataclass(frozen=True)
class Similarities:
    """Sorted similarities of pairs, equal ones counted.

    Attributes:
        values: (U,) the similarities that there are, ascending.
        counts: (U,) how many pairs have each.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self._below[-1])

    @cached_property
    def _below(self) -> NDArray[np.int64]:
        """How many are lower than each of the values, and how many there are: (U + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def at_least(self, threshold: float) -> int:
        """Return how many are at this threshold or above it."""
        return len(self) - int(self._below[np.searchsorted(self.values, threshold)])

    def ranked(self, place: int) -> float:
        """Return the similarity at a place, from the lowest, 0, or with -1 from the highest."""
        place = range(len(self))[place]
        return float(self.values[np.searchsorted(self._below, place, side="right") - 1])


class _Counter:
    """Counts similarities: a number for each multiple of :data:`STEP` from -1 to 1, whatever the number of pairs."""

    def __init__(self) -> None:
        self.least = -round(1 / STEP) - SLACK
        self.counts = np.zeros(1 - 2 * self.least, np.int64)

    def add(self, similarity: NDArray[np.floating]) -> None:
        steps = np.multiply(similarity.ravel(), 1 / STEP).astype(np.int64)
        steps -= self.least
        np.add.at(self.counts, steps, 1)

    def counted(self) -> Similarities:
        used = np.flatnonzero(self.counts)
        return Similarities(STEP * (used + self.least).astype(np.float64), self.counts[used])


@dataclass(frozen=True)
class Pairs:
    """Similarities of pairs of different tracklets.

    Attributes:
        same: of pairs of one person.
        different: of pairs of two persons.
    """

    same: Similarities
    different: Similarities

    def false_accepts(self, threshold: float) -> float:
        """Return the share of pairs of two persons with at least this similarity: FAR."""
        return self.different.at_least(threshold) / len(self.different)

    def true_accepts(self, threshold: float) -> float:
        """Return the share of pairs of one person with at least this similarity: TAR."""
        return self.same.at_least(threshold) / len(self.same)

    def threshold(self, rate: float) -> float | None:
        """Return the lowest threshold whose FAR is at most ``rate``; ``None`` if there are too few pairs."""
        allowed = int(rate * len(self.different))
        if allowed < 1:
            return None
        if allowed >= len(self.different):
            return -1.0
        # The (allowed + 1)-th highest, and those equal to it, must not be accepted.
        return float(np.nextafter(self.different.ranked(-allowed - 1), np.inf))


class Labelled(NamedTuple):
    """Tracklets whose person is known, and distractors.

    Attributes:
        features: without their pictures.
        person: (N,) numbers; every distractor has one of its own, because it is none of the persons.
        camera: (N,) numbers.
        nobody: (N,) which are distractors.
    """

    features: FeatureSet
    person: NDArray[np.int64]
    camera: NDArray[np.int64]
    nobody: NDArray[np.bool_]

    @classmethod
    def of(cls, features: FeatureSet) -> Labelled:
        """Return the tracklets of ``features`` that are labelled."""
        kept = replace(features, thumbnails=None).take(features.person != UNKNOWN)
        person, nobody = encode_labels(kept.person)[0], ~kept.is_known
        person[nobody] = len(kept) + np.arange(nobody.sum())
        return cls(kept, encode_labels(person)[0], encode_labels(kept.camera)[0], nobody)


class Block(NamedTuple):
    """Pairs of the tracklets of a slice with those that follow, each pair once.

    Attributes:
        rows: the slice, of n tracklets.
        columns: the others, of m tracklets.
        similarity: (n, m).
        same: (n, m) pairs of one person.
        different: (n, m) pairs of two.
    """

    rows: slice
    columns: slice
    similarity: NDArray[np.floating]
    same: NDArray[np.bool_]
    different: NDArray[np.bool_]


def blocks_of_pairs(labelled: Labelled, across: bool) -> Iterator[Block]:
    """Yield all pairs; if ``across``, only those of two cameras are the same or different.

    A pair of two distractors is neither: they may be of one person or of two.
    """
    unit = normalize(labelled.features.features)
    person, camera, nobody = labelled.person, labelled.camera, labelled.nobody
    for rows in row_blocks((len(unit), len(unit))):
        columns = slice(rows.start, len(unit))
        similarity = unit[rows] @ unit[columns].T
        for _ in range(2):  # to the distance and back: that is where a search rounds
            np.subtract(1, similarity, out=similarity)
        counted = np.ones(similarity.shape, bool)
        own = rows.stop - rows.start
        counted[:, :own] = np.arange(own) > np.arange(own)[:, None]
        if nobody.any():
            counted &= ~(nobody[rows, None] & nobody[columns])
        if across:
            counted &= camera[rows, None] != camera[columns]
        same = person[rows, None] == person[columns]
        same &= counted
        yield Block(rows, columns, similarity, same, counted ^ same)


def label_pairs(features: FeatureSet, across: bool = False) -> Pairs:
    """Return the similarities of all pairs of tracklets whose persons are known.

    Args:
        features: of labelled tracklets; those without a person are left out.
        across: only pairs of two cameras.

    Raises:
        UserError: no pair of one person, or none of two.
    """
    labelled = Labelled.of(features)
    same, different = _Counter(), _Counter()
    for block in blocks_of_pairs(labelled, across):
        same.add(block.similarity[block.same])
        different.add(block.similarity[block.different])
    pairs = Pairs(same.counted(), different.counted())
    if not len(pairs.same) or not len(pairs.different):
        raise UserError(
            f"{len(pairs.same)} pairs of one person and {len(pairs.different)} of two among {len(labelled.person)} "
            f"tracklets whose person is known{', of two cameras each' if across else ''}; name more persons, to have "
            "some of each"
        )
    return pairs
