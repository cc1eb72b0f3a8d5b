"""``market1501``: Market-1501 (Zheng et al., ICCV 2015), 1,501 persons, 6 cameras, single images.

Folders: ``market1501/Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}``; an image is a tracklet of
one frame. A name ``0002_c1s1_000451_03.jpg`` (some end in ``.jpg.jpg``) says person, camera, sequence and frame within
the sequence; the times are those of the network: the sequences of a camera lie end to end.
"""

from __future__ import annotations

import re
from pathlib import Path

from st_reid.data.datasets._images import read_images
from st_reid.data.datasets.base import DATASETS
from st_reid.data.files import SUFFIX_PATTERN
from st_reid.data.tracklet import DISTRACTOR, Dataset

NAME = re.compile(
    r"(?P<person>-1|\d{4,})_c(?P<camera>\d+)(s(?P<sequence>\d+))?(_f?(?P<frame>\d+))?(_\d+)?"
    f"{SUFFIX_PATTERN}+",
    re.IGNORECASE,
)
LENGTHS = {
    "1": (72681, 74546, 74881, 74661, 74891, 54346),
    "2": (163691, 164677, 98102),
    "3": (161708, 161769, 104469),
    "4": (72107, 72373, 74810, 74541, 74910, 50616),
    "5": (161095, 161724, 103487),
    "6": (87551, 131268, 95817, 30952),
}
"""Frames in each camera's sequences, which are recorded one after the other."""


def parse_name(name: str) -> tuple[str, str, float | None] | None:
    """Return person, camera and time in frames of an image, or ``None`` for a name of another form.

    The time is that of the network only where the sequence is one of the dataset's own; else it is not known.
    """
    found = NAME.fullmatch(name)
    if not found:
        return None
    person = DISTRACTOR if found["person"].strip("0") == "" else found["person"]
    lengths, sequence = LENGTHS.get(found["camera"], ()), int(found["sequence"] or 0)
    time = None
    if 1 <= sequence <= len(lengths) and found["frame"]:
        time = float(sum(lengths[: sequence - 1]) + int(found["frame"]))
    return person, found["camera"], time


@DATASETS.register("market1501")
def read(root: Path | None) -> Dataset:
    """Read Market-1501. Junk images, of person -1, are left out; those of 0000 are distractors.

    Raises:
        UserError: a missing folder, or no image whose name is of the dataset's form.
    """
    names = ["market1501/Market-1501-v15.09.15", "Market-1501-v15.09.15", "market1501"]
    return read_images("market1501", root, names, parse_name, junk="-1")
