"""Checks whether a dataset can be used to train, evaluate or extract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from st_reid.config import EvalConfig
from st_reid.data.datasets import read_dataset
from st_reid.data.datasets.manifest import FILE_NAME
from st_reid.data.frames import FrameReader
from st_reid.data.inspection import (
    Counted,
    Description,
    Images,
    count_images,
    count_some,
    describe,
    find_one_person_at_once,
    look_at,
)
from st_reid.data.thumbnails import frames_shown
from st_reid.data.tracklet import Dataset, Labels, Tracklet, learnable
from st_reid.drawing.curves import dataset_overview
from st_reid.drawing.sheet import NEUTRAL, WRONG, Cell, draw_sheet, spread_evenly
from st_reid.errors import UserError, unknown_name
from st_reid.evaluation.protocol import QueryGallery
from st_reid.files import check_new_folder, folder_written_whole, locked, write_json

PURPOSES = ("train", "evaluate", "extract")
SHEET_CELLS, SHEET_COLUMNS = 40, 5
WORDS = {
    "jumps": "boxes that change their size at once",
    "constant": "images of nearly one value",
    "saturated": "images mostly black or white",
    "twice": "images that two tracklets have",
}
logger = logging.getLogger(__name__)


class AddedToCheck(TypedDict, total=False):
    """What ``check.json`` of the first version does not have."""

    one_person_at_once: Counted


class CheckReport(AddedToCheck):
    """``check.json``."""

    dataset: str
    notes: dict[str, str]
    splits: dict[str, Description]
    together: Description
    in_training_and_test: Counted
    images: dict[str, Counted | str] | None
    failures: list[str]


def check(
    *,
    root: str | None = None,
    sources: str | None = None,
    output: str | None = None,
    purpose: str | None = None,
    persons: int = 8,
    tiny: int = 16,
    read: bool = True,
    follow_links: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report and return its folder.

    The arguments are the options of ``python -m st_reid.check``.

    Raises:
        UserError: there is no such dataset; or, after the report is written, the dataset cannot be used for the
            purpose.
    """
    if purpose not in (None, *PURPOSES):
        raise unknown_name("purpose", str(purpose), PURPOSES)
    sources = sources or _guess(root)
    folder = Path(output or f"runs/check-{sources}")
    with locked(folder):
        check_new_folder(folder)
        dataset = read_dataset(sources, root, options, follow_links=follow_links)
        report = _write(dataset, folder, purpose, persons, tiny, read)
    _announce(report, folder)
    if report["failures"]:
        raise UserError(f"this would fail: {'; '.join(report['failures'])}")
    return folder


def _write(dataset: Dataset, folder: Path, purpose: str | None, persons: int, tiny: int, read: bool) -> CheckReport:
    everything = list({t.name: t for some in dataset.splits.values() for t in some}.values())
    if not everything:
        raise UserError(f"{dataset.name}: no tracklets")
    images = look_at(everything, tiny) if read else Images()
    failures = find_failures(dataset, purpose, persons)
    if images.unreadable:
        failures.append(
            f"{len(images.unreadable)} images cannot be read, {images.unreadable[0]} first; repair or remove them, or "
            "set on_bad_image to skip"
        )
    report: CheckReport = {
        "dataset": dataset.name,
        "notes": dataset.notes,
        "splits": {split: describe(tracklets) for split, tracklets in dataset.splits.items()},
        "together": describe(everything),
        "in_training_and_test": _overlap(dataset),
        "one_person_at_once": count_some(find_one_person_at_once(everything)),
        "images": count_images(images) if read else None,
        "failures": failures,
    }
    with folder_written_whole(folder) as partial:
        write_json(report, partial / "check.json")
        _draw(dataset, everything, images, partial)
    return report


