"""Distances between features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError


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


def cosine_distance(query: NDArray[np.floating], gallery: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return 1 - cosine similarity, (Q, G), of features (Q, D) and (G, D).

    Raises:
        UserError: as :func:`normalize`, or two widths D.
    """
    query, gallery = normalize(query), normalize(gallery)
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"query features have {query.shape[1]} dimensions, gallery features {gallery.shape[1]}; "
            "extract both with one model"
        )
    return 1 - query @ gallery.T
