"""The names of the readers, and how they find a dataset's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from st_reid.data.files import images_of
from st_reid.data.tracklet import Dataset
from st_reid.errors import UserError
from st_reid.reading import read_text
from st_reid.registry import Registry

logger = logging.getLogger(__name__)
DATASETS: Registry[Callable[..., Dataset]] = Registry("dataset")
"""Readers of all datasets, by name."""


def find_folder(root: Path | None, names: Sequence[str], holds: Sequence[str], dataset: str) -> Path:
    """Return the first of ``root`` and ``root/name`` for each name that contains every entry of ``holds``.

    An entry is a path or a pattern, such as ``*.png``.

    Raises:
        UserError: there is no such folder (the message lists the folders that were tried), or ``root`` is ``None``.
    """
    if root is None:
        raise UserError(f"{dataset}: no folder given; pass the one that holds {names[0]} as --root")
    candidates = [root / name for name in names] + [root]
    for folder in candidates:
        if all(any(folder.glob(entry)) for entry in holds):
            return folder
    looked = ", ".join(str(c) for c in candidates)
    raise UserError(f"{dataset}: no folder with {' and '.join(holds)}; looked at {looked}; pass its parent as --root")


def warn_of_strange_names(dataset: str, strange: Sequence[Path], expected: str) -> None:
    """Warn how many files a reader left out because of their names, with examples and the expected form."""
    if strange:
        examples = ", ".join(str(path) for path in strange[:3])
        logger.warning(
            f"{dataset}: {len(strange)} images are left out for their names, {examples}; expected {expected}"
        )


def read_list(file: Path, columns: int, dataset: str) -> list[list[str]]:
    """Return the lines of a list, each cut at blanks into ``columns`` parts; only the first may have blanks in it.

    Raises:
        UserError: there is no such file, or a line of another form.
    """
    if not file.is_file():
        raise UserError(f"{dataset}: no {file}; it comes with the dataset")
    rows = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        row = line.rsplit(maxsplit=columns - 1)
        if len(row) != columns:
            raise UserError(f"{file}, line {number}: {line.strip()!r}; expected {columns} columns")
        rows.append(row)
    return rows


def read_frames(folder: Path, dataset: str) -> tuple[Path, ...]:
    """Return the images of a tracklet's folder.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"{dataset}: no folder {folder}; it should hold a tracklet's images; unpack the dataset again")
    if not (images := images_of(folder)):
        raise UserError(f"{dataset}: no images in {folder}; unpack the dataset again")
    return tuple(images)
