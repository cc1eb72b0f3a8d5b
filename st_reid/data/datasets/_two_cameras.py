"""What iLIDS-VID and PRID2011 share, and in part WARD: ten splits of the persons, two cameras, a folder a person."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from st_reid.data.files import images_of
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError
from st_reid.reading import read_json

Split = dict[str, list[str]]  # "train" and "test": names of persons' folders


class _SplitRow(TypedDict):
    """A split in JSON."""

    train: list[str | int]
    test: list[str | int]


def read_splits(file: Path) -> list[Split]:
    """Read a list of ``{"train": [person, ...], "test": [...]}`` from JSON.

    Raises:
        UserError: the file is missing or holds something else, or a split has a person in both parts.
    """
    found = read_json(file, list[_SplitRow], "expected a list of splits with the keys train and test")
    splits = [{"train": [str(p) for p in split["train"]], "test": [str(p) for p in split["test"]]} for split in found]
    for number, split in enumerate(splits):
        if both := sorted(set(split["train"]) & set(split["test"])):
            raise UserError(f"{file}: person {both[0]} is in training and test of split {number}; expected one of them")
    return splits


def check_split(dataset: str, split: int, splits: list[Split]) -> None:
    """Raise :class:`UserError` if there is no such split."""
    if not 0 <= split < len(splits):
        raise UserError(f"{dataset}: split is {split}; expected 0 to {len(splits) - 1}")


def read_two_cameras(dataset: str, first: Path, second: Path, splits: list[Split], split: int) -> Dataset:
    """Return a dataset in which the test persons' tracklets of ``first`` are looked for in those of ``second``.

    Args:
        dataset: its registered name.
        first: a camera's folder, with a folder a person.
        second: the other camera's.
        splits: the persons of each split.
        split: which of them.

    Raises:
        UserError: no such split, or a person of it without images in one of the cameras.
    """
    check_split(dataset, split, splits)
    train, test = splits[split]["train"], splits[split]["test"]
    return Dataset(
        dataset,
        train=tuple(_tracklet(dataset, camera, person) for person in train for camera in (first, second)),
        query=tuple(_tracklet(dataset, first, person) for person in test),
        gallery=tuple(_tracklet(dataset, second, person) for person in test),
        notes={"split": f"{split} of {len(splits)}"},
    )


def _tracklet(dataset: str, camera: Path, person: str) -> Tracklet:
    folder = camera / person
    paths = tuple(images_of(folder)) if folder.is_dir() else ()
    if not paths:
        raise UserError(f"{dataset}: no images in {folder}; the split names this person")
    return Tracklet(f"{camera.name}_{person}", paths, person, camera.name)
