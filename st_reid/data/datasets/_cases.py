"""What AG-VPReID and DetReIDX share: a folder of training persons, and a folder of query and gallery a direction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from st_reid.data.datasets.base import find_folder, read_frames, warn_of_strange_names
from st_reid.data.files import folders_of
from st_reid.data.tracklet import Conditions, Dataset, Tracklet
from st_reid.errors import UserError

CASES = {
    "aerial_to_ground": "case1_aerial_to_ground",
    "ground_to_aerial": "case2_ground_to_aerial",
    "aerial_to_aerial": "case3_aerial_to_aerial",
}


class Seen(NamedTuple):
    """What an image's name says: the camera, and how it was filmed."""

    camera: str
    conditions: Conditions


def read_cases(
    dataset: str,
    root: Path | None,
    names: list[str],
    directions: list[str],
    direction: str,
    parse_name: Callable[[str], Seen | None],
    expected: str,
) -> Dataset:
    """Read ``train/PERSON/TRACKLET`` and ``CASE/{query,gallery}/PERSON/TRACKLET`` of a direction.

    Args:
        dataset: its registered name.
        root: the folder that holds one of ``names``, or that folder itself.
        names: of the dataset's folder.
        directions: out of ``CASES``, which the dataset has.
        direction: the one to read.
        parse_name: from an image's name to what it says; ``None`` for a name that it does not know, which is left out
            and counted.
        expected: what names look like, for messages.

    Raises:
        UserError: an unknown direction, a missing folder, or a tracklet without images whose names are known, or of
            several cameras.
    """
    if direction not in directions:
        raise UserError(f"{dataset}: direction is {direction!r}; expected {' or '.join(directions)}")
    case = CASES[direction]
    parts = ("train", f"{case}/query", f"{case}/gallery")
    folder = find_folder(root, names, list(parts), dataset)
    strange: list[Path] = []

    def tracklet(images: Path, person: str) -> Tracklet:
        known = {path: parse_name(path.name) for path in read_frames(images, dataset)}
        strange.extend(path for path, seen in known.items() if seen is None)
        found = {seen for seen in known.values() if seen is not None}
        if not found:
            raise UserError(f"{dataset}: no images of tracklet {images} have known names; expected {expected}")
        if len(found) > 1:
            raise UserError(f"{dataset}: the images in {images} are of several cameras; a tracklet has one")
        (seen,) = found
        paths = tuple(path for path, what in known.items() if what is not None)
        name = images.relative_to(folder).as_posix()
        return Tracklet(name, paths, person, seen.camera, conditions=seen.conditions)

    train, query, gallery = (
        tuple(tracklet(images, person.name) for person in folders_of(folder / part) for images in folders_of(person))
        for part in parts
    )
    warn_of_strange_names(dataset, strange, expected)
    return Dataset(dataset, train, query, gallery, notes={"direction": direction})
