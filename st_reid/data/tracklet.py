"""Tracklets, datasets and labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from st_reid.data.labels import check_label, check_texts
from st_reid.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")
UNKNOWN = ""
"""The person of a tracklet whose person is not known."""
DISTRACTOR = "distractor"
"""The person of a tracklet that is of none of the persons. Two distractors may be of one person, or of two."""
ODD_PERSONS = frozenset({"-1", "?", "n/a", "na", "nan", "nobody", "none", "null", "unknown"})
"""Labels that look as if the person was not known."""
CONDITIONS = ("view", "location", "scale", "height", "distance", "angle", "session")
"""What a dataset may say about how a tracklet was filmed: the view is ``aerial`` or ``ground``."""
Conditions = tuple[tuple[str, str], ...]
"""Names out of :data:`CONDITIONS` with their values, sorted by name."""


@dataclass(frozen=True)
class Tracklet:
    """The frames of one person seen by one camera without a break.

    Attributes:
        name: unique among the tracklets of a dataset.
        paths: image files in the order in which they were taken, at least one.
        person: identity label; ``UNKNOWN`` or ``DISTRACTOR`` if it has no known person.
        camera: camera label.
        time: when the tracklet begins, in frames of the network's common clock; ``None`` where it is not known.
        times: of every frame; empty if they are not known, or if the frames follow one another from ``time`` on.
        clothes: label of the outfit, another one for every person; empty where it is not known.
        conditions: how it was filmed, as far as that is known, see :func:`conditions_of`.
    """

    name: str
    paths: tuple[Path, ...]
    person: str
    camera: str
    time: float | None = None
    times: tuple[float, ...] = ()
    clothes: str = ""
    conditions: Conditions = ()

    def __post_init__(self) -> None:
        if not self.paths:
            raise UserError(f"tracklet {self.name!r} has no frames; remove it or add images")
        for what in ("name", "person", "camera"):
            check_label(f"the tracklet's {what}", getattr(self, what))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def is_known(self) -> bool:
        """Whether its person is known: neither unknown nor a distractor."""
        return self.person not in (UNKNOWN, DISTRACTOR)

    def time_of(self, frame: int) -> float | None:
        """Return when a frame, from 0, was taken; ``None`` where that is not known."""
        if self.times:
            return self.times[frame]
        return None if self.time is None else self.time + frame

    @property
    def last(self) -> float | None:
        """When the last frame was taken; ``None`` where that is not known."""
        return max(self.times) if self.times else self.time_of(len(self) - 1)


@dataclass(frozen=True)
class Dataset:
    """Tracklets by split. A tracklet may be in several splits.

    Attributes:
        name: the dataset's registered name.
        train: tracklets to learn from; may be empty.
        query: tracklets to look for.
        gallery: tracklets to look in.
        notes: choices of the reader that a report must name, such as whether queries are in the gallery.
    """

    name: str
    train: tuple[Tracklet, ...] = ()
    query: tuple[Tracklet, ...] = ()
    gallery: tuple[Tracklet, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, tuple[Tracklet, ...]]:
        """The tracklets of each split that has some."""
        return {split: tracklets for split in SPLITS if (tracklets := getattr(self, split))}

    def named(self) -> Dataset:
        """Return what can be trained and evaluated: known persons, and in the gallery distractors too."""
        train, query = (tuple(t for t in part if t.is_known) for part in (self.train, self.query))
        return replace(self, train=train, query=query, gallery=tuple(t for t in self.gallery if t.person != UNKNOWN))

    @property
    def test(self) -> tuple[Tracklet, ...]:
        """Every tracklet of query and gallery once, those of the query first."""
        return tuple(dict.fromkeys((*self.query, *self.gallery)))


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of N tracklets, as columns.

    Attributes:
        tracklet: (N,) unique names.
        person: (N,) identity labels, ``UNKNOWN`` or ``DISTRACTOR``.
        camera: (N,) labels.
        time: (N,) when each begins, in frames of the common clock; NaN where that is not known.
        frames: (N,) number of frames.
        last: (N,) when the last frame of each was taken; by default the frames follow one another.
        clothes: (N,) labels of outfits, empty where they are not known.
        conditions: (N,) how each was filmed, as JSON, empty where nothing is known; see :meth:`label`.
    """

    tracklet: NDArray[np.str_]
    person: NDArray[np.str_]
    camera: NDArray[np.str_]
    time: NDArray[np.float64]
    frames: NDArray[np.int64]
    last: NDArray[np.float64] = None  # type: ignore[assignment]
    clothes: NDArray[np.str_] = None  # type: ignore[assignment]
    conditions: NDArray[np.str_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for what in ("tracklet", "person", "camera"):
            check_texts(what, getattr(self, what))
        if self.last is None:
            object.__setattr__(self, "last", np.asarray(self.time, np.float64) + np.asarray(self.frames) - 1)
        for name in ("clothes", "conditions"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(len(self.tracklet), "", dtype=np.str_))

    def __len__(self) -> int:
        """Tracklets."""
        return len(self.tracklet)

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet]) -> Labels:
        """Return the columns of ``tracklets``, in their order."""
        return Labels(**label_columns(tracklets))

    def labels(self, which: NDArray[np.bool_]) -> Labels:
        """Return the labels of the tracklets that a mask chooses."""
        return Labels(**{f.name: getattr(self, f.name)[which] for f in fields(Labels)})

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Which tracklets (N,) are of a known person: neither unknown nor a distractor."""
        return (self.person != UNKNOWN) & (self.person != DISTRACTOR)

    def label(self, name: str) -> NDArray[np.str_]:
        """Return the ``clothes`` (N,), or one of :data:`CONDITIONS` (N,), empty where it is not known."""
        if name == "clothes":
            return self.clothes
        return np.array([json.loads(text).get(name, "") if text else "" for text in self.conditions.tolist()], np.str_)

    @property
    def passings(self) -> tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.float64]]:
        """Persons, cameras and times (N,) of the tracklets whose person is known."""
        known = self.is_known
        return self.person[known], self.camera[known], self.time[known]


def label_columns(tracklets: Sequence[Tracklet]) -> dict[str, NDArray]:
    """Return the columns of :class:`Labels`, by their names."""
    return {
        "tracklet": np.array([t.name for t in tracklets], dtype=np.str_),
        "person": np.array([t.person for t in tracklets], dtype=np.str_),
        "camera": np.array([t.camera for t in tracklets], dtype=np.str_),
        "time": np.array([t.time for t in tracklets], dtype=np.float64),
        "frames": np.array([len(t) for t in tracklets], dtype=np.int64),
        "last": np.array([t.last for t in tracklets], dtype=np.float64),
        "clothes": np.array([t.clothes for t in tracklets], dtype=np.str_),
        "conditions": np.array([conditions_text(t) for t in tracklets], dtype=np.str_),
    }


def conditions_of(**values: str) -> Conditions:
    """Return the conditions of a tracklet; empty values are not known, and left out."""
    return tuple(sorted((name, value) for name, value in values.items() if value))


def conditions_text(tracklet: Tracklet) -> str:
    """Return how a tracklet was filmed as JSON, empty where nothing is known."""
    return json.dumps(dict(tracklet.conditions), ensure_ascii=False) if tracklet.conditions else ""


def read_person(label: str) -> str:
    """Return a person's label from a file, without spaces around it; ``DISTRACTOR`` may be in capitals."""
    label = label.strip()
    return DISTRACTOR if label.casefold() == DISTRACTOR else label


