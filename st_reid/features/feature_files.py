"""What a file of features holds, as ``.npz`` or ``.parquet``; anything else is refused, with the column's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from st_reid.arrays import NUMBER, TEXT, WHOLE, Array, check_arrays, read_arrays
from st_reid.data.thumbnails import THUMBNAIL
from st_reid.data.tracklet import read_splits
from st_reid.errors import UserError, first_line
from st_reid.reading import Count, check_file, from_json

COLUMNS = {
    "tracklet": Array(TEXT, ("N",)),
    "person": Array(TEXT, ("N",)),
    "camera": Array(TEXT, ("N",)),
    "time": Array(NUMBER, ("N",), nan=True),
    "frames": Array(WHOLE, ("N",)),
}
"""The columns of N tracklets; a number stands for its text, where a text is expected."""
ADDED = {
    "last": Array(NUMBER, ("N",), nan=True),
    "split": Array(TEXT, ("N",)),
    "clothes": Array(TEXT, ("N",)),
    "conditions": Array(TEXT, ("N",)),  # JSON of texts by their names, or empty
}
"""Columns that files of earlier versions do not have."""
FEATURES = {"features": Array(NUMBER, ("N", "D"))}
"""In Parquet the column ``feature``, a list of D numbers in each row."""
THUMBNAILS = {"thumbnails": Array("u", ("N", "height", "width", 3))}
"""In Parquet the column ``thumbnail``, the bytes of pictures of 64 x 96 pixels."""
HINT = "is the file complete, and one of features, as python -m st_reid.extract writes them?"


class About(TypedDict, total=False):
    """The metadata of a file of features; it may have other entries."""

    fingerprint: str
    arch: str
    weights: str
    height: Count | None
    width: Count | None
    seq_len: Count | None
    sampler: str | None
    interpolation: str | None
    per_frame: bool
    dataset: str
    notes: dict[str, str]


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arguments of :class:`~st_reid.features.feature_set.FeatureSet`.

    Raises:
        UserError: a file that is missing, damaged, or holds anything else than this module says.
    """
    arrays = read_arrays(path, [*FEATURES, *COLUMNS, "about"], HINT, [*ADDED, *THUMBNAILS])
    check_arrays(arrays, {"about": Array(TEXT)}, path, HINT)
    return _checked(arrays, str(arrays.pop("about")), path)


def read_parquet(path: Path) -> dict[str, Any]:
    """Return the arguments of :class:`~st_reid.features.feature_set.FeatureSet`.

    Raises:
        UserError: as :func:`read_npz`.
    """
    from pyarrow.parquet import read_table

    check_file(path, HINT)
    try:
        with open(path, "rb") as file:  # with a path, pyarrow would also read columns out of folders' names
            table = read_table(file)
        arrays = {name: _column(table, name) for name in table.column_names if name in {**COLUMNS, **ADDED}}
        if "feature" in table.column_names:
            arrays["features"] = _vectors(table["feature"], path)
        if "thumbnail" in table.column_names:
            arrays["thumbnails"] = _pictures(table["thumbnail"])
        about = (table.schema.metadata or {}).get(b"about", b"").decode()
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any error
        raise UserError(f"{path} cannot be read ({first_line(error)}); {HINT}") from None
    missing = [*({**FEATURES, **COLUMNS}.keys() - arrays.keys()), *(() if about else ("the metadata 'about'",))]
    if missing:
        raise UserError(f"{path}: {', '.join(sorted(missing))} missing; {HINT}")
    return _checked(arrays, about, path)


def _column(table: Any, name: str) -> NDArray:
    import pyarrow as pa

    column = table[name]
    if {**COLUMNS, **ADDED}[name].kinds != TEXT:
        return column.to_numpy(zero_copy_only=False)
    if column.null_count:
        raise ValueError(f"{name} has {column.null_count} empty entries; expected a text in each")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"{name} is of type {column.type}; expected texts")
    return np.array(column.to_pylist(), np.str_)


def _vectors(column: Any, path: Path) -> NDArray:
    """Return lists of D numbers each as (N, D); lists of several lengths would be mixed up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise UserError(f"{path}, feature: of type {kind}; expected a list of numbers in each row; {HINT}")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    values = pc.list_flatten(column)
    if len(lengths) > 1 or column.null_count or values.null_count:
        some = ", ".join(map(str, sorted(n for n in lengths if n is not None)[:5]))
        raise UserError(
            f"{path}, feature: lists of {some} numbers, {column.null_count + values.null_count} of them empty; "
            f"expected as many in each row; {HINT}"
        )
    return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _pictures(column: Any) -> NDArray:
    pictures = [np.frombuffer(bytes_, np.uint8).reshape(*THUMBNAIL, 3) for bytes_ in column.to_pylist()]
    return np.stack(pictures) if pictures else np.empty((0, *THUMBNAIL, 3), np.uint8)


def _checked(arrays: dict[str, NDArray], about: str, path: Path) -> dict[str, Any]:
    for name, form in {**COLUMNS, **ADDED}.items():
        if name in arrays and form.kinds == TEXT and arrays[name].dtype.kind in WHOLE:
            arrays[name] = arrays[name].astype(np.str_)
    if arrays["features"].dtype.kind in NUMBER:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            arrays["features"] = arrays["features"].astype(np.float32, copy=False)
    check_arrays(arrays, {**FEATURES, **COLUMNS, **ADDED, **THUMBNAILS}, path, HINT)
    features = arrays["features"]
    if 0 in features.shape:
        raise UserError(f"{path}: {features.shape[0]} tracklets of {features.shape[1]} numbers; {HINT}")
    if arrays["frames"].min() < 0:
        raise UserError(f"{path}, frames: {arrays['frames'].min()}; expected numbers of frames; {HINT}")
    for split in np.unique(arrays.get("split", np.array([], np.str_))).tolist():
        try:
            read_splits(split)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    for text in np.unique(arrays.get("conditions", np.array([], np.str_))).tolist():
        if text:
            from_json(text, dict[str, str], f"{path}, conditions", HINT)
    from_json(about, About, f"{path}, about", HINT)
    return {**arrays, "about": from_json(about, dict, path, HINT)}
