"""A video and the boxes of a tracker: frames, boxes, crops, and the names of the tracklets cut from it."""

from __future__ import annotations

import configparser
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from st_reid.config import BoxesConfig
from st_reid.data.boxes import Box, VideoInfo, read_boxes
from st_reid.data.files import images_of, natural_order
from st_reid.data.frames import UnreadableImage, max_pixels, read_frame
from st_reid.data.labels import check_label
from st_reid.errors import UserError
from st_reid.reading import check_file, read_text

MAX_FAILURES = 100  # after this many undecodable frames in a row, the video has ended
MAX_FPS = 10_000.0
SNAP = 0.05  # frames: times this close to a whole number are rounded to it
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """A video, its boxes, and where and when it was taken.

    Attributes:
        path: the video file.
        tracks: its boxes in MOT format.
        camera: the camera's label.
        start_time: time of the first frame, in frames of the common clock.
    """

    path: Path
    tracks: Path
    camera: str
    start_time: float

    @property
    def source(self) -> str:
        """The prefix of its tracklets' names; for a folder ``MOT17-02/img1`` it is the sequence's name.

        Raises:
            UserError: a name that a manifest cannot hold.
        """
        path = self.path.absolute()
        folder = path.parent if is_pattern(path) else path
        name = folder.parent.name if folder.name == "img1" else folder.name
        name = name if folder.is_dir() else self.path.stem
        check_label("the name of the video", name)
        if "\\" in name:
            raise UserError(f"the name of the video is {name!r}, with a backslash; rename it")
        return f"{name}_c{self.camera}"

    def read_tracks(
        self, options: BoxesConfig | None = None, fps: float | None = None
    ) -> tuple[dict[int, list[Box]], float]:
        """Return the boxes by frame, and the length of a frame on a clock of ``fps``; warn of what looks wrong.

        Raises:
            UserError: boxes or a video that cannot be read.
        """
        info = probe(self.path, options is not None and options.strict)
        boxes = read_boxes(self.tracks, options, info).by_frame
        _warn_of_jumps(self.tracks, boxes)
        return boxes, _clock_rate(self.path, info, fps)

    def tracklet(self, track: int) -> str:
        """Return the name of the tracklet that a track becomes."""
        return f"{self.source}_{track:04d}"


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: from 1.
        picture: BGR uint8 (h, w, 3).
        time: since the first frame, in frames of the video's own rate; from its timestamps, where it has such.
    """

    number: int
    picture: NDArray[np.uint8]
    time: float


def _warn_of_jumps(file: Path, boxes: Mapping[int, list[Box]]) -> None:
    """Warn of tracks with a box that does not touch the one of the frame before: they may have changed the person."""
    jumps = []
    for number in sorted(boxes):
        before = {box.track: box for box in boxes.get(number - 1, ())}
        jumps += [
            (box.track, number) for box in boxes[number] if box.track in before and not box.meets(before[box.track])
        ]
    if jumps:
        track, frame = jumps[0]
        logger.warning(
            f"{file}: {len(jumps)} boxes do not touch the track's box of the frame before, first that of track {track} "
            f"in frame {frame}; look whether it is still the same person"
        )


def probe(video: Path, strict: bool = False) -> VideoInfo:
    """Return the properties of a video, a folder of images or a pattern of images.

    Raises:
        UserError: a file that cannot be opened as a video, or no images; with ``strict`` also gaps in their numbers.
    """
    if images := _images_of(video):
        if gaps := _find_gaps(images):
            if strict:
                raise UserError(f"{video}: {gaps}; leave --strict out to read them as they are")
            logger.warning(f"{video}: {gaps}")
        height, width, _ = _first_readable(images).shape
        return VideoInfo(width, height, len(images), _rate_of_sequence(images[0].parent))
    with _opened(video) as capture:
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        frames, fps = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0), capture.get(cv2.CAP_PROP_FPS)
        return VideoInfo(width, height, frames, _plausible(fps))


def is_pattern(video: Path) -> bool:
    """Whether a path is a pattern of images, such as ``img1/*.jpg``."""
    return not video.exists() and bool(set(video.name) & set("*?["))


def _clock_rate(video: Path, info: VideoInfo, fps: float | None) -> float:
    """Return the length of a video's frame on a clock of ``fps`` frames per second; 1 without such a clock.

    Raises:
        UserError: the video does not say its own rate.
    """
    if fps is None:
        return 1.0
    if not info.fps > 0:
        raise UserError(f"{video} does not say its frame rate; leave --fps out")
    return fps / info.fps


def frames_of(video: Path, until: int) -> Iterator[Frame]:
    """Yield the frames of a video, a folder of images or a pattern of them, up to number ``until``, or to the end.

    Frames that cannot be decoded are left out and counted.

    Raises:
        UserError: a file that cannot be opened as a video, or no images.
    """
    images = _images_of(video)
    frames = _from_images(images[:until]) if images else _from_file(video, until)
    broken = 0
    with tqdm(total=until, desc="reading the video", unit="frame", leave=False, disable=None) as progress:
        for frame in frames:
            progress.update()
            if frame.picture is None:
                broken += 1
            else:
                yield frame
    if broken:
        logger.warning(f"{video}: {broken} frames cannot be decoded, and are left out")


def _from_images(images: Sequence[Path]) -> Iterator[Any]:
    for number, path in enumerate(images, 1):
        try:
            picture = np.ascontiguousarray(read_frame(path)[..., ::-1])
        except UnreadableImage:
            picture = None
        yield Frame(number, picture, number - 1.0)  # type: ignore[arg-type]


def _from_file(video: Path, until: int) -> Iterator[Any]:
    with _opened(video) as capture:
        fps = capture.get(cv2.CAP_PROP_FPS)
        clock = _Clock(_plausible(fps))
        number = failures = 0
        while number + failures < until and failures < MAX_FAILURES:
            ok, picture = capture.read()
            if not ok:
                failures += 1  # after a broken frame others follow; at the end there are none
                continue
            for _ in range(failures):
                number += 1
                yield Frame(number, None, clock.missed())  # type: ignore[arg-type]
            number, failures = number + 1, 0
            yield Frame(number, np.asarray(picture, np.uint8), clock.time(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000))


class _Clock:
    """Times of a video's frames since the first one, in frames of its own rate.

    Frames at equal steps get whole numbers. If timestamps do not grow, as in some files, every frame is one step.
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.first: float | None = None
        self.last = -1.0

    def time(self, seconds: float) -> float:
        """Return the time of the next frame, whose timestamp is ``seconds``."""
        if self.first is None:  # frames before it, if they could not be decoded, were one step apart
            self.last += 1
            self.first = seconds - (self.last / self.fps if self.fps else 0)
            return self.last
        time = (seconds - self.first) * self.fps
        if not self.last < time < math.inf:  # nor is it NaN, as timestamps of damaged files are
            time = self.last + 1
        self.last = round(time) if abs(time - round(time)) < SNAP else time
        return self.last

    def missed(self) -> float:
        """Return the time of a frame that could not be decoded."""
        self.last += 1
        return self.last


@contextmanager
def _opened(video: Path) -> Iterator[cv2.VideoCapture]:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our message says it
    check_file(video, "expected a video, a folder of images, or a pattern such as 'img1/*.jpg'")
    name: Any = os.fsencode(video)  # OpenCV dies of a str that is not UTF-8
    capture = cv2.VideoCapture(name)
    try:
        height, width = (capture.get(p) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        if height * width > max_pixels():
            raise UserError(
                f"{video} has frames of {height:.0f} x {width:.0f}, more than {max_pixels()} pixels; raise "
                "ST_REID_MAX_PIXELS if they are meant"
            )
        if not capture.isOpened() or not any(capture.grab() for _ in range(MAX_FAILURES)):
            raise UserError(f"{video} cannot be opened as a video; is it complete, and of a format that OpenCV reads?")
        capture.release()
        capture.open(name)
        yield capture
    finally:
        capture.release()


def _images_of(video: Path) -> list[Path]:
    """Return the images of a folder, or of a pattern, in the order of their numbers; none of a file."""
    if video.is_dir():
        images = images_of(video)
        if not images:
            raise UserError(f"{video}: no images in it; expected a video, or a folder of its frames")
        return images
    if is_pattern(video):
        return sorted((p for p in video.parent.glob(video.name) if p.is_file()), key=lambda p: natural_order(p.name))
    return []


def _first_readable(images: Sequence[Path]) -> NDArray[np.uint8]:
    for path in images[:-1]:
        try:
            return read_frame(path)
        except UnreadableImage:  # is left out, and counted, when the frames are read
            continue
    return read_frame(images[-1])


def _find_gaps(images: Sequence[Path]) -> str:
    """Describe gaps in the numbers in the names of images, if any: boxes are matched to images by position."""
    found = [re.search(r"(\d+)$", path.stem) for path in images]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(images):
        return ""
    gaps = [at for at in range(1, len(images)) if numbers[at] != numbers[at - 1] + 1]
    if not gaps:
        return ""
    at = gaps[0]
    return (
        f"{len(gaps)} gaps in the numbers of the images; {images[at].name} follows {images[at - 1].name} "
        f"and is taken as frame {at + 1}; if images are missing, boxes after a gap are cut from the wrong image"
    )


def _rate_of_sequence(folder: Path) -> float:
    """Return the rate in MOT's seqinfo.ini beside a folder of images; 0 if there is none."""
    found = configparser.ConfigParser(strict=False)
    try:
        for file in (folder / "seqinfo.ini", folder.parent / "seqinfo.ini"):
            if file.is_file():
                found.read_string(read_text(file))
        return _plausible(found.getfloat("Sequence", "frameRate", fallback=0.0))
    except (configparser.Error, ValueError):
        return 0.0


def _plausible(fps: float) -> float:
    """Return a rate; 0 for one that no camera has, as damaged files state it."""
    return fps if 0 < fps <= MAX_FPS else 0.0


def crop_box(frame: Any, box: Box) -> Any:
    """Return the part of the picture inside the box, or ``None`` if it is empty."""
    height, width = frame.shape[:2]
    left, top = max(round(box.left), 0), max(round(box.top), 0)
    right, bottom = min(round(box.left + box.width), width), min(round(box.top + box.height), height)
    return frame[top:bottom, left:right] if right > left and bottom > top else None
