"""Matrices of queries against gallery that are computed a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 2**25
"""Size of a block of rows, unless told otherwise: large enough for every core, small enough for their caches."""


@dataclass(frozen=True)
class LazyMatrix:
    """A matrix (Q, G) whose rows are computed when they are asked for, and forgotten.

    It is sliced by rows, ``matrix[10:20]`` or ``matrix[3]``, as an array is, and can be used wherever this package
    takes distances, so that 66 million of them need no 500 MB.

    Attributes:
        shape: (Q, G).
        rows: computes the rows of a slice, (n, G).
        pairs: computes the entries (n,) at row indices (n,) and column indices (n,).

    Example:
        >>> times = np.array([3.0, 5.0])
        >>> lag = LazyMatrix((2, 2), lambda r: times[r, None] - times, lambda i, j: times[i] - times[j])
        >>> lag[1]
        array([2., 0.])
    """

    shape: tuple[int, int]
    rows: Callable[[slice], NDArray[np.floating]]
    pairs: Callable[[NDArray[np.integer], NDArray[np.integer]], NDArray[np.floating]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice) -> NDArray[np.floating]:
        if isinstance(key, slice):
            return self.rows(key)
        row = range(self.shape[0])[key]  # negative ones count from the end; others raise IndexError
        return self.rows(slice(row, row + 1))[0]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray[np.floating]:
        first = self.rows(slice(0, 1)) if dtype is None else np.empty(0, dtype)
        whole = np.empty(self.shape, first.dtype)
        for rows in row_blocks(self.shape):  # all at once would hold every step between, as large as the matrix
            whole[rows] = self.rows(rows)
        return whole


Matrix = NDArray[np.floating] | LazyMatrix


def entries(matrix: Matrix, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.floating]:
    """Return the entries (n,) of a matrix at row indices (n,) and column indices (n,)."""
    return matrix.pairs(rows, columns) if isinstance(matrix, LazyMatrix) else matrix[rows, columns]


def row_blocks(shape: tuple[int, int], block_bytes: int = BLOCK_BYTES, itemsize: int = 8) -> Iterator[slice]:
    """Yield the slices that cut a matrix of this shape into blocks of rows of about ``block_bytes``, at least a row."""
    rows, columns = shape
    step = max(1, block_bytes // max(1, columns * itemsize))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
