"""What a dataset is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from st_reid.errors import UserError


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


def person_labels(tracklets: Sequence[Tracklet]) -> dict[str, int]:
    """Number the persons of ``tracklets`` from 0 in sorted order: the classes of a classifier."""
    return {person: label for label, person in enumerate(sorted({t.person for t in tracklets}))}
