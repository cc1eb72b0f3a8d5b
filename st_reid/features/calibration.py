"""Finds thresholds of the similarity on labelled tracklets, and their error rates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from st_reid.data.tracklet import UNKNOWN
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.files import write_text
from st_reid.reading import Cosine, Share, read_json
from st_reid.retrieval import CosineDistance
from st_reid.retrieval.matrix import row_blocks
from st_reid.retrieval.ranking import encode_labels

RATES = (1e-2, 1e-3, 1e-4)


Decision = Literal["same", "unsure", "nobody here"]


@dataclass(frozen=True)
class Pairs:
    """Similarities of pairs of different tracklets.

    Attributes:
        same: (P,) similarities of pairs of one person, sorted.
        different: (N,) similarities of pairs of two persons, sorted.
    """

    same: NDArray[np.float64]
    different: NDArray[np.float64]

    def false_accepts(self, threshold: float) -> float:
        """Return the share of pairs of two persons with at least this similarity: FAR."""
        return float(len(self.different) - np.searchsorted(self.different, threshold)) / len(self.different)

    def true_accepts(self, threshold: float) -> float:
        """Return the share of pairs of one person with at least this similarity: TAR."""
        return float(len(self.same) - np.searchsorted(self.same, threshold)) / len(self.same)

    def threshold(self, rate: float) -> float | None:
        """Return the lowest threshold whose FAR is at most ``rate``; ``None`` if there are too few pairs."""
        allowed = int(rate * len(self.different))
        if allowed < 1:
            return None
        # The (allowed + 1)-th highest, and those equal to it, must not be accepted.
        return float(np.nextafter(self.different[-allowed - 1], np.inf)) if allowed < len(self.different) else -1.0


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


def label_pairs(features: FeatureSet, across: bool = False) -> Pairs:
    """Return the similarities of all pairs of tracklets whose persons are known.

    Args:
        features: of labelled tracklets; those without a person are left out.
        across: only pairs of two cameras.

    Raises:
        UserError: no pair of one person, or none of two.
    """
    features, person = _labelled(features)
    same: list[NDArray[np.floating]] = [np.zeros(0)]
    different: list[NDArray[np.floating]] = [np.zeros(0)]
    for similarity, counted, match, _ in _blocks_of_pairs(features, person, across):
        same.append(similarity[counted & match])
        different.append(similarity[counted & ~match])
    pairs = Pairs(*(np.sort(np.concatenate(part)).astype(np.float64) for part in (same, different)))
    if not len(pairs.same) or not len(pairs.different):
        raise UserError(
            f"{len(pairs.same)} pairs of one person and {len(pairs.different)} of two among {len(features)} tracklets "
            f"whose person is known{', of two cameras each' if across else ''}; name more persons, to have some of each"
        )
    return pairs


def _labelled(features: FeatureSet) -> tuple[FeatureSet, NDArray[np.int64]]:
    """Return the tracklets of known persons and the distractors, without their pictures, and numbers of their persons.

    Every distractor has a number of its own, because it is none of the persons.
    """
    kept = replace(features, thumbnails=None).take(features.person != UNKNOWN)
    person = encode_labels(kept.person)[0]
    nobody = ~kept.is_known
    person[nobody] = len(kept) + np.arange(nobody.sum())
    return kept, encode_labels(person)[0]


def _blocks_of_pairs(
    features: FeatureSet, person: NDArray[np.int64], across: bool
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.bool_], slice]]:
    """Yield blocks of rows: similarities with all tracklets (n, N), which pairs count, which are of one person, rows.

    Each pair counts once; if ``across``, only those of two cameras. A pair of two distractors does not
    count: they may be of one person or of two.
    """
    camera, nobody = encode_labels(features.camera)[0], ~features.is_known
    distances = CosineDistance(features.features, features.features)
    for rows in row_blocks(distances.shape):
        counted = np.arange(len(person)) > np.arange(rows.start, rows.stop)[:, None]
        counted &= ~(nobody[rows, None] & nobody)
        if across:
            counted &= camera[rows, None] != camera
        yield 1 - distances[rows], counted, person[rows, None] == person, rows


def bootstrap_threshold(
    features: FeatureSet, pairs: Pairs, rate: float, *, across: bool = False, samples: int = 200, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the threshold for a false-accept rate, over persons drawn with replacement.

    Persons are drawn, not pairs: the pairs of one person are alike. ``None`` if the samples have too few pairs.

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
    features, person = _labelled(features)
    camera = encode_labels(features.camera)[0]
    persons = int(person.max(initial=-1)) + 1
    table = np.zeros((persons, int(camera.max(initial=-1)) + 1))
    np.add.at(table, (person, camera), 1)
    kept = min(len(pairs.different), max(10_000, int(20 * rate * len(pairs.different))))
    similarity, one, other = _pairs_from(pairs.different[-kept], features, person, across)
    nobody = np.zeros(persons, dtype=bool)
    nobody[person[~features.is_known]] = True
    rng = np.random.default_rng(seed)
    thresholds = []
    for _ in range(samples):
        drawn = np.bincount(rng.choice(persons, persons), minlength=persons)
        sample = drawn[:, None] * table
        count = _pairs_of_two(sample, across) - _pairs_of_two(sample[nobody], across)
        if allowed := int(rate * count):
            reached = int(np.searchsorted(np.cumsum(drawn[one] * drawn[other]), allowed + 1))
            # Twenty times as many are kept as a sample needs on average; if they are not enough, the lowest is used.
            thresholds.append(np.nextafter(similarity[min(reached, len(similarity) - 1)], np.inf))
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


def _pairs_from(
    least: float, features: FeatureSet, person: NDArray[np.int64], across: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the similarities of pairs of two persons, from ``least`` on, highest first, and their persons."""
    found = []
    for similarity, counted, match, rows in _blocks_of_pairs(features, person, across):
        i, j = np.nonzero(counted & ~match & (similarity >= least))
        found.append((similarity[i, j], person[rows][i], person[j]))
    similarity, one, other = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-similarity, kind="stable")
    return similarity[order].astype(np.float64), one[order], other[order]


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
    features, person = _labelled(features)
    distances = CosineDistance(features.features, features.features)
    camera, nobody = encode_labels(features.camera)[0], ~features.is_known
    found = missed = wrong = alarms = queries = 0
    for rows in row_blocks(distances.shape):
        similarity = 1 - distances[rows]
        numbers = np.arange(rows.start, rows.stop)
        similarity[np.arange(len(numbers)), numbers] = -np.inf
        if across:
            similarity[camera[rows, None] == camera] = -np.inf
        match = person[rows, None] == person
        own = np.where(match, similarity, -np.inf).max(axis=1)
        others = np.where(match, -np.inf, similarity).max(axis=1)
        asked = np.isfinite(own) & ~nobody[rows]
        hit, other = own[asked], others[asked]
        queries += int(asked.sum())
        found += int(((hit > other) & (hit >= threshold)).sum())
        wrong += int(((hit <= other) & (other >= threshold)).sum())
        missed += int((np.maximum(hit, other) < threshold).sum())
        alarms += int((other >= threshold).sum())
    if not queries:
        raise UserError("no labelled tracklet has another one of its person to be found; label more tracklets")
    return OpenSet(found / queries, missed / queries, wrong / queries, alarms / queries, queries)
