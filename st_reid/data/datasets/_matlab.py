"""Whole numbers out of MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from st_reid.errors import UserError, first_line
from st_reid.reading import check_file


def load_integers(file: Path, key: str, dataset: str) -> np.ndarray:
    """Return the array ``key`` of a .mat file, of any version, as int64, with the shape that it has in MATLAB.

    Raises:
        UserError: the file is missing, damaged, or holds no such array of numbers, or version 7.3 without h5py.
    """
    check_file(file, f"it comes with {dataset}")
    try:
        hdf5 = _is_hdf5(file)
        found = np.asarray(_read_hdf5(file, key) if hdf5 else loadmat(file, variable_names=[key])[key])
        whole = found.astype(np.int64)
        if found.dtype.kind not in "iuf" or not np.array_equal(whole, found):
            raise ValueError(f"{found.dtype}, or values that are no whole numbers")
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any error
        reason = first_line(error)
        raise UserError(f"{dataset}: {file}: cannot read the array {key!r} ({reason}); get the file again") from error
    return whole


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
