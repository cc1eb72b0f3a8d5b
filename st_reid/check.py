"""``python -m st_reid.check``: what is in a dataset, before anybody trains on it."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_reid import cli
from st_reid.config import EvalConfig
from st_reid.errors import UserError
from st_reid.files import check_output, folder_written_whole

if TYPE_CHECKING:
    from st_reid.data.tracklet import Dataset, Tracklet

NAME = "python -m st_reid.check"
SPLITS = ("train", "query", "gallery")
JUMP = 1.6  # times as high or wide as the frame before: a box that jumped, or a track that changed its person
SHOWN = 5  # examples of what is wrong
logger = logging.getLogger(__name__)


@dataclass
class CheckConfig:
    """Say what is in a dataset, and what is wrong with it: exit status 2 where training or evaluation would fail.

    Attributes:
        root: the folder of the dataset; it may stand first, without --root.
        sources: the dataset's name; null for manifest where there is a manifest.csv, else folders.
        output: the folder for check.json and pictures; null for runs/check-NAME. It must not exist.
        purpose: what has to be possible with it, train, evaluate or extract; null for all that it has tracklets for.
        persons: identities in a training batch, of which there must be as many.
        tiny: images with fewer pixels in height or width are called tiny.
        read: whether to decode every image, which takes long, or to look at none.
        options: the dataset reader's own options.
    """

    root: str | None = None
    sources: str | None = None
    output: str | None = None
    purpose: str | None = None
    persons: int = 8
    tiny: int = 16
    read: bool = True
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Images:
    """What is wrong with the images of tracklets.

    Attributes:
        unreadable: path and reason.
        broken: names of the tracklets that have such.
        tiny: path and size.
        jumps: tracklet and frame at which the box changed its size at once.
        sizes: (frames, 2) heights and widths of those that can be read.
    """

    unreadable: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    tiny: list[str] = field(default_factory=list)
    jumps: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    if argv and not argv[0].startswith("-"):
        argv = ["--root", *argv]
    check(cli.parse(CheckConfig, argv, NAME))


def check(config: CheckConfig) -> Path:
    """Write the report and return its folder.

    Raises:
        UserError: there is no such dataset; or, after the report is written, what it is for would fail.
    """
    from st_reid import report
    from st_reid.data.datasets import read_dataset

    purposes = ("train", "evaluate", "extract")
    if config.purpose not in (None, *purposes):
        raise UserError(f"purpose is {config.purpose!r}; expected {', '.join(purposes)}, or nothing for all")
    sources = config.sources or _guess(config.root)
    output = Path(config.output or f"runs/check-{sources}")
    if output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output)
    dataset = read_dataset(sources, config.root, config.options)
    everything = list({t.name: t for split in SPLITS for t in getattr(dataset, split)}.values())
    if not everything:
        raise UserError(f"{dataset.name}: no tracklets")
    images = look_at(everything, config.tiny) if config.read else Images()
    failures = find_failures(dataset, config)
    if images.unreadable:
        failures.append(
            f"{len(images.unreadable)} images cannot be read, {images.unreadable[0]} first; repair or remove them, or "
            "set on_bad_image to skip"
        )
    content = {
        "dataset": dataset.name,
        "notes": dataset.notes,
        "splits": {split: describe(getattr(dataset, split)) for split in SPLITS if getattr(dataset, split)},
        "together": describe(everything),
        "in_training_and_test": _overlap(dataset),
        "images": None if not config.read else _count(images),
        "failures": failures,
    }
    with folder_written_whole(output) as partial:
        report.write_json(content, partial / "check.json")
        _draw(dataset, everything, images, partial)
    _announce(content, output)
    if failures:
        raise UserError(f"this would fail: {'; '.join(failures)}")
    return output


def describe(tracklets: Sequence[Tracklet]) -> dict[str, Any]:
    """Return counts of tracklets: persons, cameras, frames, times."""
    lengths = [len(t) for t in tracklets]
    cameras = defaultdict(set)
    for t in tracklets:
        if t.person:
            cameras[t.person].add(t.camera)
    alone = sorted(person for person, seen in cameras.items() if len(seen) == 1)
    return {
        "tracklets": len(tracklets),
        "frames": sum(lengths),
        "frames_a_tracklet": {
            "least": min(lengths),
            "median": float(np.median(lengths)),
            "most": max(lengths),
        },
        "persons": len(cameras),
        "persons_unknown": sum(not t.person for t in tracklets),
        "persons_of_one_camera": {"count": len(alone), "for_example": alone[:SHOWN]},
        "cameras": dict(sorted(Counter(t.camera for t in tracklets).items())),
        "without_time": sum(t.time is None for t in tracklets),
    }


def look_at(tracklets: Sequence[Tracklet], tiny: int) -> Images:
    """Decode every image of ``tracklets``, and say what is wrong with them."""
    from tqdm import tqdm

    images = Images()
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(
        pool.map(lambda t: [_size(path) for path in t.paths], tracklets),
        total=len(tracklets), desc="reading images", unit="tracklet", leave=False, disable=None,
    ) as progress:  # fmt: skip
        for tracklet, sizes in zip(tracklets, progress, strict=True):
            before: tuple[int, int] | None = None
            for number, (path, size) in enumerate(zip(tracklet.paths, sizes, strict=True), 1):
                if isinstance(size, str):
                    images.unreadable.append(size)
                    images.broken.add(tracklet.name)
                    continue
                images.sizes.append(size)
                if min(size) < tiny:
                    images.tiny.append(f"{path} ({size[0]} x {size[1]})")
                if before and max(max(a, b) / min(a, b) for a, b in zip(size, before, strict=True)) > JUMP:
                    images.jumps.append(f"{tracklet.name}, frame {number}: {_by(before)} to {_by(size)}")
                before = size
    return images


def find_failures(dataset: Dataset, config: CheckConfig) -> list[str]:
    """Return why training, evaluation or extraction would fail, as far as tracklets tell."""
    from st_reid.evaluation import Retrieval

    def can_train() -> None:
        if not dataset.train:
            raise UserError("no training tracklets; the split of some must be train")
        unknown = sum(not t.person for t in dataset.train)
        if unknown:
            raise UserError(f"{unknown} training tracklets have no person; name the persons to train")
        persons = len({t.person for t in dataset.train})
        if persons < config.persons:
            raise UserError(f"{persons} persons to train on, and a batch has {config.persons}; lower data.persons")

    def can_evaluate() -> None:
        Retrieval.of(dataset.query, dataset.gallery, EvalConfig())

    needed: dict[str, Callable[[], None]] = {"train": can_train, "evaluate": can_evaluate}
    known = any(t.person for split in SPLITS for t in getattr(dataset, split))
    if config.purpose is not None:
        wanted = [config.purpose]
    else:  # who has no persons at all can extract only, and knows
        wanted = [purpose for purpose, has in (("train", dataset.train), ("evaluate", dataset.query)) if has and known]
    failures = []
    for purpose in wanted:
        try:
            needed.get(purpose, lambda: None)()
        except UserError as error:
            failures.append(f"{purpose}: {error}")
    return failures


def _guess(root: str | None) -> str:
    from st_reid.data.datasets.manifest import FILE_NAME

    if root is None:
        raise UserError("nothing to check; pass the folder of a dataset, and --sources where it is of a known layout")
    return "manifest" if (Path(root) / FILE_NAME).is_file() else "folders"


def _size(path: Path) -> tuple[int, int] | str:
    from st_reid.data.frames import UnreadableImage, read_frame

    try:
        _, height, width = read_frame(path).shape
    except UnreadableImage as error:
        return str(error).removeprefix("cannot read image ").partition("; repair")[0]
    return height, width


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _overlap(dataset: Dataset) -> dict[str, Any]:
    train = {t.person for t in dataset.train if t.person}
    both = sorted(train & {t.person for t in (*dataset.query, *dataset.gallery)})
    return {"count": len(both), "for_example": both[:SHOWN]}


def _count(images: Images) -> dict[str, Any]:
    heights = np.array(images.sizes).reshape(-1, 2)
    counted: dict[str, Any] = {
        name: {"count": len(getattr(images, name)), "for_example": getattr(images, name)[:SHOWN]}
        for name in ("unreadable", "tiny", "jumps")
    }
    if len(heights):
        counted["median_size"] = _by((int(np.median(heights[:, 0])), int(np.median(heights[:, 1]))))
    return counted


def _draw(dataset: Dataset, tracklets: Sequence[Tracklet], images: Images, folder: Path) -> None:
    from st_reid import plots

    plots.dataset_overview({s: getattr(dataset, s) for s in SPLITS}, images.sizes, folder / "check.png")
    whole = [t for t in tracklets if t.name not in images.broken]
    jumped = {line.partition(", frame")[0] for line in images.jumps}
    order = sorted(whole, key=lambda t: (t.name not in jumped, t.person, t.camera))
    chosen = [order[i] for i in plots.steps(len(order), 40)] if len(order) > 40 else order
    cells = [
        plots.Cell(
            t,
            plots.WRONG if t.name in jumped else plots.NEUTRAL,
            f"{t.person or '?'}, camera {t.camera}",
            f"{len(t)} frames",
        )
        for t in chosen
    ]
    rows = [cells[i : i + 5] for i in range(0, len(cells), 5)]
    if rows:
        title = "tracklets: first, middle and last frame; with boxes that jump in red"
        plots.found_sheet(title, rows, folder / "contact_sheet.png")


def _announce(content: dict[str, Any], output: Path) -> None:
    for split, row in {**content["splits"], "together": content["together"]}.items():
        length = row["frames_a_tracklet"]
        logger.info(
            "%-9s %6d tracklets of %d persons%s, %d cameras, %d frames (%d to %d a tracklet, median %g)%s",
            split,
            row["tracklets"],
            row["persons"],
            f" and {row['persons_unknown']} of nobody known" if row["persons_unknown"] else "",
            len(row["cameras"]),
            row["frames"],
            length["least"],
            length["most"],
            length["median"],
            "" if not row["without_time"] else f", {row['without_time']} without time",
        )
    alone = content["together"]["persons_of_one_camera"]
    if alone["count"]:
        logger.info("seen by one camera only: %d persons, %s", alone["count"], ", ".join(alone["for_example"]))
    both = content["in_training_and_test"]
    if both["count"]:
        logger.info("in training and in test: %d persons, %s", both["count"], ", ".join(both["for_example"]))
    for name, row in (content["images"] or {}).items():
        if name == "median_size":
            logger.info("median size of an image: %s", row)
        elif row["count"]:
            what = {"jumps": "boxes that change their size at once"}.get(name, f"{name} images")
            logger.info("%s: %d, %s first", what, row["count"], row["for_example"][0])
    logger.info(
        "report: %s, pictures: %s", output / "check.json", ", ".join(str(p) for p in sorted(output.glob("*.png")))
    )


if __name__ == "__main__":
    cli.run(main, NAME)
