"""What is in a dataset, and what is wrong with its images."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from tqdm import tqdm

from st_reid.data.frames import UnreadableImage, read_frame
from st_reid.data.tracklet import DISTRACTOR, UNKNOWN, Tracklet

JUMP = 1.6  # times the height or width of the frame before: the box jumped, or the track changed its person
CONSTANT = 2.0  # deviation of an image's pixels, of 255, below which there is nothing to see
SATURATED = 0.8  # share of an image's values that are 0 or 255
WRONG = ("unreadable", "tiny", "constant", "saturated", "twice", "jumps")
"""The counts of images."""
MAX_EXAMPLES = 5  # of what is wrong


class Lengths(TypedDict):
    """Frames a tracklet."""

    least: int
    median: float
    most: int


class Counted(TypedDict):
    """How many there are, and the first few."""

    count: int
    for_example: list[str]


class Counts(TypedDict):
    """Counts of any tracklets."""

    tracklets: int
    frames: int
    frames_a_tracklet: Lengths
    persons: int
    persons_unknown: int
    distractors: int
    persons_of_one_camera: Counted
    cameras: dict[str, int]
    without_time: int


class Description(Counts, total=False):
    """Counts of tracklets; outfits only where there are labels of clothes."""

    outfits: int


@dataclass
class Images:
    """What is wrong with the images of tracklets.

    Attributes:
        unreadable: path and reason.
        broken: names of the tracklets with unreadable images.
        tiny: path and size.
        constant: path of images of nearly one value.
        saturated: path of images that are mostly black or white, and how much of them.
        twice: path of images that are also in another tracklet, and that tracklet.
        jumps: tracklet and frame at which the box suddenly changed its size.
        sizes: (frames, 2) heights and widths of those that can be read.
    """

    unreadable: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    tiny: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    saturated: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    jumps: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def count_some(values: Sequence[str]) -> Counted:
    """Return how many there are, and the first few."""
    return {"count": len(values), "for_example": list(values[:MAX_EXAMPLES])}


def describe(tracklets: Sequence[Tracklet]) -> Description:
    """Return counts of tracklets: persons, cameras, frames, times."""
    lengths = [len(t) for t in tracklets]
    cameras = defaultdict(set)
    for t in tracklets:
        if t.is_known:
            cameras[t.person].add(t.camera)
    alone = sorted(person for person, seen in cameras.items() if len(seen) == 1)
    counts: Description = {
        "tracklets": len(tracklets),
        "frames": sum(lengths),
        "frames_a_tracklet": {
            "least": min(lengths),
            "median": float(np.median(lengths)),
            "most": max(lengths),
        },
        "persons": len(cameras),
        "persons_unknown": sum(t.person == UNKNOWN for t in tracklets),
        "distractors": sum(t.person == DISTRACTOR for t in tracklets),
        "persons_of_one_camera": count_some(alone),
        "cameras": dict(sorted(Counter(t.camera for t in tracklets).items())),
        "without_time": sum(t.time is None for t in tracklets),
    }
    if clothes := {(t.person, t.clothes) for t in tracklets if t.clothes}:
        counts["outfits"] = len(clothes)
    return counts


def find_one_person_at_once(tracklets: Sequence[Tracklet]) -> list[str]:
    """Return the pairs of tracklets of one person that one camera saw at the same time.

    Their identities are wrong, or the tracker followed one person twice.
    """
    seen: defaultdict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for t in tracklets:
        if t.is_known and t.time is not None and t.last is not None:
            seen[t.person, t.camera].append((t.time, t.last, t.name))
    pairs = []
    for (person, camera), some in seen.items():
        some.sort()
        for i, (_, last, name) in enumerate(some):
            for first, _, other in some[i + 1 :]:
                if first > last:
                    break
                pairs.append(f"{name} and {other}, person {person}, camera {camera}")
    return pairs


def look_at(tracklets: Sequence[Tracklet], tiny: int) -> Images:
    """Decode every image of ``tracklets``, and return what is wrong with them."""
    images = Images()
    first: dict[bytes, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(
        pool.map(lambda t: [_look(path) for path in t.paths], tracklets),
        total=len(tracklets), desc="reading images", unit="tracklet", leave=False, disable=None,
    ) as progress:  # fmt: skip
        for tracklet, looks in zip(tracklets, progress, strict=True):
            before: tuple[int, int] | None = None
            for number, (path, look) in enumerate(zip(tracklet.paths, looks, strict=True), 1):
                if isinstance(look, str):
                    images.unreadable.append(look)
                    images.broken.add(tracklet.name)
                    continue
                size = look.size
                images.sizes.append(size)
                if min(size) < tiny:
                    images.tiny.append(f"{path} ({size[0]} x {size[1]})")
                if look.deviation < CONSTANT:
                    images.constant.append(str(path))
                elif look.saturated > SATURATED:
                    images.saturated.append(f"{path} ({look.saturated:.0%})")
                elif first.setdefault(look.digest, tracklet.name) != tracklet.name:
                    images.twice.append(f"{path}, as in {first[look.digest]}")
                if before and max(max(a, b) / min(a, b) for a, b in zip(size, before, strict=True)) > JUMP:
                    images.jumps.append(f"{tracklet.name}, frame {number}: {_by(before)} to {_by(size)}")
                before = size
    return images


class _Look(NamedTuple):
    """The properties of an image: size, deviation of the pixels, share at 0 or 255, and a hash."""

    size: tuple[int, int]
    deviation: float
    saturated: float
    digest: bytes


def _look(path: Path) -> _Look | str:
    try:
        pixels = read_frame(path)
    except UnreadableImage as error:
        return str(error).removeprefix("cannot read image ").partition("; repair")[0]
    height, width, _ = pixels.shape
    extreme = float(((pixels == 0) | (pixels == 255)).mean())
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
    return _Look((height, width), float(pixels.std()), extreme, digest)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def count_images(images: Images) -> dict[str, Any]:
    """Return what is wrong with images, counted, and the median size of those that can be read."""
    heights = np.array(images.sizes).reshape(-1, 2)
    counted: dict[str, Any] = {name: count_some(getattr(images, name)) for name in WRONG}
    if len(heights):
        counted["median_size"] = _by((int(np.median(heights[:, 0])), int(np.median(heights[:, 1]))))
    return counted
