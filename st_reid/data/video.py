"""A video and the boxes of a tracker: frames, boxes, crops, and what the tracklets cut from it are called."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from st_reid.errors import UserError

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
        """What the names of its tracklets begin with."""
        return f"{self.path.stem}_c{self.camera}"

    def tracklet(self, track: int) -> str:
        """Return the name of the tracklet that a track becomes."""
        return f"{self.source}_{track:04d}"


class Box(NamedTuple):
    """A tracker's box in pixels."""

    track: int
    left: float
    top: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        """Whether they have a point in common."""
        return (
            max(self.left, other.left) <= min(self.left + self.width, other.left + other.width)
            and max(self.top, other.top) <= min(self.top + self.height, other.top + other.height)
        )  # fmt: skip


def read_boxes(file: Path) -> dict[int, list[Box]]:
    """Read boxes in MOT format, by frame number from 1.

    Raises:
        UserError: a line that is no box, the same track twice in a frame, or no box at all.
    """
    boxes: dict[int, list[Box]] = defaultdict(list)
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, track, left, top, width, height, *rest = (float(v) for v in line.replace(",", " ").split())
        except ValueError:
            raise UserError(
                f"{file}, line {number}: {line.strip()[:60]!r} is no box; "
                "expected frame, track, left, top, width, height as numbers"
            ) from None
        numbers = (frame, track, left, top, width, height)
        whole = all(map(math.isfinite, numbers)) and frame == int(frame) and track == int(track)
        if not whole or frame < 1 or width <= 0 or height <= 0:
            raise UserError(
                f"{file}, line {number}: frame {frame:g}, track {track:g}, size {width:g} x {height:g}; "
                "expected a frame from 1, whole numbers for both, and a finite box of positive size"
            )
        if rest and rest[0] == 0:
            continue
        if any(box.track == track for box in boxes[int(frame)]):
            raise UserError(f"{file}, line {number}: track {track:g} stands in frame {frame:g} twice; keep one box")
        boxes[int(frame)].append(Box(int(track), left, top, width, height))
    if not boxes:
        raise UserError(f"{file}: no boxes")
    return boxes


def warn_of_jumps(file: Path, boxes: dict[int, list[Box]]) -> None:
    """Say which tracks have a box that does not touch the one of the frame before: they may have changed the person."""
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


def read_text(file: Path) -> str:
    """Read a text file in UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as text: {error}") from None


def frames_of(video: Path, until: int) -> Iterator[tuple[int, Any, float]]:
    """Yield (number from 1, BGR picture, frames per second) up to frame ``until``, or to the video's end.

    Raises:
        UserError: a file that cannot be opened as a video.
    """
    import cv2
    from tqdm import tqdm

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our line says it
    capture = cv2.VideoCapture(str(video))
    try:
        ok, frame = capture.read() if capture.isOpened() else (False, None)
        if not ok:
            raise UserError(f"{video} cannot be opened as a video; is it complete, and of a format that OpenCV reads?")
        fps = capture.get(cv2.CAP_PROP_FPS)
        with tqdm(total=until, desc="cutting", unit="frame", leave=False, disable=None) as progress:
            for number in range(1, until + 1):
                yield number, frame, fps
                progress.update()
                ok, frame = capture.read()
                if not ok:
                    return
    finally:
        capture.release()


def crop_box(frame: Any, box: Box) -> Any:
    """Return the part of the picture inside the box, or ``None`` where there is none."""
    height, width = frame.shape[:2]
    left, top = max(round(box.left), 0), max(round(box.top), 0)
    right, bottom = min(round(box.left + box.width), width), min(round(box.top + box.height), height)
    return frame[top:bottom, left:right] if right > left and bottom > top else None


def join_some(values: list[int]) -> str:
    """Return the first five of some numbers as text, and how many more there are."""
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
