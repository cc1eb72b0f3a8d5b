"""``agvpreid``: AG-VPReID (Nguyen et al., CVPR 2025), 6,632 persons, 32,321 tracklets, from drones and the ground.

Folders: ``agvpreid/train/PERSON/TRACKLET/*.jpg`` and
``agvpreid/case{1_aerial_to_ground,2_ground_to_aerial}/{query,gallery}/PERSON/TRACKLET/*.jpg``. The number after the C
of an image's name is the camera: 0 and 1 are CCTV, 2 and 3 wearable, 4 and 5 drones.
"""

from __future__ import annotations

import re
from pathlib import Path

from st_reid.data.datasets._cases import Seen, read_cases
from st_reid.data.datasets.base import DATASETS
from st_reid.data.tracklet import Dataset, conditions_of

CAMERA = re.compile(r"C(\d+)E")
AERIAL = ("4", "5")
EXPECTED = "names with C, the camera's number and E in them, such as P0001T01C4E1F0001.jpg"


def parse_name(name: str) -> Seen | None:
    """Return the camera and the view of an image; ``None`` for a name of another form."""
    found = CAMERA.search(name)
    if not found:
        return None
    camera = str(int(found[1]))
    return Seen(camera, conditions_of(view="aerial" if camera in AERIAL else "ground"))


@DATASETS.register("agvpreid")
def read(root: Path | None, *, direction: str = "aerial_to_ground") -> Dataset:
    """Read AG-VPReID.

    Args:
        root: the folder that holds ``agvpreid`` or ``AG-VPReID``, or that folder itself.
        direction: of query to gallery: ``aerial_to_ground`` or ``ground_to_aerial``.

    Raises:
        UserError: see :func:`st_reid.data.datasets._cases.read_cases`.
    """
    directions = ["aerial_to_ground", "ground_to_aerial"]
    return read_cases("agvpreid", root, ["agvpreid", "AG-VPReID"], directions, direction, parse_name, EXPECTED)
