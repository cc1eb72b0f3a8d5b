"""CMC, mAP and mINP of a ranking, and the ranking itself.

A gallery item of the query's person and camera is junk: it is left out for that query; so are others of that person
under another protocol than the standard one (:mod:`~st_reid.retrieval.protocols`). Queries without a match in what
remains are not valid. ``ap="step"`` is torchreid's protocol (Zheng et al., ICCV 2015): means over the valid queries.
``ap="trapezoid"`` is ST-ReID's (Wang et al., AAAI 2019): AP by the trapezoidal rule, and CMC and mAP divided by all
queries; its figures cannot be compared with the others'.

Gallery items at equal distances enter the ranking together, so the gallery's order does not matter: step AP takes the
precision at any match of such a group from the group's end (scikit-learn's definition), and everywhere else other
persons' items of the group count as before the match. A model that maps everything to one point gains nothing.

Distances are sorted without their indices, which is several times as fast as ranking the gallery: a match's rank is the
number of distances up to its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from st_reid.errors import UserError, unknown_name
from st_reid.retrieval.bootstrap import mean_interval
from st_reid.retrieval.matrix import BLOCK_BYTES, LazyMatrix, row_blocks
from st_reid.retrieval.protocols import PROTOCOLS, matches

AVERAGE_PRECISIONS = ("step", "trapezoid")

NO_MATCH = "no query has a match in the gallery, junk aside; check persons and cameras, or the junk rule"


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
        persons: (num_queries,), the person of each query.
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
    persons: NDArray

    def interval(self) -> dict[str, tuple[float, float] | None]:
        """Return 95 % intervals of ``rank1`` and ``mAP``, see :func:`~st_reid.retrieval.bootstrap.mean_interval`."""
        return {
            "rank1": self.interval_of((self.first_rank == 1).astype(float)),
            "mAP": self.interval_of(self.ap),
        }

    def interval_of(self, values: NDArray[np.floating]) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean of some ``values`` (num_valid,), over the same queries as mAP's."""
        if self.divisor == self.num_valid:
            return mean_interval(values, self.persons[self.valid])
        every = np.zeros(self.num_queries)
        every[self.valid] = values  # a query without a match adds nothing
        return mean_interval(every, self.persons)


