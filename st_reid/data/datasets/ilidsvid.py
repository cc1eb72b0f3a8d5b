"""``ilidsvid``: iLIDS-VID (Wang et al., ECCV 2014), 300 persons, 2 cameras of an airport's arrival hall.

Folders: ``ilids-vid/i-LIDS-VID/sequences/{cam1,cam2}/personNNN/*.png`` and
``ilids-vid/train-test people splits/train_test_splits_ilidsvid.mat``, or the ``ilids-vid/splits.json`` that torchreid
makes of it.
"""

from __future__ import annotations

from pathlib import Path

from st_reid.data.datasets._matlab import load_integers
from st_reid.data.datasets._two_cameras import Split, read_splits, read_two_cameras
from st_reid.data.datasets.base import DATASETS, find_folder
from st_reid.data.tracklet import Dataset
from st_reid.errors import UserError

CAMERAS = Path("i-LIDS-VID", "sequences")
SPLITS_MAT = Path("train-test people splits", "train_test_splits_ilidsvid.mat")


@DATASETS.register("ilidsvid")
def read(root: Path | None, *, split: int = 0) -> Dataset:
    """Read one split of iLIDS-VID: half of the persons to train on; queries from cam1, gallery from cam2.

    Args:
        root: the folder that holds ``ilids-vid``, or that folder itself.
        split: 0 to 9, as torchreid's ``split_id``.

    Raises:
        UserError: a missing folder or image, no such split, or a file of splits that does not fit the folders.
    """
    folder = find_folder(root, ["ilids-vid"], [str(CAMERAS / "cam1"), str(CAMERAS / "cam2")], "ilidsvid")
    first, second = folder / CAMERAS / "cam1", folder / CAMERAS / "cam2"
    made_by_torchreid = folder / "splits.json"
    if made_by_torchreid.is_file():
        splits = read_splits(made_by_torchreid)
    else:
        splits = _splits_from_mat(folder / SPLITS_MAT, first, second)
    return read_two_cameras("ilidsvid", first, second, splits, split)


def _splits_from_mat(file: Path, first: Path, second: Path) -> list[Split]:
    """Read the splits: a row each, numbers from 1 into the sorted persons, the first half of a row for testing."""
    rows = load_integers(file, "ls_set", "ilidsvid") - 1
    persons, others = _persons(first), _persons(second)
    if persons != others:
        odd = sorted(set(persons) ^ set(others))[0]
        raise UserError(f"ilidsvid: {odd} is in one of {first} and {second} only; unpack the dataset again")
    if rows.ndim != 2 or any(set(row) != set(range(len(persons))) for row in rows.tolist()):
        raise UserError(
            f"{file}: its rows do not number the {len(persons)} persons in {first}; unpack the dataset again"
        )
    half = rows.shape[1] // 2
    return [
        {part: [persons[i] for i in sorted(chosen)] for part, chosen in (("train", row[half:]), ("test", row[:half]))}
        for row in rows.tolist()
    ]


def _persons(camera: Path) -> list[str]:
    return sorted(path.name for path in camera.iterdir() if path.is_dir() and not path.name.startswith("."))
