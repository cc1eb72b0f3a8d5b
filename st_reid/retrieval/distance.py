"""Distances between features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from st_reid.errors import UserError
from st_reid.retrieval.matrix import LazyMatrix, Matrix, entries


def normalize(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale features (N, D) to unit length; a zero feature stays zero.

    Raises:
        UserError: not two axes, or a value that is not finite; the message names the first such row.
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2:
        raise UserError(f"features are {features.shape}; expected (N, D)")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise UserError(f"{bad.size} of {len(features)} features are not finite, row {bad[0]} first; check the model")
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def normalize_pair(
    query: NDArray[np.floating], gallery: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale the features of query (Q, D) and gallery (G, D) to unit length.

    Raises:
        UserError: as :func:`normalize`, or two widths D.
    """
    q = normalize(query)
    g = q if gallery is query else normalize(gallery)
    if q.shape[1] != g.shape[1]:
        raise UserError(
            f"query features have {q.shape[1]} dimensions, gallery features {g.shape[1]}; extract both with one model"
        )
    return q, g


class CosineDistance(LazyMatrix):
    """1 - cosine similarity, (Q, G), of features (Q, D) and (G, D), a block of rows at a time.

    Args:
        query: (Q, D) features.
        gallery: (G, D) features.
        dtype: of the product. float32 is faster; with float64 near-ties keep their order.

    Raises:
        UserError: as :func:`normalize`, or two widths D.
    """

    def __init__(
        self, query: NDArray[np.floating], gallery: NDArray[np.floating], dtype: type[np.floating] = np.float32
    ) -> None:
        q, g = normalize_pair(query, gallery)
        same = g is q  # all items against all: hold them once
        q = q.astype(dtype, copy=False)
        g = q if same else g.astype(dtype, copy=False)

        def rows(which: slice) -> NDArray[np.floating]:
            product = q[which] @ g.T
            return np.subtract(1, product, out=product)

        super().__init__((len(q), len(g)), rows, lambda i, j: 1 - np.einsum("nd,nd->n", q[i], g[j]))


def cosine_distance(query: NDArray[np.floating], gallery: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return all of :class:`CosineDistance` at once."""
    return np.asarray(CosineDistance(query, gallery), dtype=np.float32)


def other_cameras_first(distances: Matrix, q_camids: ArrayLike, g_camids: ArrayLike) -> LazyMatrix:
    """Put the gallery of a query's own camera behind all others: what a metric of cameras and times has to beat.

    Args:
        distances: (Q, G), cosine distances or others of no more than 2.
        q_camids: (Q,) cameras.
        g_camids: (G,) cameras.
    """
    cameras = np.unique(np.concatenate([np.asarray(q_camids), np.asarray(g_camids)]), return_inverse=True)[1]
    q, g = np.split(cameras, [len(np.asarray(q_camids))])
    behind = np.float32(4)
    return LazyMatrix(
        distances.shape,
        lambda rows: distances[rows] + behind * (q[rows, None] == g),
        lambda i, j: entries(distances, i, j) + behind * (q[i] == g[j]),
    )