def warn_of_odd_persons(source: object, persons: Iterable[str]) -> None:
    """Warn of persons whose label in ``source`` looks as if they were not known: they count as persons."""
    if odd := sorted({person for person in persons if person.casefold() in ODD_PERSONS}):
        logger.warning(
            f"{source}: {', '.join(map(repr, odd))} counts as a person; leave persons empty who are not known, and "
            f"write {DISTRACTOR!r} for those who are none of the others"
        )


def read_splits(joined: str) -> list[str]:
    """Return the names of splits that are joined by ``+``.

    Raises:
        UserError: one of them is no split, or stands twice.
    """
    splits = joined.split("+")
    if unknown := [split for split in splits if split not in SPLITS]:
        raise UserError(f"split is {joined!r}, with {unknown[0]!r}; expected {', '.join(SPLITS)}, joined by '+'")
    if len(set(splits)) < len(splits):
        raise UserError(f"split is {joined!r}; expected every split once")
    return splits


def person_labels(tracklets: Sequence[Tracklet]) -> dict[str, int]:
    """Number the persons of ``tracklets`` from 0 in sorted order: the classes of a classifier."""
    return {person: label for label, person in enumerate(sorted({t.person for t in tracklets}))}


def learnable(tracklets: Sequence[Tracklet], dataset: str = "") -> list[Tracklet]:
    """Return the tracklets to learn from: those whose person is known. The number of others is logged.

    Args:
        tracklets: of the training split.
        dataset: its name, for the messages.

    Raises:
        UserError: none is left.
    """
    where = f"{dataset}: " if dataset else ""
    known = [t for t in tracklets if t.is_known]
    if not tracklets:
        raise UserError(f"{where}no training tracklets; the split of some must be train")
    if not known:
        raise UserError(f"{where}{len(tracklets)} training tracklets have no person; name the persons to train")
    if len(known) < len(tracklets):
        logger.info(f"{where}{len(tracklets) - len(known)} training tracklets of nobody known are left out")
    return known
