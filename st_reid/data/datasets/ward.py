"""``ward``: WARD (Martinel and Micheloni, CVPR workshops 2012), 70 persons, 3 cameras, 210 tracklets.

Folder: ``ward/WARD/PPPPCCCCFFFF.png`` (or ``.jpg``), person, camera and frame of four digits each. WARD has no official
splits: ``ward/splits_ward.json`` holds lists of persons as PRID 2011's file does, and without it ten are drawn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from st_reid.data.datasets._two_cameras import Split, check_split, read_splits
from st_reid.data.datasets.base import DATASETS, find_folder, warn_of_strange_names
from st_reid.data.files import SUFFIX_PATTERN, images_of
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError

NAME = re.compile(rf"(?P<person>\d{{4}})(?P<camera>\d{{4}})(?P<frame>\d{{4}}){SUFFIX_PATTERN}", re.IGNORECASE)
FIRST_FRAMES = "????00010001.*"  # of camera 1
SPLITS_FILE = "splits_ward.json"
DRAWN_SPLITS = 10


@DATASETS.register("ward")
def read(root: Path | None, *, split: int = 0) -> Dataset:
    """Read one split of WARD: half of the persons to train on; of the others every tracklet is query and gallery.

    Args:
        root: the folder that holds ``ward`` or ``WARD``, or that folder itself.
        split: its number, from 0, in ``splits_ward.json``, which lies beside the images or one folder above; without
            this file 0 to 9, as :func:`draw_splits` draws them.

    Raises:
        UserError: a missing folder, no such split, a file of splits that does not fit the images, or a frame twice.
    """
    folder = find_folder(root, ["ward/WARD", "WARD", "ward"], [FIRST_FRAMES], "ward")
    tracklets = _tracklets(folder)
    file = next((f for f in (folder / SPLITS_FILE, folder.parent / SPLITS_FILE) if f.is_file()), None)
    splits = draw_splits(sorted(tracklets)) if file is None else _named(read_splits(file))
    check_split("ward", split, splits)
    for person in (*splits[split]["train"], *splits[split]["test"]):
        if person not in tracklets:
            raise UserError(f"ward: no images of person {person} in {folder}; the split names this person")
    train, test = (tuple(t for p in splits[split][part] for t in tracklets[p]) for part in ("train", "test"))
    origin = f"drawn, there is no {SPLITS_FILE}" if file is None else file.name
    return Dataset("ward", train, query=test, gallery=test, notes={"split": f"{split} of {len(splits)} ({origin})"})


def draw_splits(persons: list[str]) -> list[Split]:
    """Return ten splits of sorted ``persons``: split s is the permutation of ``derived_rng(0, s)``.

    Its first half, rounded down, is for training. Each half is sorted.
    """
    half = len(persons) // 2
    orders = [derived_rng(0, s).permutation(persons).tolist() for s in range(DRAWN_SPLITS)]
    return [{"train": sorted(order[:half]), "test": sorted(order[half:])} for order in orders]


def _named(splits: list[Split]) -> list[Split]:
    """Return splits with persons as in file names: the file may have them as numbers."""
    return [{part: [person.zfill(4) for person in persons] for part, persons in split.items()} for split in splits]


def _tracklets(folder: Path) -> dict[str, list[Tracklet]]:
    """Return each person's tracklets, one a camera."""
    frames: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    strange = []
    for path in images_of(folder):
        found = NAME.fullmatch(path.name)
        if found is None:
            strange.append(path)
            continue
        of_tracklet = frames[found["person"], found["camera"]]
        if other := of_tracklet.get(found["frame"]):
            raise UserError(f"ward: {other} and {path} are the same frame; remove one of them")
        of_tracklet[found["frame"]] = path
    warn_of_strange_names("ward", strange, "names such as 000100020003.png")
    tracklets: dict[str, list[Tracklet]] = defaultdict(list)
    for (person, camera), paths in sorted(frames.items()):
        ordered = tuple(paths[frame] for frame in sorted(paths))
        tracklets[person].append(Tracklet(f"{person}c{int(camera)}", ordered, person, str(int(camera))))
    return tracklets
