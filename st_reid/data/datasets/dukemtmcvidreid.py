"""``dukemtmcvidreid``: DukeMTMC-VideoReID (Wu et al., CVPR 2018), 1,404 persons, 8 cameras, tracklets marked by hand.

Folders: ``dukemtmc-vidreid/DukeMTMC-VideoReID/{train,query,gallery}/PERSON/TRACKLET/0001_C5_F0023_X207873.jpg``, where
the parts are person, camera, frame of the tracklet and frame of the camera's video. Older releases have no underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from st_reid.data.datasets.base import DATASETS, find_folder, warn_of_strange_names
from st_reid.data.files import SUFFIX_PATTERN, folders_of, images_of
from st_reid.data.tracklet import SPLITS, Dataset, Tracklet
from st_reid.errors import UserError

EXPECTED = "names such as 0001_C5_F0023_X207873.jpg"
FILE_NAME = re.compile(r"\d+_?C(?P<camera>\d+)_?F(?P<frame>\d+)_?X(?P<time>\d+)" + SUFFIX_PATTERN, re.IGNORECASE)


@DATASETS.register("dukemtmcvidreid")
def read(root: Path | None) -> Dataset:
    """Read DukeMTMC-VideoReID. A tracklet's time is that of its first frame, in the frames of the camera's video.

    Args:
        root: the folder that holds ``dukemtmc-vidreid``, or that folder, or ``DukeMTMC-VideoReID`` itself.

    Raises:
        UserError: a missing folder, or a tracklet without images whose names are known.
    """
    names = ["dukemtmc-vidreid/DukeMTMC-VideoReID", "DukeMTMC-VideoReID"]
    folder = find_folder(root, names, SPLITS, "dukemtmcvidreid")
    strange: list[Path] = []
    train, query, gallery = (tuple(_read_split(folder / split, strange)) for split in SPLITS)
    warn_of_strange_names("dukemtmcvidreid", strange, EXPECTED)
    return Dataset("dukemtmcvidreid", train, query, gallery)


def _read_split(folder: Path, strange: list[Path]) -> Iterator[Tracklet]:
    """Yield the tracklets of a split; images whose names are not known are added to ``strange``."""
    for person in folders_of(folder):
        for tracklet in folders_of(person):
            yield _read_tracklet(tracklet, f"{folder.name}_{person.name}_{tracklet.name}", person.name, strange)


def _read_tracklet(folder: Path, name: str, person: str, strange: list[Path]) -> Tracklet:
    frames = []
    for path in images_of(folder):
        if match := FILE_NAME.fullmatch(path.name):
            frames.append((int(match["frame"]), int(match["time"]), match["camera"], path))
        else:
            strange.append(path)
    if not frames:
        raise UserError(f"dukemtmcvidreid: no images of tracklet {folder} have known names; expected {EXPECTED}")
    frames.sort()
    _, time, camera, first = frames[0]
    other = next((path for *_, c, path in frames if c != camera), None)
    if other is not None:
        raise UserError(f"dukemtmcvidreid: {first} and {other} are of two cameras; a tracklet has one")
    paths, times = tuple(path for *_, path in frames), tuple(float(time) for _, time, *_ in frames)
    return Tracklet(name, paths, person, str(int(camera)), float(time), times)
