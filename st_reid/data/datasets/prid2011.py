"""``prid2011``: PRID 2011 (Hirzer et al., SCIA 2011), 2 cameras; 178 persons seen by both with tracklets long enough.

Folders: ``prid2011/prid_2011/multi_shot/{cam_a,cam_b}/person_NNNN/*.png`` and ``prid2011/splits_prid2011.json``, the
ten splits that torchreid's users know.
"""

from __future__ import annotations

from pathlib import Path

from st_reid.data.datasets._two_cameras import read_splits, read_two_cameras
from st_reid.data.datasets.base import DATASETS, find_folder
from st_reid.data.tracklet import Dataset

CAMERAS = Path("prid_2011", "multi_shot")


@DATASETS.register("prid2011")
def read(root: Path | None, *, split: int = 0) -> Dataset:
    """Read one split of PRID2011: half of the persons to train on; queries from cam_a, gallery from cam_b.

    Args:
        root: the folder that holds ``prid2011``, or that folder itself.
        split: 0 to 9, as torchreid's ``split_id``.

    Raises:
        UserError: a missing folder, file or image, or no such split.
    """
    folder = find_folder(root, ["prid2011"], [str(CAMERAS / "cam_a"), str(CAMERAS / "cam_b")], "prid2011")
    splits = read_splits(folder / "splits_prid2011.json")
    return read_two_cameras("prid2011", folder / CAMERAS / "cam_a", folder / CAMERAS / "cam_b", splits, split)
