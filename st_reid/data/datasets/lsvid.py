"""``lsvid``: LS-VID (Li et al., ICCV 2019), 3,772 persons, 15 cameras, 14,164 tracklets for training and test.

Folders: the lists ``list_sequence/list_seq_{train,test}.txt``, a line a tracklet: the beginning that the paths of its
images share, and the person; and ``test/data/info_test.mat``, MATLAB's version 7.3, with the numbers of the queries. A
second release has ``list_sequence`` and ``data`` in ``info``. The third part of an image's name is the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from st_reid.data.datasets._matlab import load_integers
from st_reid.data.datasets.base import DATASETS, find_folder, read_list
from st_reid.data.datasets.mars import JUNK, made_of, places_of
from st_reid.data.files import images_of
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError

LAYOUTS = (("list_sequence", "test/data/info_test.mat"), ("info/list_sequence", "info/data/info_test.mat"))
"""The folder of the lists and the file of the queries, in either release."""


@DATASETS.register("lsvid")
def read(root: Path | None, *, queries_in_gallery: bool = True) -> Dataset:
    """Read LS-VID, in either layout.

    Args:
        root: the folder that holds ``lsvid`` or ``LS-VID``, or that folder itself.
        queries_in_gallery: the gallery is all of the test part, as published; loaders often leave the queries out.

    Raises:
        UserError: a missing file, one that needs h5py, a tracklet without images, or files that do not fit each other.
    """
    folder, lists, info = _find(root)
    train, test = (list(_tracklets(folder, folder / lists / f"list_seq_{part}.txt")) for part in ("train", "test"))
    queries = places_of(load_integers(folder / info, "query", "lsvid"), len(test), folder / info)
    return made_of("lsvid", train, test, queries, queries_in_gallery)


def _find(root: Path | None) -> tuple[Path, str, str]:
    """Return the dataset's folder, and in it the folder of the lists and the file of the queries."""
    names = ["lsvid", "LS-VID"]
    (lists, info), second = LAYOUTS
    try:
        return find_folder(root, names, [lists], "lsvid"), lists, info
    except UserError as error:
        try:
            return find_folder(root, names, [second[0]], "lsvid"), *second
        except UserError:
            raise error from None


def _tracklets(folder: Path, file: Path) -> Iterator[Tracklet | None]:
    """Yield the tracklets of a list, a line each; ``None`` for junk."""
    listed: dict[Path, list[Path]] = {}  # images by folder: each is looked at once
    for beginning, person in read_list(file, 2, "lsvid"):
        if person == str(JUNK):
            yield None
            continue
        start = folder / beginning
        if start.parent not in listed:
            listed[start.parent] = images_of(start.parent) if start.parent.is_dir() else []
        frames = tuple(path for path in listed[start.parent] if path.name.startswith(start.name))
        if not frames:
            raise UserError(f"lsvid: {file} lists {beginning}, and no image begins so; unpack the dataset again")
        parts = [path.name.split("_") for path in frames]
        cameras = {part[2] for part in parts if len(part) == 4 and part[2].isdecimal()}
        if len(cameras) != 1 or any(len(part) != 4 for part in parts):
            raise UserError(
                f"lsvid: images that begin with {start} are not of one camera, {frames[0].name} first; expected names "
                "of four parts joined by _, the third of them the camera"
            )
        yield Tracklet(beginning, frames, person, str(int(cameras.pop())))
