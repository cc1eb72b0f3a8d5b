"""``mevid``: MEVID (Davila et al., WACV 2023), 158 persons in 598 outfits, 33 cameras, 8,092 tracklets.

Folders: ``mevid/{bbox_train,bbox_test}/PPPP/PPPPOooCcccTtttFfffff.jpg``, and beside them or in
``mevid-v1-annotation-data`` the lists of images ``{train,test}_name.txt``; ``track_{train,test}_info.txt`` with a row a
tracklet: first image and last image, both from 0 and part of it, person, outfit, camera; ``query_IDX.txt``, the rows of
the queries, from 0; and ``test_track_scale.txt``, the scale of each test tracklet, which is published with the code.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from st_reid.data.datasets.base import DATASETS, find_folder, read_list
from st_reid.data.datasets.mars import made_of
from st_reid.data.tracklet import Conditions, Dataset, Tracklet, conditions_of
from st_reid.errors import UserError

logger = logging.getLogger(__name__)
ANNOTATIONS = "mevid-v1-annotation-data"
INDOORS = ("329", "330", "507", "508", "509")
OUTDOORS = ("301", "336", "340", "436", "505", "639")
"""The two locations of the test cameras, as MEVID's evaluation has them."""
TRACK = len("0201O003C330T004")  # of an image's name: what names the tracklet
SCALE_FILE = "test_track_scale.txt"


@DATASETS.register("mevid")
def read(root: Path | None) -> Dataset:
    """Read MEVID: the gallery is the test part without the queries. Tracklets without images are left out and counted.

    A tracklet of the test part has a location, indoors or outdoors, and with ``test_track_scale.txt`` a scale.

    Args:
        root: the folder that holds ``mevid`` or ``MEVID``, or that folder itself.

    Raises:
        UserError: a missing folder or file, or files that do not fit each other or the folders.
    """
    folder = find_folder(root, ["mevid", "MEVID"], ["bbox_train", "bbox_test"], "mevid")
    inner = folder / ANNOTATIONS
    lists = inner if (inner / "query_IDX.txt").is_file() else folder
    train = _read_tracklets(folder, lists, "train", {})
    scales = _read_scales([lists / SCALE_FILE, folder / SCALE_FILE])
    test = _read_tracklets(folder, lists, "test", scales)
    queries = _numbers(lists / "query_IDX.txt", 1)[:, 0].tolist()
    if outside := [q for q in queries if not 0 <= q < len(test)]:
        raise UserError(
            f"{lists / 'query_IDX.txt'}: row {outside[0]} is none of the {len(test)} test tracklets, from 0"
        )
    return made_of("mevid", train, test, queries, queries_in_gallery=False)


def _numbers(file: Path, columns: int) -> np.ndarray:
    """Return whole numbers, which the file has as decimals, a row a line."""
    rows = read_list(file, columns, "mevid")
    try:
        numbers = np.array(rows, dtype=np.float64).reshape(-1, columns)
    except ValueError:
        raise UserError(f"{file}: a value is no number; expected {columns} numbers a line") from None
    if not (numbers == np.floor(numbers)).all():
        raise UserError(f"{file}: expected whole numbers, such as 1.000000e+00")
    return numbers.astype(np.int64)


def _read_scales(files: list[Path]) -> dict[str, str]:
    """Return the scale of each track, such as l or m; the file names its last image, and lacks empty tracks."""
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        logger.info(f"mevid: no {SCALE_FILE}, so the scales are not known; it is in the repository of MEVID's code")
        return {}
    return {name[:TRACK]: scale for name, scale in read_list(file, 2, "mevid")}


def _read_tracklets(folder: Path, lists: Path, part: str, scales: dict[str, str]) -> list[Tracklet | None]:
    """Return the tracklets of ``train`` or ``test``, a row each; ``None`` for those without images."""
    info, images = lists / f"track_{part}_info.txt", folder / f"bbox_{part}"
    names = [name for (name,) in read_list(lists / f"{part}_name.txt", 1, "mevid")]
    persons = {entry.name for entry in images.iterdir()}  # a look at every one of millions of files would take minutes
    tracklets: list[Tracklet | None] = []
    for row, (first, last, person, outfit, camera) in enumerate(_numbers(info, 5).tolist(), start=1):
        frames = names[first : last + 1]
        if last < first:
            tracklets.append(None)
            continue
        if first < 0 or last >= len(names):
            raise UserError(f"{info}, row {row}: images {first} to {last}; there are 0 to {len(names) - 1}")
        track = f"{person:04}O{outfit:03}C{camera:03}"
        if any(not name.startswith(track) for name in frames) or len({name[:TRACK] for name in frames}) > 1:
            raise UserError(f"{info}, row {row}: images {first} to {last}, {frames[0]} first, are not all of {track}")
        if f"{person:04}" not in persons:
            raise UserError(f"mevid: {info} lists {frames[0]}, but there is no folder {images / frames[0][:4]}")
        paths = tuple(images / name[:4] / name for name in frames)
        seen = _conditions(str(camera), scales.get(frames[0][:TRACK], "")) if part == "test" else ()
        labels = {"clothes": f"{person:04}O{outfit:03}", "conditions": seen}
        tracklets.append(Tracklet(f"{part}_{frames[0][:TRACK]}", paths, f"{person:04}", str(camera), **labels))  # type: ignore[arg-type]
    if empty := tracklets.count(None):
        logger.info(f"mevid: {empty} {part} tracklets have no images and are left out")
    return tracklets


def _conditions(camera: str, scale: str) -> Conditions:
    location = "indoors" if camera in INDOORS else "outdoors" if camera in OUTDOORS else ""
    return conditions_of(location=location, scale=scale)
