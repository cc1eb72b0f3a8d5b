"""``g2avreid``: G2A-VReID (Zhang et al., ECCV 2024), 2,788 persons, a ground camera and a drone, 5,576 tracklets.

Folders: as MARS's, ``g2avreid/{bbox_train,bbox_test}/PPPP/PPPPCcTttttFfff.jpg`` and ``g2avreid/info``, with two
cameras. The second version, of 5,605 persons, has the same form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from st_reid.data.datasets._matlab import load_integers
from st_reid.data.datasets.base import DATASETS, find_folder
from st_reid.data.datasets.mars import places_of, read_tracklets
from st_reid.data.tracklet import Dataset, Tracklet, conditions_of
from st_reid.errors import UserError

DIRECTIONS = ("ground_to_aerial", "aerial_to_ground")


@DATASETS.register("g2avreid")
def read(root: Path | None, *, direction: str = "ground_to_aerial", ground_camera: int | None = None) -> Dataset:
    """Read G2A-VReID. The queries of one camera are looked for among all test tracklets of the other.

    Args:
        root: the folder that holds ``g2avreid`` or ``G2A-VReID``, or that folder itself.
        direction: ``ground_to_aerial``, the dataset's own queries; or ``aerial_to_ground``, in which the drone's
            tracklets of the queries' persons are the queries.
        ground_camera: number of the camera on the ground; by default that of the dataset's queries.

    Raises:
        UserError: a folder or file is missing, files do not fit each other or the folders, queries of both cameras
            without ``ground_camera``, or an unknown direction.
    """
    if direction not in DIRECTIONS:
        raise UserError(f"g2avreid: direction is {direction!r}; expected {' or '.join(DIRECTIONS)}")
    folder = find_folder(root, ["g2avreid", "G2A-VReID", "G2A_VReID"], ["bbox_train", "bbox_test", "info"], "g2avreid")
    train, test = (read_tracklets(folder, part, "g2avreid", distractor=None) for part in ("train", "test"))
    file = folder / "info" / "query_IDX.mat"
    listed = [test[i] for i in places_of(load_integers(file, "query_IDX", "g2avreid"), len(test), file)]
    ground = _ground_camera([t for t in listed if t is not None], ground_camera)
    everything = _with_views(test, ground)
    asked = {t.person for t in listed if t is not None}
    own = {t.name for t in listed if t is not None}
    if direction == "ground_to_aerial":
        query = tuple(t for t in everything if t.name in own and t.camera == ground)
        gallery = tuple(t for t in everything if t.camera != ground)
    else:
        query = tuple(t for t in everything if t.person in asked and t.camera != ground)
        gallery = tuple(t for t in everything if t.camera == ground)
    notes = {"direction": f"{direction}, camera {ground} is on the ground"}
    return Dataset("g2avreid", _with_views(train, ground), query, gallery, notes)


def _ground_camera(queries: list[Tracklet], given: int | None) -> str:
    cameras = sorted({t.camera for t in queries})
    if given is not None:
        if str(given) not in cameras:
            raise UserError(f"g2avreid: ground_camera is {given}; the queries are of cameras {', '.join(cameras)}")
        return str(given)
    if len(cameras) != 1:
        raise UserError(
            f"g2avreid: the queries are of cameras {', '.join(cameras)}, so they do not tell which is on the ground; "
            "pass its number as --data.options '{ground_camera: 1}'"
        )
    return cameras[0]


def _with_views(tracklets: Iterable[Tracklet | None], ground: str) -> tuple[Tracklet, ...]:
    def view(t: Tracklet) -> str:
        return "ground" if t.camera == ground else "aerial"

    return tuple(replace(t, conditions=conditions_of(view=view(t))) for t in tracklets if t is not None)
