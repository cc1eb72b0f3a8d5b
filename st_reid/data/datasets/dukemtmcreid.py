"""``dukemtmcreid``: DukeMTMC-reID (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017), 8 cameras, single images.

Folders: ``dukemtmc-reid/DukeMTMC-reID/{bounding_box_train,query,bounding_box_test}``; an image is a tracklet of one
frame. A name ``0005_c2_f0046985.jpg`` says person, camera and frame, on one clock for all cameras.
"""

from __future__ import annotations

import re
from pathlib import Path

from st_reid.data.datasets._images import read_images
from st_reid.data.datasets.base import DATASETS
from st_reid.data.files import SUFFIX_PATTERN
from st_reid.data.tracklet import Dataset

NAME = re.compile(r"(?P<person>\d{4,})_c(?P<camera>\d+)_f(?P<frame>\d+)" + SUFFIX_PATTERN, re.IGNORECASE)


def parse_name(name: str) -> tuple[str, str, float] | None:
    """Return person, camera and time in frames of an image, or ``None`` for a name of another form."""
    found = NAME.fullmatch(name)
    return (found["person"], found["camera"], float(found["frame"])) if found else None


@DATASETS.register("dukemtmcreid")
def read(root: Path | None) -> Dataset:
    """Read DukeMTMC-reID.

    Raises:
        UserError: a missing folder, or no image whose name is of the dataset's form.
    """
    names = ["dukemtmc-reid/DukeMTMC-reID", "DukeMTMC-reID", "dukemtmc-reid"]
    return read_images("dukemtmcreid", root, names, parse_name)
