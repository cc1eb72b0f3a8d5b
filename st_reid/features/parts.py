"""Keeps the features extracted so far beside the output, so that a kill loses only seconds of work."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError
from st_reid.features.feature_set import ADDED, COLUMNS, SPLIT, FeatureSet, concatenate
from st_reid.files import remove_left_in, write_text
from st_reid.models.fingerprint import as_json
from st_reid.reading import read_text

logger = logging.getLogger(__name__)


PART_SECONDS = 20.0  # of work that a kill may lose


class Row(NamedTuple):
    """A tracklet and its feature, as :class:`~st_reid.features.feature_set.FeatureSet` has them."""

    tracklet: str
    person: str
    camera: str
    time: float
    frames: int
    feature: NDArray[np.float32]
    thumbnail: NDArray[np.uint8] | None
    split: str = SPLIT
    last: float = np.nan
    clothes: str = ""
    conditions: str = ""


class Parts:
    """The features extracted so far, beside the output: a file for every few seconds of work.

    Args:
        output: the file of features that will be written.
        about: the model and the input of the features; parts with others are dropped.
    """

    def __init__(self, output: Path, about: dict[str, Any]) -> None:
        self.output = output
        self.folder = _folder_of(output)
        self.about = about
        if self.folder.exists() and not self._is_same():
            logger.info("%s is of other weights, settings or tracklets: from the start", self.folder)
            shutil.rmtree(self.folder)
        remove_left_in(self.folder)
        self._expected = [name for path in _paths(self.folder) for name in FeatureSet.load(path).tracklet.tolist()]

    def names(self) -> set[str]:
        """Return the tracklets that are done."""
        return set(self._expected)

    def keep(self, rows: Iterable[Row]) -> int:
        """Write rows as they come; return their number.

        Raises:
            UserError: what ``rows`` raises; those that came before it are kept.
        """
        waiting: list[Row] = []
        count = 0
        written = time.monotonic()
        try:
            for row in rows:
                waiting.append(row)
                self._expected.append(row.tracklet)
                count += 1
                if time.monotonic() - written > PART_SECONDS:
                    full, waiting = waiting, []  # a signal may come when they have just been written
                    self._write(full)
                    written = time.monotonic()
        finally:
            self._write(waiting)
        return count

    def unite(self, about: dict[str, Any], names: Iterable[str] | None = None) -> FeatureSet:
        """Write the parts as one file, in the order in which they were extracted, and remove them.

        Args:
            about: the metadata of the file.
            names: the tracklets that there have to be, each once; ``None`` for those that were done or came.

        Raises:
            UserError: there are none, or the parts do not hold exactly these tracklets.
        """
        parts = [FeatureSet.load(path) for path in _paths(self.folder)]
        if not parts:
            raise UserError(
                "no tracklets to extract features of: no box lies in a picture; do videos and tracks belong together?"
            )
        self._check(Counter(name for part in parts for name in part.tracklet.tolist()), names)
        pictures = [p.thumbnails for p in parts if p.thumbnails is not None]
        united = FeatureSet(
            **concatenate(parts), thumbnails=np.concatenate(pictures) if pictures else None, about=about
        )
        united.save(self.output)
        shutil.rmtree(self.folder)
        return united

    def _is_same(self) -> bool:
        """Whether the parts are of this model and input; an empty ``about.json``, which a full disk leaves, is not."""
        try:
            return read_text(self.folder / "about.json") == as_json(self.about)
        except UserError:
            return False

    def _check(self, found: Counter[str], names: Iterable[str] | None) -> None:
        expected = Counter(self._expected if names is None else names)
        if wrong := sorted((expected - found) + (found - expected)):
            raise UserError(
                f"the parts in {self.folder} are not the {expected.total()} extracted tracklets: {len(wrong)} names "
                f"are missing or too many, {wrong[0]!r} first; remove the folder and extract again"
            )

    def _write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(as_json(self.about), self.folder / "about.json")
        columns = {name: np.array([getattr(row, name) for row in rows]) for name in (*COLUMNS, *ADDED)}
        pictures = [row.thumbnail for row in rows if row.thumbnail is not None]
        part = FeatureSet(
            features=np.stack([row.feature for row in rows]),
            **columns,
            thumbnails=np.stack(pictures) if pictures else None,
            about=self.about,
        )
        number = max((int(path.stem) for path in _paths(self.folder)), default=-1) + 1
        part.save(self.folder / f"{number:05d}.npz")


def remove_united(output: Path) -> None:
    """Remove the parts that a kill left when they had just been united; those of another extraction stay."""
    parts = [FeatureSet.load(path) for path in _paths(_folder_of(output))]
    if parts and FeatureSet.load(output).tracklet.tolist() == concatenate(parts)["tracklet"].tolist():
        shutil.rmtree(_folder_of(output))


def _folder_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.parts")


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.npz"))


def stamp(file: Path) -> tuple[str, int, int]:
    """Return what identifies a version of a file, or of the files in a folder or of a pattern: path, size, change."""
    if file.is_file():
        files = [file]
    else:
        found = file.iterdir() if file.is_dir() else file.parent.glob(file.name)
        files = [path for path in found if path.is_file() and path.name[0] != "."]
    states = [path.stat() for path in files]
    return str(file), sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)