def find_failures(dataset: Dataset, purpose: str | None = None, persons: int = 8) -> list[str]:
    """Return the reasons why training, evaluation or extraction would fail, without reading images.

    Args:
        dataset: any.
        purpose: one of ``PURPOSES``; ``None`` for all purposes for which it has labelled tracklets.
        persons: identities in a training batch.
    """

    def can_train() -> None:
        known = len({t.person for t in learnable(dataset.train)})
        if known < persons:
            raise UserError(f"{known} persons to train on, and a batch has {persons}; lower data.persons")

    def can_evaluate() -> None:
        QueryGallery.of(Labels.of(dataset.query), Labels.of(dataset.gallery), EvalConfig())

    needed: dict[str, Callable[[], None]] = {"train": can_train, "evaluate": can_evaluate}
    labelled = any(t.is_known for some in dataset.splits.values() for t in some)
    if purpose is not None:
        wanted = [purpose]
    else:  # a dataset without persons is only for extraction
        wanted = [p for p, has in (("train", dataset.train), ("evaluate", dataset.query)) if has and labelled]
    failures = []
    for each in wanted:
        try:
            needed.get(each, lambda: None)()
        except UserError as error:
            failures.append(f"{each}: {error}")
    return failures


def _guess(root: str | None) -> str:
    if root is None:
        raise UserError("nothing to check; pass the folder of a dataset, and --sources where it is of a known layout")
    return "manifest" if (Path(root) / FILE_NAME).is_file() else "folders"


def _overlap(dataset: Dataset) -> Counted:
    train = {t.person for t in dataset.train if t.is_known}
    return count_some(sorted(train & {t.person for t in dataset.test}))


def _draw(dataset: Dataset, tracklets: Sequence[Tracklet], images: Images, folder: Path) -> None:
    dataset_overview(
        {split: [len(t) for t in some] for split, some in dataset.splits.items()},
        {split: [t.camera for t in some] for split, some in dataset.splits.items()},
        images.sizes,
        folder / "check.png",
    )
    whole = [t for t in tracklets if t.name not in images.broken]
    jumped = {line.partition(", frame")[0] for line in images.jumps}
    order = sorted(whole, key=lambda t: (t.name not in jumped, t.person, t.camera))
    reader = FrameReader("skip")
    cells = [
        Cell(
            frames_shown(reader, t),
            WRONG if t.name in jumped else NEUTRAL,
            f"{t.person or '?'}, camera {t.camera}",
            f"{len(t)} frames",
        )
        for t in (order[i] for i in spread_evenly(len(order), SHEET_CELLS))
    ]
    rows = [cells[i : i + SHEET_COLUMNS] for i in range(0, len(cells), SHEET_COLUMNS)]
    if rows:
        title = "tracklets: first, middle and last frame; with boxes that jump in red"
        draw_sheet(title, rows, folder / "contact_sheet.png")


def _announce(report: CheckReport, output: Path) -> None:
    for split, row in {**report["splits"], "together": report["together"]}.items():
        length = row["frames_a_tracklet"]
        more = f" in {row['outfits']} outfits" if "outfits" in row else ""
        more += f", {row['persons_unknown']} of unknown persons" if row["persons_unknown"] else ""
        more += f", {row['distractors']} distractors" if row["distractors"] else ""
        without_time = f", {row['without_time']} without time" if row["without_time"] else ""
        logger.info(
            f"{split:<9} {row['tracklets']:6} tracklets of {row['persons']} persons{more}, {len(row['cameras'])} "
            f"cameras, {row['frames']} frames ({length['least']} to {length['most']} a tracklet, "
            f"median {length['median']:g}){without_time}"
        )
    for what, some in (
        ("seen by one camera only", report["together"]["persons_of_one_camera"]),
        ("in training and in test", report["in_training_and_test"]),
    ):
        if some["count"]:
            logger.info(f"{what}: {some['count']} persons, {', '.join(some['for_example'])}")
    if (twice := report.get("one_person_at_once", count_some([])))["count"]:
        logger.info(
            f"{twice['count']} pairs of tracklets are of one person that one camera saw in two places at once: "
            f"{twice['for_example'][0]}; look at their identities"
        )
    for name, found in (report["images"] or {}).items():
        if isinstance(found, str):
            logger.info(f"median size of an image: {found}")
        elif found["count"]:
            what = WORDS.get(name, f"{name} images")
            logger.info(f"{what}: {found['count']}, {found['for_example'][0]} first")
    pictures = ", ".join(str(p) for p in sorted(output.glob("*.png")))
    logger.info(f"report: {output / 'check.json'}, pictures: {pictures}")
