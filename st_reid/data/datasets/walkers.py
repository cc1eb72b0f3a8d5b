"""``walkers``, the built-in dataset: drawn people walking past a network of cameras (``docs/walkers.md``).

It is made on first use into a cache folder, as a tracklet dataset with a ``manifest.csv``, and read from there like
your own data.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from st_reid.data.datasets._walkers import random
from st_reid.data.datasets._walkers.cameras import MARKS, Camera, Passing, make_cameras, route
from st_reid.data.datasets._walkers.people import Person, in_other_clothes, make_people
from st_reid.data.datasets._walkers.scene import FINE, HEIGHT, render
from st_reid.data.datasets.base import DATASETS
from st_reid.data.datasets.manifest import FILE_NAME, FrameRow, read_folder, write_rows
from st_reid.data.tracklet import Dataset
from st_reid.errors import UserError
from st_reid.files import folder_written_whole, locked

VERSION = 1  # of the drawing: each version is another dataset, in another folder
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """What to draw, and how much.

    Attributes:
        train: persons to learn from.
        test: persons to look for.
        distractors: persons who are in the gallery only, each seen by one camera.
        frames: shortest and longest tracklet.
        clothes: ``kept``, or ``changed`` before every tracklet.
    """

    train: int = 104
    test: int = 64
    distractors: int = 24
    frames: tuple[int, int] = (14, 20)
    clothes: str = "kept"


@dataclass(frozen=True)
class Plan:
    """One tracklet to draw."""

    index: int
    name: str
    split: str
    person: Person
    passing: Passing
    frames: int


FULL = Size()
CHANGED = Size(train=160, frames=(24, 32), clothes="changed")
"""Longer, so that a tracklet shows every gait's period, 20 frames at most; nothing but body and gait to learn from."""
SIZES = {size.clothes: size for size in (FULL, CHANGED)}


@DATASETS.register("walkers")
def read(root: Path | None, *, seed: int = 0, clothes: str = "kept") -> Dataset:
    """Read the walkers of a seed; make them first if they do not exist yet.

    Args:
        root: the folder that holds the dataset's own folder, or is to hold it; ``None`` for the cache folder, which is
            ``$ST_REID_CACHE``, or else ``$XDG_CACHE_HOME/st_reid``, or else ``~/.cache/st_reid``.
        seed: of the drawing, 0 or more. Other seeds give other persons, cameras and tracklets.
        clothes: ``kept``; or ``changed``, another dataset, in which a person wears other clothes in every tracklet.

    Raises:
        UserError: a negative seed, an unknown value of ``clothes``, a folder that cannot be written, or one that holds
            something else.
    """
    if seed < 0:
        raise UserError(f"walkers: seed is {seed}; expected 0 or more")
    if clothes not in SIZES:
        raise UserError(f"walkers: clothes is {clothes!r}; expected {' or '.join(SIZES)}")
    name = f"walkers-{VERSION}-{'' if clothes == 'kept' else f'{clothes}-'}seed{seed}"
    root = _own_cache_folder() if root is None else root
    folder = root if root.name == name and (root / FILE_NAME).is_file() else root / name
    if not (folder / FILE_NAME).is_file():
        _check_place(root)
        make(folder, seed, SIZES[clothes])
    return replace(read_folder(folder, "walkers"), notes={"walkers": name})


def cache_folder() -> Path:
    """Return the folder for what is made or fetched once."""
    if own := os.environ.get("ST_REID_CACHE"):
        return Path(own).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "st_reid"
    return Path("~/.cache/st_reid").expanduser()


def _own_cache_folder() -> Path:
    """Return the cache folder, made if it is missing, in which nobody else can put pictures for ours.

    Raises:
        UserError: it is another user's, or cannot be made.
    """
    folder = cache_folder()
    if not hasattr(os, "geteuid"):  # Windows
        return folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid == os.geteuid() and state.st_mode & 0o022:
            folder.chmod(stat.S_IMODE(state.st_mode) & ~0o022)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if state.st_uid not in (os.geteuid(), 0):
        raise UserError(
            f"walkers: the cache {folder} is of another user, who could change what is in it; set ST_REID_CACHE to a "
            "folder of your own, or name the one to use with --root"
        )
    return folder


def _check_place(root: Path) -> None:
    """Raise :class:`UserError` for a folder of other things: likely a dataset whose name was not given."""
    if root == cache_folder() or not root.is_dir():
        return
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    if names and not any(name.startswith("walkers-") for name in names):
        raise UserError(
            f"walkers: {root} holds other files, {names[0]} first; if it is a dataset, name it with --sources; for "
            "walkers leave --root out, or pass a new folder"
        )


def make(folder: Path, seed: int, size: Size = FULL) -> None:
    """Draw the dataset into ``folder``, which appears at once and complete, or not at all.

    If another process is making it, wait until it has, and use its folder.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        with locked(folder, wait=True):
            if not (folder / FILE_NAME).is_file():
                logger.info("making the walkers dataset of seed %d in %s, once", seed, folder)
                with folder_written_whole(folder) as partial:
                    _draw(partial, seed, size)
    except (OSError, UserError) as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError | UserError) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"walkers: cannot make {folder}: {reason}; set ST_REID_CACHE or --root to a folder you can write")


def _draw(folder: Path, seed: int, size: Size) -> None:
    cameras = make_cameras(seed, HEIGHT * FINE)
    rows: list[FrameRow] = []
    for plan in tqdm(list(plans(seed, size)), desc="walkers", unit="tracklet"):
        rows += _draw_tracklet(folder, plan, cameras[plan.passing.camera], seed)
    write_rows(folder, rows)


def _draw_tracklet(folder: Path, plan: Plan, camera: Camera, seed: int) -> Iterator[FrameRow]:
    (folder / plan.name).mkdir()
    images = render(plan.person, camera, plan.passing.against, plan.frames, seed, plan.index)
    for t, image in enumerate(images):
        path = f"{plan.name}/{t + 1:04d}.jpg"
        _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, camera.quality))
        (folder / path).write_bytes(data.tobytes())
        yield FrameRow(plan.split, plan.name, path, plan.person.name, camera.name, plan.passing.time + t)


def plans(seed: int, size: Size = FULL) -> Iterator[Plan]:
    """Yield the tracklets of the dataset: who passes which camera when, and in which split.

    Most persons pass three or four of the cameras. Two tracklets of each test person, from different cameras, are
    queries; the gallery is all tracklets of test persons and distractors.
    """
    index = 0
    for person in make_people(seed, size.train, size.test, size.distractors):
        rng = random(seed, "person", person.index, 1)
        seen = 1 if person.split == "distractor" else int(rng.choice((3, 4), p=(0.7, 0.3)))
        passed = [int(c) for c in rng.permutation(len(MARKS))[:seen]]
        queries = set(passed[:2]) if person.split == "test" else set()
        for passing in route(seed, person.index, sorted(passed)):
            split = "train" if person.split == "train" else "gallery"
            if passing.camera in queries:
                split = "query+gallery"
                queries.remove(passing.camera)
            worn = in_other_clothes(person, seed, index) if size.clothes == "changed" else person
            frames = int(np.clip(rng.integers(size.frames[0], size.frames[1] + 1), 1, None))
            name = f"{person.name}c{passing.camera + 1}t{passing.time:07d}"
            yield Plan(index, name, split, worn, passing, frames)
            index += 1
