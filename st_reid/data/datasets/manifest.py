"""``manifest``: your own data, a folder of images and a ``manifest.csv`` with a row for each frame."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from st_reid.data.datasets.base import DATASETS
from st_reid.data.labels import check_label
from st_reid.data.tracklet import (
    CONDITIONS,
    SPLITS,
    Conditions,
    Dataset,
    Tracklet,
    conditions_of,
    read_person,
    read_splits,
    warn_of_odd_persons,
)
from st_reid.errors import UserError
from st_reid.reading import read_csv

FILE_NAME = "manifest.csv"
COLUMNS = ("split", "tracklet", "path", "person", "camera", "time")
OPTIONAL = ("clothes", *CONDITIONS)
"""Columns that a manifest may have."""


@dataclass(frozen=True)
class FrameRow:
    """One row of a manifest: a frame of a tracklet.

    Attributes:
        split: ``train``, ``query``, ``gallery``, or several joined by ``+``.
        tracklet: name of the tracklet; the same name in all its rows.
        path: image file, relative to the manifest's folder, with forward slashes.
        person: identity label; empty where it is not known.
        camera: camera label.
        time: when the frame was taken, in frames of the common clock; ``None`` where it is not known.
        clothes: label of the outfit; empty where it is not known.
        conditions: how the tracklet was filmed, as far as that is known.
    """

    split: str
    tracklet: str
    path: str
    person: str
    camera: str
    time: float | None
    clothes: str = ""
    conditions: Conditions = ()

    def __post_init__(self) -> None:
        read_splits(self.split)
        for column in ("tracklet", "path", "camera"):
            if not getattr(self, column):
                raise UserError(f"{column} is empty")
        for column in ("tracklet", "path", "person", "camera", "clothes"):
            check_label(column, getattr(self, column))

    @property
    def labels(self) -> dict[str, str]:
        """What all rows of a tracklet agree about, by the names of the columns."""
        return {name: getattr(self, name) for name in ("person", "camera", "split", "clothes")} | dict(self.conditions)


def write_rows(folder: Path, rows: Iterable[FrameRow]) -> None:
    """Write ``folder/manifest.csv``; a frame's place in its tracklet is its place in the file.

    An optional column is written if a row has a value for it.

    Raises:
        UserError: a tracklet whose rows disagree about its labels.
    """
    rows, first = list(rows), dict[str, FrameRow]()
    used = [name for name in OPTIONAL if any(row.labels.get(name) for row in rows)]
    with open(folder / FILE_NAME, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow((*COLUMNS, *used))
        for r in rows:
            _check_agreement(first.setdefault(r.tracklet, r), r, folder / FILE_NAME)
            time = "" if r.time is None else f"{r.time:.15g}"
            more = (r.labels.get(name, "") for name in used)
            writer.writerow((r.split, r.tracklet, r.path, r.person, r.camera, time, *more))
        f.flush()
        os.fsync(f.fileno())


def read_rows(folder: Path) -> Iterator[FrameRow]:
    """Yield the rows of ``folder/manifest.csv``.

    Raises:
        UserError: a missing file or column, an unknown split, a path that leaves the folder, or a time that is no
            number; the message names the line.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        raise UserError(f"manifest: no {FILE_NAME} in {folder}; pass the folder that holds it as --root")
    for line, row in read_csv(file, COLUMNS):
        try:
            yield _parse_row(row)
        except ValueError as error:
            raise UserError(f"{file}, line {line}: {error}") from None


def _parse_row(row: Mapping[str, str]) -> FrameRow:
    values = {column: row[column].strip() for column in (*COLUMNS, *OPTIONAL) if column in row}
    values["path"] = values["path"].replace("\\", "/")  # as Windows writes it
    path = PurePosixPath(values["path"])
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive:
        raise ValueError(f"path {values['path']!r} leaves the manifest's folder; paths are relative to it")
    try:
        time = float(values["time"]) if values["time"] else None
        if time is not None and not math.isfinite(time):
            raise ValueError
    except ValueError:
        raise ValueError(f"time is {values['time']!r}; expected a number of frames, or nothing") from None
    conditions = conditions_of(**{name: values[name] for name in CONDITIONS if name in values})
    split, tracklet, file, person, camera = (values[name] for name in COLUMNS[:5])
    return FrameRow(split, tracklet, file, read_person(person), camera, time, values.get("clothes", ""), conditions)


@DATASETS.register("manifest")
def read(root: Path | None) -> Dataset:
    """Read a tracklet dataset from ``root/manifest.csv``.

    Raises:
        UserError: as :func:`read_rows`, and a tracklet whose rows disagree about its person, camera, split or another
            of its labels.
    """
    if root is None:
        raise UserError("manifest: no folder given; pass the one that holds manifest.csv as --root")
    return read_folder(root, "manifest")


def read_folder(root: Path, name: str) -> Dataset:
    """Read the manifest in ``root`` as the dataset ``name``."""
    first: dict[str, FrameRow] = {}
    paths: dict[str, list[Path]] = {}
    times: dict[str, list[float | None]] = {}
    for row in read_rows(root):
        seen = first.setdefault(row.tracklet, row)
        _check_agreement(seen, row, root / FILE_NAME)
        paths.setdefault(row.tracklet, []).append(root / row.path)
        times.setdefault(row.tracklet, []).append(row.time)
    if not first:
        raise UserError(f"{root / FILE_NAME}: no rows; expected one for each frame")
    warn_of_odd_persons(root / FILE_NAME, (row.person for row in first.values()))
    splits: dict[str, list[Tracklet]] = {split: [] for split in SPLITS}
    for tracklet, row in first.items():
        each = _complete(times[tracklet])
        begin = min(each) if each else None
        labels = row.person, row.camera, begin, each, row.clothes, row.conditions
        item = Tracklet(tracklet, tuple(paths[tracklet]), *labels)
        for split in row.split.split("+"):
            splits[split].append(item)
    train, query, gallery = (tuple(splits[split]) for split in SPLITS)
    return Dataset(name, train, query, gallery)


def _complete(times: Sequence[float | None]) -> tuple[float, ...]:
    """Return the times of a tracklet's frames; frames without one follow the frame before, or precede the first one.

    Empty if no time is known.
    """
    at, first = next(((i, time) for i, time in enumerate(times) if time is not None), (0, None))
    if first is None:
        return ()
    filled = [first + i - at for i in range(at)]
    for time in times[at:]:
        filled.append(filled[-1] + 1 if time is None else time)
    return tuple(filled)


def _check_agreement(seen: FrameRow, row: FrameRow, file: Path) -> None:
    if (row.person, row.camera, row.split) == (seen.person, seen.camera, seen.split) and (
        row.clothes == seen.clothes and row.conditions == seen.conditions
    ):
        return
    before, now = seen.labels, row.labels
    names = [name for name in ("person", "camera", "split", *OPTIONAL) if before.get(name) != now.get(name)]
    first, then = (", ".join(f"{n} {labels.get(n, '')!r}" for n in names) for labels in (before, now))
    raise UserError(
        f"{file}: tracklet {row.tracklet!r} is {first} at first and {then} at {row.path!r}; give every tracklet one of "
        "each"
    )
