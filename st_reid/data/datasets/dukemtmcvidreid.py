"""``dukemtmcvidreid``: DukeMTMC-VideoReID (Wu et al., CVPR 2018), 1,404 persons, 8 cameras, tracklets marked by hand.

Folders: ``dukemtmc-vidreid/DukeMTMC-VideoReID/{train,query,gallery}/PERSON/TRACKLET/0001_C5_F0023_X207873.jpg``, where
the parts are person, camera, frame of the tracklet and frame of the camera's video. Older releases have no underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from st_reid.data.datasets.base import DATASETS, find_folder
from st_reid.data.tracklet import SPLITS, Dataset, Tracklet
from st_reid.errors import UserError

FILE_NAME = re.compile(r"\d+_?C(?P<camera>\d+)_?F(?P<frame>\d+)_?X(?P<time>\d+)\.jpg")


@DATASETS.register("dukemtmcvidreid")
def read(root: Path | None) -> Dataset:
    """Read DukeMTMC-VideoReID. A tracklet's time is that of its first frame, in the frames of the camera's video.

    Args:
        root: the folder that holds ``dukemtmc-vidreid``, or that folder, or ``DukeMTMC-VideoReID`` itself.

    Raises:
        UserError: a missing folder, a tracklet without images, or an image with a name of another form.
    """
    names = ["dukemtmc-vidreid/DukeMTMC-VideoReID", "DukeMTMC-VideoReID"]
    folder = find_folder(root, names, SPLITS, "dukemtmcvidreid")
    train, query, gallery = (tuple(_read_split(folder / split)) for split in SPLITS)
    return Dataset("dukemtmcvidreid", train, query, gallery)


def _read_split(folder: Path) -> Iterator[Tracklet]:
    for person in _subfolders(folder):
        for tracklet in _subfolders(person):
            yield _read_tracklet(tracklet, f"{folder.name}_{person.name}_{tracklet.name}", person.name)


def _read_tracklet(folder: Path, name: str, person: str) -> Tracklet:
    frames = []
    for path in folder.glob("[!.]*.jpg"):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise UserError(f"dukemtmcvidreid: image {path}; expected a name such as 0001_C5_F0023_X207873.jpg")
        frames.append((int(match["frame"]), int(match["time"]), match["camera"], path))
    if not frames:
        raise UserError(f"dukemtmcvidreid: tracklet {folder} has no .jpg images; remove it or add them")
    frames.sort()
    _, time, camera, first = frames[0]
    other = next((path for *_, c, path in frames if c != camera), None)
    if other is not None:
        raise UserError(f"dukemtmcvidreid: {first} and {other} are of two cameras; a tracklet has one")
    return Tracklet(name, tuple(path for *_, path in frames), person, str(int(camera)), float(time))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
