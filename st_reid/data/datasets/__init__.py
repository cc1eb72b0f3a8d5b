"""Dataset readers: one file a dataset, one interface.

A reader is a function ``read(root, **options) -> Dataset`` registered under the dataset's name. ``root`` is the folder
that holds the dataset's own folder, or that folder itself; a reader opens no image.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from st_reid.data.datasets.base import DATASETS
from st_reid.data.files import check_inside
from st_reid.data.tracklet import Dataset
from st_reid.registry import Registry, check_options


def read_dataset(
    name: str,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    follow_links: bool = False,
) -> Dataset:
    """Read a dataset by its registered name.

    Args:
        name: one of ``DATASETS.names()``.
        root: the folder that holds the dataset's folder, or that folder itself. May be ``None`` for ``walkers`` only,
            which then uses its cache folder.
        options: the reader's own.
        follow_links: whether images may lie outside of ``root``, where links lead.

    Raises:
        UserError: an unknown name or option, a dataset that is not where it should be, or images outside of ``root``.
    """
    _load_readers()
    reader = DATASETS.get(name)
    options = options or {}
    check_options(f"dataset {name!r}", reader, options)
    dataset = reader(None if root is None else Path(root), **options)
    if root is not None and not follow_links:
        every = (path for tracklets in dataset.splits.values() for tracklet in tracklets for path in tracklet.paths)
        check_inside(every, Path(root))
    return dataset


def known_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``options`` that a dataset's reader takes: torchreid hands every dataset all of its settings."""
    _load_readers()
    takes = inspect.signature(DATASETS.get(name)).parameters if name in DATASETS else {}
    return {key: value for key, value in options.items() if key in takes}


def registered_datasets() -> Registry:
    """Return every reader."""
    _load_readers()
    return DATASETS


def dataset_names() -> list[str]:
    """Return the names that :func:`read_dataset` knows, sorted."""
    return registered_datasets().names()


def _load_readers() -> None:
    from st_reid.data.datasets import (  # noqa: F401 - a new reader is one more name here
        agvpreid,
        ccvid,
        detreidx,
        dukemtmcreid,
        dukemtmcvidreid,
        folders,
        g2avreid,
        ilidsvid,
        lsvid,
        manifest,
        market1501,
        mars,
        mevid,
        prid2011,
        vccr,
        walkers,
        ward,
    )
