"""Reads the arrays of a NumPy file, and checks that they are what they should be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError, first_line
from st_reid.reading import check_file

TEXT, WHOLE, NUMBER = "U", "iu", "iuf"
_WORDS = {TEXT: "texts", WHOLE: "whole numbers", NUMBER: "numbers", "u": "uint8"}


class Array(NamedTuple):
    """What an array must be.

    Attributes:
        kinds: of NumPy's dtypes: ``TEXT``, ``WHOLE``, ``NUMBER``, or others of its letters.
        shape: the name of each axis, or its length. Axes of one name have one length.
        nan: whether a number may be NaN; none may be infinite.
    """

    kinds: str
    shape: tuple[str | int, ...] = ()
    nan: bool = False


def read_arrays(path: Path, needed: Collection[str], hint: str, optional: Collection[str] = ()) -> dict[str, NDArray]:
    """Read arrays of a ``.npz`` file; nothing in it is executed.

    Args:
        path: of the file.
        needed: names of arrays.
        hint: what to do about a wrong file, for the message.
        optional: names of arrays that it may lack.

    Raises:
        UserError: no such file, one that is damaged, or one that lacks arrays.
    """
    check_file(path, hint)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = sorted(set(needed) - set(archive.files))
            arrays = {name: archive[name] for name in (*needed, *optional) if name in archive.files}
    except Exception as error:  # a damaged archive can raise any error
        raise UserError(f"{path} cannot be read ({first_line(error)}); {hint}") from None
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; {hint}")
    return arrays


def check_arrays(arrays: Mapping[str, Any], expected: Mapping[str, Array], source: Any, hint: str) -> None:
    """Raise :class:`UserError` for an array of another type, shape or length than expected.

    Args:
        arrays: by name; others than the expected ones are not looked at, and those expected may be absent.
        expected: what each must be.
        source: where they are from, for the message.
        hint: what to do about it, for the message.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for name, form in expected.items():
        if name not in arrays:
            continue
        array = np.asarray(arrays[name])
        where = f"{source}, {name}"
        if array.dtype.kind not in form.kinds:
            words = _WORDS.get(form.kinds, form.kinds)
            raise UserError(f"{where}: {array.dtype} of shape {array.shape}; expected {words}; {hint}")
        if array.ndim != len(form.shape):
            axes = ", ".join(map(str, form.shape))
            raise UserError(f"{where}: shape {array.shape}; expected ({axes}); {hint}")
        for axis, length in zip(form.shape, array.shape, strict=True):
            wanted, of = (axis, "") if isinstance(axis, int) else lengths.setdefault(axis, (length, name))
            if length != wanted:
                raise UserError(f"{where}: {length} along {axis}; expected {wanted}{of and f', as in {of}'}; {hint}")
        _check_values(array, form, where, hint)


def _check_values(array: NDArray, form: Array, where: str, hint: str) -> None:
    if array.dtype.kind == "f":
        bad = np.isinf(array) if form.nan else ~np.isfinite(array)
        if bad.any():
            at = np.argwhere(bad)[0].tolist()
            raise UserError(f"{where}: {array[tuple(at)]} at {at}; expected finite numbers; {hint}")
    elif array.dtype.kind == "U":
        try:
            "".join(array.ravel().tolist()).encode()
        except (ValueError, SystemError):  # half of a character, or a number that is none
            raise UserError(f"{where}: texts that cannot be encoded in UTF-8; {hint}") from None
