"""Features averaged with their nearest neighbours: query expansion and database augmentation.

Chum et al., Total Recall, ICCV 2007 (average query expansion); Arandjelovic and Zisserman, Three things everyone should
know to improve object retrieval, CVPR 2012 (database-side feature augmentation).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError
from st_reid.retrieval.distance import CosineDistance, normalize, normalize_pair
from st_reid.retrieval.nearest import nearest


def expand_queries(
    query: NDArray[np.floating],
    gallery: NDArray[np.floating],
    k: int = 1,
    excluded: Callable[[slice], NDArray[np.bool_]] | None = None,
) -> NDArray[np.float32]:
    """Replace every query by the mean of itself and its ``k`` nearest gallery items, all of unit length.

    Args:
        query: features (Q, D).
        gallery: features (G, D).
        k: neighbours; 0 leaves the queries, at unit length.
        excluded: says which items do not count, (n, G), for the queries of a slice: a query that is in the gallery
            would be its own nearest item.

    Returns:
        (Q, D), of unit length.

    Raises:
        UserError: a negative ``k``, or features of different widths.
    """
    if k < 0:
        raise UserError(f"k is {k}; expected 0 or more neighbours")
    unit_query, unit_gallery = normalize_pair(query, gallery)
    if k == 0 or not len(unit_gallery):
        return unit_query
    found, _ = nearest(CosineDistance(unit_query, unit_gallery), k, excluded)
    neighbours = np.where((found >= 0)[..., None], unit_gallery[found], 0)  # (Q, k, D); fewer may be there
    return normalize(unit_query + neighbours.sum(axis=1))


def augment_gallery(gallery: NDArray[np.floating], k: int = 1) -> NDArray[np.float32]:
    """Replace every gallery item by the mean of itself and its ``k`` nearest others, all of unit length.

    Args:
        gallery: features (G, D).
        k: neighbours; 0 leaves the gallery, at unit length.

    Returns:
        (G, D), of unit length.

    Raises:
        UserError: a negative ``k``.
    """
    numbers = np.arange(len(gallery))
    return expand_queries(gallery, gallery, k, lambda rows: numbers[rows, None] == numbers)
