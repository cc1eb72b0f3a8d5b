"""``ccvid``: CCVID (Gu et al., CVPR 2022), 226 persons in 2 to 5 outfits each, 12 cameras, 2,856 tracklets.

Folders: ``ccvid/session{1,2,3}/PPP_CC/*.jpg`` and the lists ``ccvid/{train,query,gallery}.txt``, a line a tracklet:
its folder, the person, the clothes. The cameras of session 3 are others than those of sessions 1 and 2.
"""

from __future__ import annotations

import re
from pathlib import Path

from st_reid.data.datasets.base import DATASETS, find_folder, read_frames, read_list
from st_reid.data.tracklet import SPLITS, Dataset, Tracklet
from st_reid.errors import UserError

CAMERAS = 12  # of session 3 have numbers after these
PLACE = re.compile(
    r"(?P<session>session\d+)/[^/_]+_(?P<camera>\d+)"
)  # within the dataset, not in what --root is called


@DATASETS.register("ccvid")
def read(root: Path | None) -> Dataset:
    """Read CCVID. The label of an outfit is that of the person and that of the clothes, which begin anew for each.

    Args:
        root: the folder that holds ``ccvid`` or ``CCVID``, or that folder itself.

    Raises:
        UserError: a missing folder or list, a tracklet without images, or a line of another form.
    """
    lists = [f"{split}.txt" for split in SPLITS]
    folder = find_folder(root, ["ccvid", "CCVID"], lists, "ccvid")
    train, query, gallery = (tuple(_tracklet(folder, *row) for row in read_list(folder / f, 3, "ccvid")) for f in lists)
    return Dataset("ccvid", train, query, gallery)


def _tracklet(folder: Path, place: str, person: str, clothes: str) -> Tracklet:
    found = PLACE.fullmatch(place)
    if not found:
        raise UserError(f"ccvid: {folder} lists {place!r}; expected a folder such as session1/001_01")
    camera = int(found["camera"]) + (CAMERAS if found["session"] == "session3" else 0)
    return Tracklet(place, read_frames(folder / place, "ccvid"), person, str(camera), clothes=f"{person}_{clothes}")