def evaluate_rank(
    distmat: ArrayLike | LazyMatrix | Tensor,
    q_pids: ArrayLike,
    g_pids: ArrayLike,
    q_camids: ArrayLike,
    g_camids: ArrayLike,
    *,
    max_rank: int = 50,
    ap: str = "step",
    protocol: str = "standard",
    q_clothes: ArrayLike | None = None,
    g_clothes: ArrayLike | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> RankingResult:
    """Evaluate distances under a cross-camera protocol; the module says how ties and junk count.

    Args:
        distmat: (Q, G) distances, smaller is nearer; pass the negative of a score. A tensor on a GPU is ranked there.
        q_pids: (Q,) persons.
        g_pids: (G,) persons.
        q_camids: (Q,) cameras; or tracklets, where only the query's own tracklet is junk.
        g_camids: (G,) cameras, or tracklets.
        max_rank: length of the CMC curve.
        ap: ``"step"`` or ``"trapezoid"``.
        protocol: one of ``PROTOCOLS``. With ``"clothes_changing"`` the query's person in the query's clothes is junk
            too, with ``"same_clothes"`` the query's person in other clothes; and so on for locations and scales.
        q_clothes: (Q,) the labels that the protocol compares: clothes, locations or scales; not for ``"standard"``.
        g_clothes: (G,) the same.
        block_bytes: about how much of the distances is held at a time; the ranking needs about as much again.

    Raises:
        UserError: shapes that do not go together, distances that are not numbers, no valid query, an unknown ``ap`` or
            ``protocol``, or no clothes for it.

    Example:
        >>> evaluate_rank([[0.1, 0.2, 0.3]], [7], [5, 7, 7], [1], [2, 2, 1]).mAP
        0.5
    """
    distances = distmat if isinstance(distmat, LazyMatrix | Tensor) else np.asarray(distmat)
    q_pids, g_pids, q_camids, g_camids = map(np.asarray, (q_pids, g_pids, q_camids, g_camids))
    _check(tuple(distances.shape), q_pids, g_pids, q_camids, g_camids, max_rank, ap, protocol)
    device = distances.device if isinstance(distances, Tensor) else "cpu"
    compared = _compared(protocol, q_clothes, g_clothes, (len(q_pids), len(g_pids)))
    (q_persons, g_persons), (q_views, g_views), (q_labels, g_labels) = (
        [torch.as_tensor(labels, device=device) for labels in encode_labels(*pair)]
        for pair in ((q_pids, g_pids), (q_camids, g_camids), compared)
    )
    persons = _Persons(g_persons)
    found = []
    for rows in row_blocks(tuple(distances.shape), block_bytes):
        block = _block(distances, rows)
        own, is_own = persons.of(q_persons[rows])
        views, labels = (q_views[rows, None], g_views[own]), (q_labels[rows, None], g_labels[own])
        is_match = is_own & matches(PROTOCOLS[protocol], views, labels)
        if is_match.any():
            found.append(_rank_block(block, rows.start, own, is_own, is_match, ap))
    if not found:
        raise UserError(NO_MATCH)
    valid, first_rank, precision, penalty = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    divisor = len(first_rank) if ap == "step" else len(q_pids)
    return RankingResult(
        cmc=np.cumsum(np.bincount(first_rank[first_rank <= max_rank] - 1, minlength=max_rank)) / divisor,
        mAP=float(precision.sum() / divisor),
        mINP=float(penalty.sum() / divisor),
        num_queries=len(q_pids),
        num_valid=len(valid),
        valid=valid,
        first_rank=first_rank,
        ap=precision,
        divisor=divisor,
        persons=q_pids,
    )


def _rank_block(
    block: Tensor, start: int, own: Tensor, is_own: Tensor, is_match: Tensor, ap: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the queries of a block that have a match, and of each its first rank, AP and inverse penalty.

    Args:
        block: (n, G) distances.
        start: number of its first query.
        own: (n, k) gallery items of each query's person, padded.
        is_own: (n, k) which of these are no padding.
        is_match: (n, k) which of these are no junk either.
        ap: ``"step"`` or ``"trapezoid"``.
    """
    matches = is_match.sum(dim=1)
    has_match = matches.nonzero()[:, 0]
    d_own = block.gather(1, own)
    match = d_own.masked_fill(~is_match, torch.inf).sort(dim=1).values[:, : int(matches.max())].contiguous()
    d_own = d_own.masked_fill(~is_own, torch.inf)
    others = _count_up_to(match, _sorted(block))
    others -= _count_up_to(match, _sorted(d_own)).minimum(is_own.sum(dim=1)[:, None])
    is_real = torch.arange(match.shape[1], device=block.device) < matches[:, None]
    ranks = others + torch.arange(1, match.shape[1] + 1, device=block.device)
    average_precision = _step_ap if ap == "step" else _trapezoid_ap
    precision = average_precision(match, matches, others).masked_fill(~is_real, 0).sum(dim=1) / matches
    penalty = matches / ranks.gather(1, (matches - 1).clamp(min=0)[:, None])[:, 0]
    return has_match + start, ranks[has_match, 0], precision[has_match], penalty[has_match]


def encode_labels(*labels: NDArray) -> list[NDArray[np.int64]]:
    """Replace labels of any type by numbers, the same label in all arrays by the same number."""
    inverse = np.unique(np.concatenate(labels), return_inverse=True)[1]
    return np.split(inverse, np.cumsum([len(part) for part in labels])[:-1])


def _block(distances: NDArray | LazyMatrix | Tensor, rows: slice) -> Tensor:
    block = distances[rows]
    if isinstance(block, Tensor):
        block = block.detach()
    else:
        block = torch.from_numpy(np.require(block, requirements=["C", "W"]))  # a file's, mapped, may be read only
    if block.dtype not in (torch.float32, torch.float64):
        block = block.double()
    if block.amax().isnan():  # which the greatest is where there is any
        raise UserError("distances hold NaN; check the features")
    return block.contiguous()


class _Persons:
    """The gallery items of each person, found without a comparison with every item."""

    def __init__(self, persons: Tensor) -> None:
        self.sorted, self.order = persons.sort(stable=True)

    def of(self, persons: Tensor) -> tuple[Tensor, Tensor]:
        """Return indices of the gallery (n, S) for each of ``persons`` (n,), and which of them are not padding."""
        start = torch.searchsorted(self.sorted, persons)
        count = torch.searchsorted(self.sorted, persons, right=True) - start
        i = torch.arange(max(int(count.max()), 1), device=persons.device)
        place = (start[:, None] + i).clamp(max=len(self.sorted) - 1)
        return self.order[place], i < count[:, None]


def _sorted(distances: Tensor) -> Tensor:
    """Return distances (n, G) with each row in ascending order."""
    if distances.device.type != "cpu":
        return distances.sort(dim=1).values
    return torch.from_numpy(np.sort(distances.numpy(), axis=1))  # several times as fast as PyTorch's


def _count_up_to(match: Tensor, ascending: Tensor) -> Tensor:
    """Count in each row of ``ascending`` distances (n, G) those up to each of ``match`` (n, M): (n, M)."""
    return torch.searchsorted(ascending, match, right=True)


def _step_ap(match: Tensor, matches: Tensor, others: Tensor) -> Tensor:
    """Return the precision at each match (n, M), padded after ``matches`` (n,), from the others up to it (n, M)."""
    until = torch.searchsorted(match, match, right=True)  # its whole group's, where distances are equal
    until = torch.minimum(until, matches[:, None])
    return until.double() / (until + others)


def _trapezoid_ap(match: Tensor, matches: Tensor, others: Tensor) -> Tensor:
    i = torch.arange(1, match.shape[1] + 1, device=match.device, dtype=torch.float64)
    rank = others + i
    before = torch.where(rank > 1, (i - 1) / (rank - 1).clamp(min=1), 1.0)
    return (i / rank + before) / 2


def _check(
    shape: tuple[int, ...],
    q_pids: NDArray,
    g_pids: NDArray,
    q_camids: NDArray,
    g_camids: NDArray,
    max_rank: int,
    ap: str,
    protocol: str,
) -> None:
    expected = (len(q_pids), len(g_pids))
    if shape != expected or q_camids.shape != q_pids.shape or g_camids.shape != g_pids.shape:
        raise UserError(
            f"distances are {shape}, cameras {q_camids.shape} and {g_camids.shape}; "
            f"expected {expected} for {expected[0]} queries and {expected[1]} gallery items"
        )
    if not all(expected):
        raise UserError(f"{expected[0]} queries and {expected[1]} gallery items; both need at least one")
    if max_rank < 1:
        raise UserError(f"max_rank is {max_rank}; expected at least 1")
    if ap not in AVERAGE_PRECISIONS:
        raise unknown_name("average precision", ap, AVERAGE_PRECISIONS)
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)


def _compared(
    protocol: str, q_labels: ArrayLike | None, g_labels: ArrayLike | None, shape: tuple[int, int]
) -> tuple[NDArray, NDArray]:
    """Return the labels that a protocol compares; anything where it compares none."""
    label = PROTOCOLS[protocol].label
    if not label:
        return np.zeros(shape[0]), np.zeros(shape[1])
    if q_labels is None or g_labels is None:
        raise UserError(f"protocol {protocol} compares the {label} of query and gallery; pass q_clothes and g_clothes")
    query, gallery = np.asarray(q_labels), np.asarray(g_labels)
    if (query.shape, gallery.shape) != ((shape[0],), (shape[1],)):
        raise UserError(f"{label}: {query.shape} and {gallery.shape}; expected ({shape[0]},) and ({shape[1]},)")
    return query, gallery


def rank_gallery(distances: NDArray, junk: NDArray[np.bool_], top: int) -> NDArray[np.int64]:
    """Return the indices of the ``top`` nearest gallery items of one query, junk left out, nearest first.

    Args:
        distances: (G,) of the query.
        junk: (G,) true for what is left out.
        top: how many at most.
    """
    kept = np.flatnonzero(~junk)
    return kept[np.argsort(distances[kept], kind="stable")[:top]]
