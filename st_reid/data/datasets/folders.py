"""``folders``: a folder of images for each tracklet, and nothing else known: what most people have first."""

from __future__ import annotations

from pathlib import Path

from st_reid.data.datasets.base import DATASETS, warn_of_strange_names
from st_reid.data.files import folders_of, images_of, unread_images_of
from st_reid.data.frames import SUFFIXES
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError


@DATASETS.register("folders")
def read(root: Path | None) -> Dataset:
    """Read ``root/TRACKLET/*.jpg``, or ``root/CAMERA/TRACKLET/*.jpg``, as gallery; frames in the order of their names.

    Numbers in names count as numbers: ``2.jpg`` is before ``10.jpg``. Persons and times are unknown.

    Raises:
        UserError: no such folder, or no folder with images in it.
    """
    if root is None or not root.is_dir():
        raise UserError(f"folders: no folder {root}; pass the one that holds a folder of images a tracklet as --root")
    tracklets = [*_tracklets(root, ""), *(t for f in folders_of(root) for t in _tracklets(f, f.name))]
    places = [inner for folder in (root, *folders_of(root)) for inner in folders_of(folder)]
    unread = [path for place in places for path in unread_images_of(place)]
    warn_of_strange_names("folders", unread, f"images of {', '.join(sorted(SUFFIXES))}")
    if not tracklets:
        raise UserError(
            f"folders: no images in {root}/*/ or {root}/*/*/ ({', '.join(sorted(SUFFIXES))}); "
            "expected a folder of images a tracklet"
        )
    return Dataset("folders", gallery=tuple(tracklets))


def _tracklets(folder: Path, camera: str) -> list[Tracklet]:
    found = []
    for inner in folders_of(folder):
        if images := images_of(inner):
            name = f"{camera}/{inner.name}" if camera else inner.name
            found.append(Tracklet(name, tuple(images), "", camera or "1"))
    return found
