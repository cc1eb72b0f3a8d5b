"""What a dataset is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError

SPLITS = ("train", "query", "gallery")


@dataclass(frozen=True)
class Tracklet:
    """The frames of one person seen by one camera without a break.

    Attributes:
        name: unique among the tracklets of a dataset.
        paths: image files in the order in which they were taken, at least one.
        person: identity label; empty where it is not known.
        camera: camera label.
        time: when the tracklet begins, in frames of the network's common clock; ``None`` where it is not known.
    """

    name: str
    paths: tuple[Path, ...]
    person: str
    camera: str
    time: float | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            raise UserError(f"tracklet {self.name!r} has no frames; remove it or add images")

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Dataset:
    """Tracklets by split. A tracklet may stand in several splits.

    Attributes:
        name: the dataset's registered name.
        train: tracklets to learn from; may be empty.
        query: tracklets to look for.
        gallery: tracklets to look in.
        notes: choices of the reader that a report must name, such as whether queries stand in the gallery.
    """

    name: str
    train: tuple[Tracklet, ...] = ()
    query: tuple[Tracklet, ...] = ()
    gallery: tuple[Tracklet, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def test(self) -> tuple[Tracklet, ...]:
        """Every tracklet of query and gallery once, those of the query first."""
        return tuple(dict.fromkeys((*self.query, *self.gallery)))


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is known of N tracklets, a column each.

    Attributes:
        tracklet: (N,) names, each once.
        person: (N,) identity labels; empty where they are not known.
        camera: (N,) labels.
        time: (N,) when each begins, in frames of the common clock; NaN where that is not known.
        frames: (N,) number of frames.
    """

    tracklet: NDArray[np.str_]
    person: NDArray[np.str_]
    camera: NDArray[np.str_]
    time: NDArray[np.float64]
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        """Tracklets."""
        return len(self.tracklet)

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet]) -> Labels:
        """Return the columns of ``tracklets``, in their order."""
        return Labels(**label_columns(tracklets))

    @property
    def passings(self) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.float64]]:
        """Who passed which camera when: persons, cameras and times (N,)."""
        return self.person, self.camera, self.time


def label_columns(tracklets: Sequence[Tracklet]) -> dict[str, NDArray]:
    """Return the columns of :class:`Labels`, by their names."""
    return {
        "tracklet": np.array([t.name for t in tracklets], dtype=np.str_),
        "person": np.array([t.person for t in tracklets], dtype=np.str_),
        "camera": np.array([t.camera for t in tracklets], dtype=np.str_),
        "time": np.array([t.time for t in tracklets], dtype=np.float64),
        "frames": np.array([len(t) for t in tracklets], dtype=np.int64),
    }


def person_labels(tracklets: Sequence[Tracklet]) -> dict[str, int]:
    """Number the persons of ``tracklets`` from 0 in sorted order: the classes of a classifier."""
    return {person: label for label, person in enumerate(sorted({t.person for t in tracklets}))}


def check_trainable(tracklets: Sequence[Tracklet], dataset: str = "") -> None:
    """Raise :class:`UserError` unless there are tracklets to learn from, and the person of each is known.

    Args:
        tracklets: of the training split.
        dataset: its name, for the message.
    """
    where = f"{dataset}: " if dataset else ""
    if not tracklets:
        raise UserError(f"{where}no training tracklets; the split of some must be train")
    unknown = sum(not t.person for t in tracklets)
    if unknown:
        raise UserError(f"{where}{unknown} training tracklets have no person; name the persons to train")
