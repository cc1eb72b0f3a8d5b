"""Whole numbers out of MATLAB files.

SciPy's ``loadmat`` is not used: a damaged file can end the whole process there, because it takes the type of the data
from the file without looking whether there is such a type. Only arrays of numbers are read here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from st_reid.errors import UserError, first_line
from st_reid.reading import check_file

# Of the level 5 format (MathWorks, "MAT-File Format"): types of data elements, and classes of arrays.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
NUMERIC = range(6, 16)  # double, single, and whole numbers of 8 to 64 bits; texts, cells and structures are others
HEADER = 128  # bytes; the last two say the order of bytes
MAX_BYTES = 2**30  # of a variable that is stored compressed


def load_integers(file: Path, key: str, dataset: str) -> np.ndarray:
    """Return the array ``key`` of a .mat file of version 5 to 7.3 as int64, with the shape that it has in MATLAB.

    Raises:
        UserError: the file is missing, damaged, or holds no such array of numbers, or version 7.3 without h5py.
    """
    check_file(file, f"it comes with {dataset}")
    try:
        found = np.asarray(_read_hdf5(file, key) if _is_hdf5(file) else _read_level5(file.read_bytes(), key))
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


def _read_level5(content: bytes, key: str) -> np.ndarray:
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("no MATLAB file of version 5 or later")
    names = []
    for kind, data in _elements(content[HEADER:], order):
        if kind == COMPRESSED:
            kind, data = next(_elements(zlib.decompressobj().decompress(data, MAX_BYTES), order))
        if kind != MATRIX:
            continue
        (_, flags), (_, shape), (_, name), *values = _elements(data, order)
        names.append(name.decode("ascii", "replace"))
        if names[-1] == key:
            is_numeric = struct.unpack_from(f"{order}I", flags)[0] & 0xFF in NUMERIC
            if not is_numeric or len(values) != 1 or values[0][0] not in NUMBERS:
                raise ValueError("it is no array of real numbers")
            numbers = np.frombuffer(values[0][1], order + NUMBERS[values[0][0]])
            return numbers.reshape(np.frombuffer(shape, f"{order}i4"), order="F")
    raise ValueError(f"the file has {', '.join(names) or 'no arrays'}")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the data of each element; a short one has its size beside its type, in four bytes."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            after = start + size if kind == COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(content):
            raise ValueError("it is cut short")
        yield kind, content[start : start + size]
        place = after
