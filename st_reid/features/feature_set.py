"""Features of tracklets, their labels and their model, and the files that hold them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from st_reid.data.tracklet import Labels, Tracklet, label_columns
from st_reid.errors import UserError
from st_reid.features import feature_files
from st_reid.files import written_whole

COLUMNS, ADDED = tuple(feature_files.COLUMNS), tuple(feature_files.ADDED)
ARRAYS = ("features", *COLUMNS, *ADDED)
"""All arrays but the pictures."""
SPLIT = "query+gallery"  # if the file does not have it
SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True, kw_only=True)
class FeatureSet(Labels):
    """Features of N tracklets with their labels: what is passed between rooms.

    Attributes:
        features: (N, D) float32.
        split: (N,) ``train``, ``query``, ``gallery``, or several joined by ``+``; by default ``query+gallery`` for all.
        thumbnails: (N, 64, 96, 3) uint8 RGB, three frames of each side by side; ``None`` for none.
        about: metadata: ``fingerprint`` of the model and its input, its name, its weights.

    Raises:
        UserError: columns of different lengths, or a feature that is not finite.
    """

    features: NDArray[np.float32]
    split: NDArray[np.str_] = None  # type: ignore[assignment]
    thumbnails: NDArray[np.uint8] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split is None:
            object.__setattr__(self, "split", np.full(len(self.tracklet), SPLIT))
        lengths = {name: len(getattr(self, name)) for name in ARRAYS}
        if len(set(lengths.values())) > 1 or self.features.ndim != 2:
            raise UserError(f"features are {self.features.shape}, columns {lengths}; expected (N, D), and N of each")
        if not np.isfinite(self.features).all():
            bad = self.tracklet[~np.isfinite(self.features).all(axis=1)][0]
            raise UserError(f"the feature of tracklet {str(bad)!r} is not finite; extract it again in float32")

    @classmethod
    def of_tracklets(cls, tracklets: Sequence[Tracklet], features: NDArray[np.float32]) -> FeatureSet:
        """Return the features (N, D) of N tracklets with the labels of these."""
        columns: dict[str, Any] = label_columns(tracklets)
        return cls(features=features, **columns)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model and its input; features with different ones cannot be compared."""
        return str(self.about.get("fingerprint", ""))

    def digest(self) -> bytes:
        """Return a 16-byte hash of these features."""
        return hashlib.blake2b(np.ascontiguousarray(self.features).data, digest_size=16).digest()

    def take(self, which: NDArray[np.bool_] | Sequence[int]) -> FeatureSet:
        """Return the tracklets that a mask or indices choose."""
        index = np.asarray(which)
        index = index if index.dtype == bool else index.astype(np.int64)
        columns = {name: getattr(self, name)[index] for name in ARRAYS}
        thumbnails = None if self.thumbnails is None else self.thumbnails[index]
        return FeatureSet(**columns, thumbnails=thumbnails, about=self.about)

    def of_split(self, split: str) -> FeatureSet:
        """Return the tracklets of ``train``, ``query`` or ``gallery``."""
        return self.take([split in each.split("+") for each in self.split.tolist()])

    def named(self, names: Sequence[str] | NDArray[np.str_]) -> FeatureSet:
        """Return the tracklets of these names, in this order.

        Raises:
            UserError: several tracklets have one of the names.
        """
        row = {name: i for i, name in enumerate(self.tracklet.tolist())}
        if len(row) < len(self):
            counts = Counter(self.tracklet.tolist())
            if twice := next((str(name) for name in names if counts[str(name)] > 1), None):
                raise UserError(f"{counts[twice]} tracklets are called {twice!r}; give each a name of its own")
        return self.take([row[str(name)] for name in names])

    def followed_by(self, other: FeatureSet) -> FeatureSet:
        """Return these features and then those of ``other``, without pictures."""
        return FeatureSet(**concatenate([self, other]), about=self.about)

    def save(self, path: Path) -> None:
        """Write a ``.npz`` or a ``.parquet`` file, whole or not at all.

        Raises:
            UserError: another suffix, or Parquet without pyarrow.
        """
        check_path(path)
        if path.suffix == ".parquet":
            with written_whole(path) as file:
                _parquet().write_table(self._table(), file)
            return
        arrays = {name: getattr(self, name) for name in ARRAYS}
        if self.thumbnails is not None:
            arrays["thumbnails"] = self.thumbnails
        with written_whole(path) as file:
            np.savez(file, about=np.array(json.dumps(self.about)), **arrays)

    def _table(self) -> Any:
        import pyarrow as pa

        width = self.features.shape[1]
        columns = {name: pa.array(getattr(self, name)) for name in (*COLUMNS, *ADDED)}
        values = pa.array(np.ascontiguousarray(self.features, np.float32).ravel())
        columns["feature"] = pa.FixedSizeListArray.from_arrays(values, width)
        if self.thumbnails is not None:
            columns["thumbnail"] = pa.array([picture.tobytes() for picture in self.thumbnails], pa.binary())
        return pa.table(columns).replace_schema_metadata({"about": json.dumps(self.about)})

    @classmethod
    def load(cls, path: str | Path) -> FeatureSet:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            UserError: a file that is missing, cut short, or holds something else; see
                :mod:`st_reid.features.feature_files`.
        """
        path = Path(path)
        check_path(path)
        read = feature_files.read_parquet if path.suffix == ".parquet" else feature_files.read_npz
        return cls(**read(path))


def concatenate(parts: Sequence[FeatureSet]) -> dict[str, NDArray]:
    """Return the arrays of several sets, one after the other, by their names; without the pictures."""
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}


def check_path(path: Path) -> None:
    """Raise :class:`UserError` for a file name with an unknown suffix, or one that needs a missing package."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: features are written to {' or '.join(SUFFIXES)}; pass such a name")
    if path.suffix == ".parquet":
        _parquet()


def same_model(a: FeatureSet, b: FeatureSet) -> None:
    """Raise :class:`UserError` unless both were made by the same model from input of the same kind."""
    if a.fingerprint != b.fingerprint or a.features.shape[1] != b.features.shape[1]:
        raise UserError(
            f"features of two models cannot be compared: {_describe(a)} and {_describe(b)}; extract both with the same "
            "weights and settings"
        )


def _describe(features: FeatureSet) -> str:
    about = features.about
    return f"{about.get('arch', 'unknown')} ({features.features.shape[1]} numbers, {features.fingerprint or 'no name'})"


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install st_reid[parquet], or write .npz") from None
    return pyarrow.parquet
