"""Dataset readers: one file a dataset, one interface.

A reader is a function ``read(root, **options) -> Dataset`` registered under the dataset's name. ``root`` is the folder
that holds the dataset's own folder, or that folder itself; a reader opens no image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from st_reid.data.tracklet import Dataset
from st_reid.errors import UserError
from st_reid.registry import Registry, check_options

DATASETS: Registry[Callable[..., Dataset]] = Registry("dataset")


def find_folder(root: Path | None, names: Sequence[str], holds: Sequence[str], dataset: str) -> Path:
    """Return the first of ``root`` and ``root/name`` for each name that contains every entry of ``holds``.

    Raises:
        UserError: none does, and the message lists the folders that were looked at; or ``root`` is ``None``.
    """
    if root is None:
        raise UserError(f"{dataset}: no folder given; pass the one that holds {names[0]} as --root")
    candidates = [root / name for name in names] + [root]
    for folder in candidates:
        if all((folder / entry).exists() for entry in holds):
            return folder
    looked = ", ".join(str(c) for c in candidates)
    raise UserError(f"{dataset}: no folder with {' and '.join(holds)}; looked at {looked}; pass its parent as --root")


def read_dataset(name: str, root: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Dataset:
    """Read a dataset by its registered name.

    Args:
        name: one of ``DATASETS.names()``.
        root: the folder that holds the dataset's folder, or that folder itself. May be ``None`` for ``walkers`` only,
            which then uses its cache folder.
        options: the reader's own.

    Raises:
        UserError: an unknown name or option, or a dataset that is not where it should be.
    """
    _load_readers()
    reader = DATASETS.get(name)
    options = options or {}
    check_options(f"dataset {name!r}", reader, options)
    return reader(None if root is None else Path(root), **options)


def dataset_names() -> list[str]:
    """Return the names that :func:`read_dataset` knows, sorted."""
    _load_readers()
    return DATASETS.names()


def _load_readers() -> None:
    from st_reid.data.datasets import (  # noqa: F401
        dukemtmcreid,
        dukemtmcvidreid,
        folders,
        ilidsvid,
        manifest,
        market1501,
        mars,
        prid2011,
        walkers,
    )
