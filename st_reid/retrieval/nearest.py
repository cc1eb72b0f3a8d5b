"""The nearest items of a gallery: exactly, by blocks, or through an index of approximate neighbours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError
from st_reid.files import written_whole
from st_reid.retrieval.distance import normalize
from st_reid.retrieval.matrix import Matrix, row_blocks

LINKS = 32  # of a node of the index: more are more exact and need more memory
DEPTH = 200  # how many candidate nodes are kept, when building and when searching


def nearest(
    distances: Matrix, k: int, excluded: Callable[[slice], NDArray[np.bool_]] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` nearest items of every query, exactly.

    Args:
        distances: (Q, G), an array or computed a block of rows at a time.
        k: how many.
        excluded: says which items do not count, (n, G), for the queries of a slice.

    Returns:
        Indices (Q, k) and distances (Q, k), nearest first, equal ones in the gallery's order; -1 and infinity where
        there are fewer.
    """
    count, items = distances.shape
    found = np.full((count, k), -1)
    values = np.full((count, k), np.inf)
    kept = min(k, items)
    for rows in row_blocks(distances.shape):
        block = np.asarray(distances[rows], dtype=np.float64)
        if excluded is not None:
            block = np.where(excluded(rows), np.inf, block)
        if kept == 0:
            continue
        bound = np.partition(block, kept - 1, axis=1)[:, kept - 1]
        for row, (line, limit) in enumerate(zip(block, bound, strict=True), rows.start):
            near = np.flatnonzero(line <= limit) if np.isfinite(limit) else np.flatnonzero(np.isfinite(line))
            near = near[np.argsort(line[near], kind="stable")][:kept]
            found[row, : len(near)], values[row, : len(near)] = near, line[near]
    return found, values


class Index:
    """Approximate nearest neighbours by cosine: a navigable graph (Malkov and Yashunin, 2018), from faiss.

    Args:
        graph: faiss's.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    @classmethod
    def build(cls, features: NDArray[np.float32]) -> Index:
        """Build an index of features (N, D).

        Raises:
            UserError: faiss is not installed.
        """
        faiss = _faiss()
        graph = faiss.IndexHNSWFlat(features.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = DEPTH
        graph.add(normalize(features))
        return cls(graph)

    def search(self, features: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return as :func:`nearest` does, by 1 - cosine, of query features (Q, D); some near ones may be missing."""
        self._graph.hnsw.efSearch = max(DEPTH, k)
        similarity, found = self._graph.search(normalize(features), k)
        return found.astype(np.int64), np.where(found < 0, np.inf, 1 - similarity.astype(np.float64))

    def __len__(self) -> int:
        return int(self._graph.ntotal)

    def save(self, path: Path, digest: bytes) -> None:
        """Write the index, and the digest of the features it is of, whole or not at all."""
        with written_whole(path) as file:
            file.write(digest + _faiss().serialize_index(self._graph).tobytes())

    @classmethod
    def load(cls, path: Path, digest: bytes) -> Index | None:
        """Read what :meth:`save` wrote; ``None`` where it is of other features.

        Raises:
            UserError: a file that is not an index, or faiss is not installed.
        """
        faiss = _faiss()
        try:
            with open(path, "rb") as file:
                if file.read(len(digest)) != digest:
                    return None
                return cls(faiss.deserialize_index(np.fromfile(file, np.uint8)))
        except (RuntimeError, OSError) as error:
            raise UserError(f"index {path} cannot be read; remove it, and it is built again") from error


def _faiss() -> Any:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it logs every processor type that is not used
    try:
        import faiss
    except ImportError:
        raise UserError("an index needs faiss: pip install st_reid[index], or search without --index") from None
    return faiss
