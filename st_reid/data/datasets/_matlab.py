"""Whole numbers out of MATLAB files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from st_reid.errors import UserError


def load_integers(file: Path, key: str, dataset: str) -> np.ndarray:
    """Return the array ``key`` of a .mat file, of any version, as int64, with the shape that it has in MATLAB.

    Raises:
        UserError: the file is missing, damaged, or holds no such array of numbers, or version 7.3 without h5py.
    """
    if not file.is_file():
        raise UserError(f"{dataset}: no {file}; it comes with the dataset")
    try:
        return np.asarray(_read_hdf5(file, key) if _is_hdf5(file) else loadmat(file)[key]).astype(np.int64)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, OSError, NotImplementedError, MatReadError, zlib.error) as error:
        raise UserError(f"{dataset}: {file}: cannot read the array {key!r} ({error}); get the file again") from error


def _is_hdf5(file: Path) -> bool:
    """Whether it is version 7.3: HDF5 after a header of 512 bytes."""
    with open(file, "rb") as opened:
        start = opened.read(520)
    return b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:])


def _read_hdf5(file: Path, key: str) -> Any:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file} is MATLAB's version 7.3, which needs h5py: pip install st_reid[hdf5]") from None
    with h5py.File(file) as opened:
        return opened[key][()].T  # HDF5 has the axes of MATLAB in reverse
