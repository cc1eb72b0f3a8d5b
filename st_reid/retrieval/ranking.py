"""CMC, mAP and mINP of a ranking, and the ranking itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from st_reid.errors import UserError, unknown_name

AVERAGE_PRECISIONS = ("step", "trapezoid")


@dataclass(frozen=True)
class RankingResult:
    """The figures of a ranking, all from 0 to 1.

    Attributes:
        cmc: (max_rank,), the share of queries with a match among the first k, at index k - 1.
        mAP: mean average precision.
        mINP: mean inverse negative penalty (Ye et al., TPAMI 2021, eq. 2): matches over the rank of the last one.
        num_queries: queries in all.
        num_valid: queries that have a match in the gallery.
        valid: (num_valid,), their indices.
        first_rank: (num_valid,), the rank of each valid query's first match, from 1.
        ap: (num_valid,), each valid query's average precision.
        divisor: queries that CMC and mAP are means over: the valid ones, or with ``"trapezoid"`` all.
    """

    cmc: NDArray[np.float64]
    mAP: float  # noqa: N815 - the field's name for it
    mINP: float  # noqa: N815
    num_queries: int
    num_valid: int
    valid: NDArray[np.int64]
    first_rank: NDArray[np.int64]
    ap: NDArray[np.float64]
    divisor: int

    def interval(self, level: float = 0.95, samples: int = 1000) -> dict[str, tuple[float, float]]:
        """Return percentile bootstrap intervals of ``rank1`` and ``mAP`` over the queries that they are means of."""
        rng = np.random.default_rng(0)
        draws = rng.integers(self.divisor, size=(samples, self.divisor))
        tails = [50 * (1 - level), 50 * (1 + level)]

        def of(values: NDArray[np.floating]) -> tuple[float, float]:
            values = np.pad(values, (0, self.divisor - len(values)))  # a query without a match adds nothing
            low, high = np.percentile(values[draws].mean(axis=1), tails)
            return float(low), float(high)

        return {"rank1": of((self.first_rank == 1).astype(float)), "mAP": of(self.ap)}


def evaluate_rank(
    distmat: ArrayLike,
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    *,
    max_rank: int = 50,
    ap: str = "step",
) -> RankingResult:
    """Evaluate distances under the cross-camera protocol.

    A gallery item of the query's person and camera is junk: it is left out for that query. Queries without a match in
    what remains are not valid. ``ap="step"`` is torchreid's protocol (Zheng et al., ICCV 2015): means over the valid
    queries. ``ap="trapezoid"`` is ST-ReID's (Wang et al., AAAI 2019): AP by the trapezoidal rule, and CMC and mAP
    divided by all queries; its figures cannot be compared with the others'.

    Gallery items at equal distances enter the ranking together, so the gallery's order does not matter: step AP takes
    the precision at any match of such a group from the group's end (scikit-learn's definition), and everywhere else
    other persons' items of the group count as before the match. A model that maps everything to one
    point gains nothing.

    Args:
        distmat: (Q, G) distances, smaller is nearer; pass the negative of a score.
        q_pids: (Q,) persons.
        g_pids: (G,) persons.
        q_camids: (Q,) cameras; or tracklets, where only the query's own tracklet is junk.
        g_camids: (G,) cameras, or tracklets.
        max_rank: length of the CMC curve.
        ap: ``"step"`` or ``"trapezoid"``.

    Raises:
        UserError: shapes that do not go together, distances that are not numbers, no valid query, an unknown ``ap``.

    Example:
        >>> evaluate_rank([[0.1, 0.2, 0.3]], [7], [5, 7, 7], [1], [2, 2, 1]).mAP
        0.5
    """
    distances = np.asarray(distmat)
    q_pids, g_pids, q_camids, g_camids = map(np.asarray, (q_pids, g_pids, q_camids, g_camids))
    _check(distances, q_pids, g_pids, q_camids, g_camids, max_rank, ap)
    average_precision = _step_ap if ap == "step" else _trapezoid_ap
    valid, first, precisions, inverse_penalty = [], [], [], []
    for query, (row, person, camera) in enumerate(zip(distances, q_pids, q_camids, strict=True)):
        same = g_pids == person
        match = np.sort(row[same & (g_camids != camera)])
        if not match.size:
            continue
        other = np.sort(row[~same])
        others_before = np.searchsorted(other, match, side="right")
        ranks = others_before + np.arange(1, match.size + 1)
        valid.append(query)
        first.append(ranks[0])
        precisions.append(average_precision(match, others_before))
        inverse_penalty.append(match.size / ranks[-1])
    if not first:
        raise UserError("no query has a match in the gallery, junk aside; check persons and cameras, or the junk rule")
    divisor = len(first) if ap == "step" else len(q_pids)
    first_rank = np.asarray(first)
    hits = np.bincount(first_rank[first_rank <= max_rank] - 1, minlength=max_rank)
    return RankingResult(
        cmc=np.cumsum(hits) / divisor,
        mAP=float(np.sum(precisions) / divisor),
        mINP=float(np.sum(inverse_penalty) / divisor),
        num_queries=len(q_pids),
        num_valid=len(valid),
        valid=np.asarray(valid),
        first_rank=first_rank,
        ap=np.asarray(precisions),
        divisor=divisor,
    )


def _step_ap(match: NDArray, others_before: NDArray[np.int64]) -> float:
    matches_until = np.searchsorted(match, match, side="right")  # its whole group's, where distances are equal
    return float(np.mean(matches_until / (matches_until + others_before)))


def _trapezoid_ap(match: NDArray, others_before: NDArray[np.int64]) -> float:
    i = np.arange(1, match.size + 1)
    rank = others_before + i
    before = np.divide(i - 1, rank - 1, out=np.ones(match.size), where=rank > 1)
    return float(np.mean((i / rank + before) / 2))


def _check(
    distances: NDArray,
    q_pids: NDArray,
    g_pids: NDArray,
    q_camids: NDArray,
    g_camids: NDArray,
    max_rank: int,
    ap: str,
) -> None:
    expected = (len(q_pids), len(g_pids))
    if distances.shape != expected or q_camids.shape != q_pids.shape or g_camids.shape != g_pids.shape:
        raise UserError(
            f"distances are {distances.shape}, cameras {q_camids.shape} and {g_camids.shape}; "
            f"expected {expected} for {expected[0]} queries and {expected[1]} gallery items"
        )
    if not all(expected):
        raise UserError(f"{expected[0]} queries and {expected[1]} gallery items; both need at least one")
    if np.isnan(distances).any():
        raise UserError("distances hold NaN; check the features")
    if max_rank < 1:
        raise UserError(f"max_rank is {max_rank}; expected at least 1")
    if ap not in AVERAGE_PRECISIONS:
        raise unknown_name("average precision", ap, AVERAGE_PRECISIONS)


def rank_gallery(distances: NDArray, junk: NDArray[np.bool_], top: int) -> NDArray[np.int64]:
    """Return the indices of the ``top`` nearest gallery items of one query, junk left out, nearest first.

    Args:
        distances: (G,) of the query.
        junk: (G,) true for what is left out.
        top: how many at most.
    """
    kept = np.flatnonzero(~junk)
    return kept[np.argsort(distances[kept], kind="stable")[:top]]
