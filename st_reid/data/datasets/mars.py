"""``mars``: MARS (Zheng et al., ECCV 2016), 1,261 persons, 6 cameras, tracklets made by a tracker.

Folders: ``mars/{bbox_train,bbox_test}/PPPP/PPPPCcTttttFfff.jpg`` and ``mars/info`` with the lists of images and the
tracklets, a row each: first image, last image, person, camera. Nothing says when a tracklet was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from st_reid.data.datasets._matlab import load_integers
from st_reid.data.datasets.base import DATASETS, find_folder
from st_reid.data.tracklet import DISTRACTOR, Dataset, Tracklet
from st_reid.errors import UserError
from st_reid.reading import read_text

JUNK = -1  # the person of false detections; 0 is a distractor: a real person who is never a query


@DATASETS.register("mars")
def read(root: Path | None, *, queries_in_gallery: bool = True) -> Dataset:
    """Read MARS.

    Args:
        root: the folder that holds ``mars``, or that folder itself.
        queries_in_gallery: look for a query among the other queries too, as most papers do. Without them, as in
            torchreid, 140 of the 1,980 queries have no match.

    Raises:
        UserError: a folder or file is missing, or the files of ``info`` do not fit each other or the folders.
    """
    folder = find_folder(root, ["mars"], ["bbox_train", "bbox_test", "info"], "mars")
    train = read_tracklets(folder, "train", "mars")
    test = read_tracklets(folder, "test", "mars")
    file = folder / "info" / "query_IDX.mat"
    queries = places_of(load_integers(file, "query_IDX", "mars"), len(test), file)
    return made_of("mars", train, test, queries, queries_in_gallery)


def made_of(
    dataset: str,
    train: Sequence[Tracklet | None],
    test: Sequence[Tracklet | None],
    queries: Sequence[int],
    queries_in_gallery: bool,
) -> Dataset:
    """Return a dataset of tracklets, ``None`` for junk, and the places of the queries in the test part."""
    left_out = set() if queries_in_gallery else set(queries)
    return Dataset(
        dataset,
        train=tuple(t for t in train if t is not None),
        query=tuple(t for t in (test[i] for i in queries) if t is not None),
        gallery=tuple(t for i, t in enumerate(test) if t is not None and i not in left_out),
        notes={"gallery": "with the queries" if queries_in_gallery else "without the queries"},
    )


def places_of(queries: np.ndarray, count: int, file: Path) -> list[int]:
    """Return the places, from 0, of queries among ``count`` test tracklets, of their numbers, from 1, in ``file``.

    Raises:
        UserError: one that is none of them.
    """
    numbers: list[int] = queries.ravel().tolist()
    if outside := [number for number in numbers if not 1 <= number <= count]:
        raise UserError(
            f"{file}: query {outside[0]} is none of the {count} test tracklets; the files must come from one release"
        )
    return [number - 1 for number in numbers]


def read_tracklets(folder: Path, part: str, dataset: str, distractor: int | None = 0) -> list[Tracklet | None]:
    """Return the tracklets of ``train`` or ``test``, a row each; ``None`` for junk.

    Args:
        folder: of the dataset.
        part: ``train`` or ``test``.
        dataset: its name, for messages.
        distractor: the number that is none of the persons, if there is one.

    Raises:
        UserError: a file is missing, or the files do not fit each other or the folders.
    """
    info = folder / "info" / f"tracks_{part}_info.mat"
    rows = load_integers(info, f"track_{part}_info", dataset)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise UserError(f"{info}: an array of {rows.shape}; expected rows of first image, last image, person, camera")
    name_file = folder / "info" / f"{part}_name.txt"
    names = read_text(name_file, f"it lists the images of bbox_{part} of {dataset}").split()
    if strange := [name for name in names if set(name) & set("/\\")]:
        raise UserError(f"{name_file} lists {strange[0]}; expected names of images, such as 0001C1T0001F001.jpg")
    images = folder / f"bbox_{part}"
    persons = {entry.name for entry in images.iterdir()}  # a look at every one of a million files would take minutes
    tracklets: list[Tracklet | None] = []
    for row, (first, last, person, camera) in enumerate(rows.tolist(), start=1):
        if not 1 <= first <= last <= len(names):
            raise UserError(f"{info}, row {row}: images {first} to {last}; {name_file} has 1 to {len(names)}")
        if person == JUNK:
            tracklets.append(None)
            continue
        frames = names[first - 1 : last]
        if len({frame[:6] for frame in frames}) > 1:
            raise UserError(f"{info}, row {row}: images {first} to {last} are of several persons or cameras")
        if frames[0][:4] not in persons:
            raise UserError(
                f"{dataset}: {name_file} lists {frames[0]}, but there is no folder {images / frames[0][:4]}"
            )
        paths = tuple(images / frame[:4] / frame for frame in frames)
        label = DISTRACTOR if person == distractor else f"{person:04}"
        tracklets.append(Tracklet(Path(frames[0]).stem, paths, label, str(camera)))
    return tracklets
