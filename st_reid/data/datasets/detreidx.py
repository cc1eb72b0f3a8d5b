"""``detreidx``: DetReIDX (Hambarde et al., 2025), of the challenge VReID-XFD: 371 persons, 11,288 tracklets.

Folders: ``detreidx/train/PERSON/TRACKLET/*.jpg`` and
``detreidx/case{1_aerial_to_ground,2_ground_to_aerial,3_aerial_to_aerial}/{query,gallery}/PERSON/TRACKLET/*.jpg``. The
parts of an image's name are joined by ``_``: with fewer than 8 it is from the ground; else the seventh to the ninth are
the drone's height, distance and angle. The last but one is the session.
"""

from __future__ import annotations

from pathlib import Path

from st_reid.data.datasets._cases import CASES, Seen, read_cases
from st_reid.data.datasets.base import DATASETS
from st_reid.data.tracklet import Dataset, conditions_of

GROUND_PARTS = 8  # and more: from a drone
EXPECTED = "parts joined by _, from a drone ten or more, with height, distance and angle as the seventh to the ninth"


def parse_name(name: str) -> Seen | None:
    """Return the camera of an image and how it was filmed; ``None`` for a name of another form.

    A drone at another height, distance or angle is another camera: with one camera for the drone, everything would be
    junk in ``aerial_to_aerial``.
    """
    parts = Path(name).stem.split("_")
    if len(parts) < 2:
        return None
    if len(parts) < GROUND_PARTS:
        return Seen("ground", conditions_of(view="ground", session=parts[-2]))
    if len(parts) < GROUND_PARTS + 2:
        return None
    height, distance, angle = parts[6:9]
    seen = conditions_of(view="aerial", session=parts[-2], height=height, distance=distance, angle=angle)
    return Seen(f"aerial-{height}-{distance}-{angle}", seen)


@DATASETS.register("detreidx")
def read(root: Path | None, *, direction: str = "aerial_to_ground") -> Dataset:
    """Read DetReIDX.

    Args:
        root: the folder that holds ``detreidx`` or ``DetReIDX``, or that folder itself.
        direction: of query to gallery: ``aerial_to_ground``, ``ground_to_aerial`` or ``aerial_to_aerial``.

    Raises:
        UserError: see :func:`st_reid.data.datasets._cases.read_cases`.
    """
    names = ["detreidx", "DetReIDX", "DetReIDXV1"]
    return read_cases("detreidx", root, names, list(CASES), direction, parse_name, EXPECTED)
