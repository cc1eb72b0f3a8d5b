"""Whole numbers out of MATLAB files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from st_reid.errors import UserError


def load_integers(file: Path, key: str, dataset: str) -> np.ndarray:
    """Return the array ``key`` of a .mat file as int64.

    Raises:
        UserError: the file is missing, damaged, or holds no such array of numbers.
    """
    if not file.is_file():
        raise UserError(f"{dataset}: no {file}; it comes with the dataset")
    try:
        return np.asarray(loadmat(file)[key]).astype(np.int64)
    except (KeyError, TypeError, ValueError, OSError, NotImplementedError, MatReadError, zlib.error) as error:
        raise UserError(f"{dataset}: {file}: cannot read the array {key!r} ({error}); get the file again") from error
