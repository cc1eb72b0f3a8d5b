"""What Market-1501 and DukeMTMC-reID share: three folders of images whose names say person, camera and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from st_reid.data.datasets.base import find_folder, warn_of_strange_names
from st_reid.data.files import images_of, unread_images_of
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError

EXPECTED = "names such as 0002_c1s1_000451_03.jpg, or 0005_c2_f0046985.jpg"
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def read_images(
    dataset: str,
    root: Path | None,
    names: Sequence[str],
    parse_name: Callable[[str], tuple[str, str, float | None] | None],
    junk: str | None = None,
) -> Dataset:
    """Read three folders of images, each image a tracklet of one frame.

    Args:
        dataset: its registered name.
        root: the folder that holds one of ``names``, or that folder itself.
        names: of the dataset's folder.
        parse_name: from an image's name to person, camera and time; ``None`` for a name that it does not know, which is
            left out and counted.
        junk: the person whose images are left out.

    Raises:
        UserError: a missing folder, or one without images whose names are known.
    """
    folder = find_folder(root, names, list(FOLDERS.values()), dataset)
    splits = {split: _read_folder(dataset, folder / name, parse_name, junk) for split, name in FOLDERS.items()}
    return Dataset(dataset, **splits, notes={"images": "every image is a tracklet of one frame"})


def _read_folder(
    dataset: str, folder: Path, parse_name: Callable[[str], tuple[str, str, float | None] | None], junk: str | None
) -> tuple[Tracklet, ...]:
    tracklets, strange = [], unread_images_of(folder)
    for path in images_of(folder):
        parsed = parse_name(path.name)
        if parsed is None:
            strange.append(path)
            continue
        person, camera, time = parsed
        if person != junk:
            tracklets.append(Tracklet(f"{folder.name}/{path.stem}", (path,), person, camera, time))
    warn_of_strange_names(dataset, strange, EXPECTED)
    if not tracklets:
        raise UserError(f"{dataset}: no images in {folder} whose names say person and camera; expected {EXPECTED}")
    return tuple(tracklets)
