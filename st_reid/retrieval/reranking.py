"""k-reciprocal re-ranking with sparse sets: nothing grows with the square of the number of items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from st_reid.errors import UserError
from st_reid.retrieval.distance import normalize_pair
from st_reid.retrieval.matrix import BLOCK_BYTES, LazyMatrix, Matrix, entries, row_blocks

ROUNDING = 1e-4
"""How far below zero a distance may be because of rounding."""
PUBLISHED = (20, 6)
"""k1 and k2 of Zhong et al. (CVPR 2017), for galleries with some 17 items a person."""


def choose_neighbours(persons: NDArray | None, items: int, k1: int | None = None) -> tuple[int, int]:
    """Return k1 and k2 for a gallery, as large as its persons' items allow, and at most the published ones.

    A set of k-reciprocal neighbours helps while it holds items of one person. With more neighbours than a person has
    items it is mostly of others, and re-ranking then lowers rank-1: k1 is 1.5 times the items of the median person.

    Args:
        persons: (G,) labels of the gallery's items; ``None`` where they are not known: then k1 is the root of the
            gallery's size.
        items: query and gallery together, of which k1 must be fewer.
        k1: if it is given, only k2 is chosen, for it.
    """
    if k1 is None:
        if persons is None:
            wanted = round(np.sqrt(items))
        else:
            wanted = round(1.5 * float(np.median(np.unique(persons, return_counts=True)[1])))
        k1 = int(np.clip(wanted, 2, min(PUBLISHED[0], max(items - 1, 1))))
    return k1, max(1, round(0.3 * k1))


def rerank(
    query_features: NDArray[np.floating],
    gallery_features: NDArray[np.floating],
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    block_bytes: int = BLOCK_BYTES,
) -> NDArray[np.float32]:
    """Re-rank by k-reciprocal neighbours of the features, scaled to unit length.

    Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.

    Args:
        query_features: (Q, D).
        gallery_features: (G, D).
        k1: neighbours of an item that may be reciprocal, beside itself.
        k2: neighbours over which an item's set is averaged; 1 for none.
        lambda_value: weight of the original distance against the Jaccard distance, 0 to 1.
        block_bytes: about how much of the first distances is held at a time.

    Returns:
        (Q, G) distances.

    Raises:
        UserError: features that are not finite or differ in width, an empty query or gallery, fewer than k1 + 1 items,
            or constants out of range.
    """
    query, gallery = normalize_pair(query_features, gallery_features)
    items = np.concatenate([query, gallery])
    length = np.square(items).sum(axis=1)  # 1, or 0 of a zero feature

    def rows(which: slice) -> NDArray[np.float32]:
        product = items[which] @ items.T
        product *= -2
        product += length
        product += length[which, None]
        return np.maximum(product, 0, out=product)

    def pairs(i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.float32]:
        return np.maximum(length[i] + length[j] - 2 * np.einsum("nd,nd->n", items[i], items[j]), 0)

    squared = LazyMatrix((len(items), len(items)), rows, pairs)
    return _rerank_squared(squared, len(query), k1, k2, lambda_value, block_bytes)


def rerank_distances(
    distances: Matrix,
    num_query: int,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    block_bytes: int = BLOCK_BYTES,
) -> NDArray[np.float32]:
    """Re-rank by given distances, such as those of the joint metric; they are squared first, as published.

    Args:
        distances: (Q + G, Q + G), not negative, symmetric except for ties: an array, or a lazy matrix, which is
            read once.
        num_query: Q; the queries come first.
        k1: see :func:`rerank`.
        k2: see :func:`rerank`.
        lambda_value: see :func:`rerank`.
        block_bytes: see :func:`rerank`.

    Returns:
        (Q, G) distances.

    Raises:
        UserError: as :func:`rerank`, or distances that are not square or are negative.
    """
    if len(distances.shape) != 2 or distances.shape[0] != distances.shape[1]:
        raise UserError(f"distances are {tuple(distances.shape)}; re-ranking needs all items' to all, queries first")

    def square(rows: slice) -> NDArray[np.floating]:
        block = distances[rows]
        if block.min() < -ROUNDING:
            raise UserError("distances are negative; re-ranking squares them: pass 1 - the score rather than -score")
        return np.square(block)

    squared = LazyMatrix(distances.shape, square, lambda i, j: np.square(entries(distances, i, j)))
    return _rerank_squared(squared, num_query, k1, k2, lambda_value, block_bytes)


def _rerank_squared(
    squared: LazyMatrix, num_query: int, k1: int, k2: int, lambda_value: float, block_bytes: int
) -> NDArray[np.float32]:
    items = squared.shape[0]
    check_constants(items, num_query, k1, k2, lambda_value)
    neighbours, farthest, final = _nearest(squared, num_query, k1 + 1, block_bytes)
    within_k1 = _reciprocal(neighbours)
    within_half = _reciprocal(neighbours[:, : round(k1 / 2) + 1])
    weights = _gaussian(_expand(within_k1, within_half), squared, farthest, block_bytes)
    if k2 > 1:
        weights = _binary(neighbours[:, :k2]) @ weights / k2  # local query expansion, eq. 11
    final *= lambda_value
    _add_jaccard(final, weights[:num_query], weights[num_query:].tocsc(), 1 - lambda_value)
    return final


def check_constants(items: int, num_query: int, k1: int, k2: int, lambda_value: float) -> None:
    """Raise :class:`UserError` for constants that do not fit the number of queries and items."""
    if not 0 < num_query < items:
        raise UserError(f"{num_query} queries and {items - num_query} gallery items; re-ranking needs both")
    if k1 < 1 or k1 >= items:
        raise UserError(f"k1 is {k1}; expected 1 up to {items - 1}, as there are {items} items in query and gallery")
    if not 1 <= k2 <= k1 + 1:
        raise UserError(f"k2 is {k2}; expected 1 up to k1 + 1, {k1 + 1}")
    if not 0 <= lambda_value <= 1:
        raise UserError(f"lambda_value is {lambda_value}; expected 0 to 1")


def _nearest(
    squared: LazyMatrix, num_query: int, count: int, block_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.floating], NDArray[np.float32]]:
    """Return the nearest items (N, count) and the greatest distance (N,) of each; the queries' to the gallery (Q, G).

    The last are divided by the greatest, as all distances are from here on.
    """
    items = squared.shape[0]
    neighbours = np.empty((items, count), dtype=np.int64)
    farthest = np.empty(items)
    first = np.empty((num_query, items - num_query), dtype=np.float32)
    for rows in row_blocks(squared.shape, block_bytes, itemsize=4):
        block = squared[rows]
        greatest = block.max(axis=1)
        if not np.isfinite(greatest).all():
            raise UserError("distances hold values that are not finite; check the features")
        farthest[rows] = np.where(greatest > 0, greatest, 1)  # all items are one point: all distances are 0
        neighbours[rows] = torch.from_numpy(block).topk(count, dim=1, largest=False).indices.numpy()
        end = min(rows.stop, num_query)
        if rows.start < end:
            np.divide(
                block[: end - rows.start, num_query:],
                farthest[rows.start : end, None],
                out=first[rows.start : end],
                casting="same_kind",
            )
    return neighbours, farthest, first


def _binary(neighbours: NDArray[np.int64]) -> sparse.csr_array:
    """Return the sets (N, k) of items as a matrix of zeros and ones (N, N)."""
    items, k = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.float32)
    return sparse.csr_array((ones, neighbours.ravel(), np.arange(items + 1) * k), shape=(items, items))


def _reciprocal(neighbours: NDArray[np.int64]) -> sparse.csr_array:
    """Return which items are neighbours of each other (eq. 2)."""
    forward = _binary(neighbours)
    return forward.multiply(forward.T).tocsr()


def _expand(sets: sparse.csr_array, half: sparse.csr_array) -> sparse.csr_array:
    """Add to a set the half-sized sets of its members of which more than two thirds lie in it (eq. 3)."""
    shared = (sets @ half).multiply(sets).tocoo()  # half is symmetric
    size = half.sum(axis=1)
    takes = shared.data > 2 / 3 * size[shared.col]
    chosen = sparse.csr_array(
        (np.ones(takes.sum(), dtype=np.float32), (shared.row[takes], shared.col[takes])), shape=sets.shape
    )
    return (sets + chosen @ half).tocsr()


def _gaussian(
    sets: sparse.csr_array, squared: LazyMatrix, farthest: NDArray[np.floating], block_bytes: int
) -> sparse.csr_array:
    """Weigh the members of a set by exp(-distance), to a sum of 1 (eq. 7)."""
    members = sets.tocoo()
    weight = np.empty(members.nnz, dtype=np.float32)
    step = max(1, block_bytes // 2**13)  # a pair costs two features of about a thousand numbers
    for start in range(0, members.nnz, step):
        part = slice(start, start + step)
        row, column = members.row[part], members.col[part]
        weight[part] = np.exp(-squared.pairs(row, column) / farthest[row])
    weights = sparse.csr_array((weight, (members.row, members.col)), shape=sets.shape)
    total = np.asarray(weights.sum(axis=1))
    return sparse.diags_array(1 / np.maximum(total, np.finfo(np.float32).tiny)).astype(np.float32) @ weights


def _add_jaccard(final: NDArray[np.float32], query: sparse.csr_array, gallery: sparse.csc_array, share: float) -> None:
    """Add ``share`` of the Jaccard distance of the weighted sets (eq. 10) to ``final`` (Q, G)."""
    starts, lengths = gallery.indptr[:-1], np.diff(gallery.indptr)
    for i, row in enumerate(final):
        members = slice(query.indptr[i], query.indptr[i + 1])
        columns = query.indices[members]
        length = lengths[columns]
        # The gallery's entries in all of these columns, one after the other.
        before = np.cumsum(length) - length
        which = np.repeat(starts[columns] - before, length) + np.arange(length.sum())
        least = np.minimum(gallery.data[which], np.repeat(query.data[members], length))
        shared = np.bincount(gallery.indices[which], least, minlength=len(row))
        row += share * (1 - shared / (2 - shared))
