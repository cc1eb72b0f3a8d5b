"""Distances between features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from st_reid.errors import UserError
from st_reid.retrieval.matrix import LazyMatrix, Matrix, entries
from st_reid.retrieval.ranking import encode_labels


def normalize(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale features (N, D) to unit length; a zero feature stays zero.

    Raises:
        UserError: not two axes, or a value that is not finite; the message names the first such row.
    """
    features = np.asarray(features, dtype=np.float32)
    return features / _lengths(features)[:, None]


def _lengths(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths (N,) of features (N, D), a tiny one for zero, in one pass over them; raise as normalize."""
    if features.ndim != 2:
        raise UserError(f"features are {features.shape}; expected (N, D)")
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features))
    suspects = np.flatnonzero(~np.isfinite(lengths))  # or so long that their squares overflow
    bad = suspects[~np.isfinite(features[suspects]).all(axis=1)]
    if bad.size:
        raise UserError(f"{bad.size} of {len(features)} features are not finite, row {bad[0]} first; check the model")
    lengths[suspects] = np.linalg.norm(features[suspects].astype(np.float64), axis=1)
    return np.maximum(lengths, np.finfo(np.float32).tiny)


def normalize_pair(
    query: NDArray[np.floating], gallery: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale the features of query (Q, D) and gallery (G, D) to unit length.

    Raises:
        UserError: as :func:`normalize`, or two widths D.
    """
    q = normalize(query)
    g = q if gallery is query else normalize(gallery)
    _check_widths(q, g)
    return q, g


def _check_widths(query: NDArray[np.floating], gallery: NDArray[np.floating]) -> None:
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"query features have {query.shape[1]} dimensions, gallery features {gallery.shape[1]}; "
            "extract both with one model"
        )


class CosineDistance(LazyMatrix):
    """1 - cosine similarity, (Q, G), of features (Q, D) and (G, D), a block of rows at a time.

    Args:
        query: (Q, D) features.
        gallery: (G, D) features. They are not copied: millions of them may be searched for one query.
        dtype: of the product. float32 is faster; with float64 near-ties keep their order.

    Raises:
        UserError: as :func:`normalize`, or two widths D.
    """

    def __init__(
        self, query: NDArray[np.floating], gallery: NDArray[np.floating], dtype: type[np.floating] = np.float32
    ) -> None:
        q = normalize(query).astype(dtype, copy=False)
        if gallery is query:  # all items against all: hold them once
            g, lengths = q, None
        else:
            g = np.asarray(gallery, dtype=np.float32)
            lengths = _lengths(g).astype(dtype)
            g = g.astype(dtype, copy=False)
        _check_widths(q, g)

        def rows(which: slice) -> NDArray[np.floating]:
            product = q[which] @ g.T
            if lengths is not None:
                product /= lengths
            return np.subtract(1, product, out=product)

        def pairs(i: NDArray[np.integer], j: NDArray[np.integer]) -> NDArray[np.floating]:
            product = np.einsum("nd,nd->n", q[i], g[j])
            return 1 - (product if lengths is None else product / lengths[j])

        super().__init__((len(q), len(g)), rows, pairs)


def cosine_distance(query: NDArray[np.floating], gallery: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return all of :class:`CosineDistance` at once."""
    return np.asarray(CosineDistance(query, gallery), dtype=np.float32)


def other_cameras_first(distances: Matrix, q_camids: ArrayLike, g_camids: ArrayLike) -> LazyMatrix:
    """Rank the gallery of a query's own camera after all others: the baseline for a metric of cameras and times.

    Args:
        distances: (Q, G), cosine distances or others of no more than 2.
        q_camids: (Q,) cameras.
        g_camids: (G,) cameras.
    """
    q, g = encode_labels(np.asarray(q_camids), np.asarray(g_camids))
    behind = np.float32(4)
    return LazyMatrix(
        distances.shape,
        lambda rows: distances[rows] + behind * (q[rows, None] == g),
        lambda i, j: entries(distances, i, j) + behind * (q[i] == g[j]),
    )
