"""``python -m st_reid.tracklets``: a video and the boxes of a tracker become a tracklet dataset."""

from __future__ import annotations

import csv
import logging
import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from st_reid import cli
from st_reid.data.datasets.manifest import FILE_NAME, SPLITS, FrameRow, read_rows, write_rows
from st_reid.errors import UserError
from st_reid.files import check_output

NAME = "python -m st_reid.tracklets"
JPEG_QUALITY = 95
logger = logging.getLogger(__name__)


@dataclass
class TrackletsConfig:
    """Cut the boxes of a tracker out of a video and write them as a tracklet dataset (a manifest.csv and images).

    Attributes:
        video: the video file.
        tracks: its boxes in MOT format, a line each: frame (from 1), track, left, top, width, height, confidence;
            lines of confidence 0 are ignored, as in MOT's ground truth.
        output: the folder of the dataset; it must not exist, or be a dataset with --append.
        identities: a CSV with columns track_id and person_id. Without it persons are unknown, and the dataset serves
            to extract features but not to train or to evaluate.
        camera: the camera's label.
        start_time: time of the first frame on the clock that all cameras share, in frames.
        fps: frames per second of the shared clock; by default the video's own rate.
        split: train, query, gallery, or several joined by +.
        append: add the video to the dataset in --output.
        strict: stop at a box that lies wholly outside of its frame, or beyond the video's end, instead of dropping it.
    """

    video: str
    tracks: str
    output: str
    identities: str | None = None
    camera: str = "1"
    start_time: float = 0
    fps: float | None = None
    split: str = "query+gallery"
    append: bool = False
    strict: bool = False


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


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    cut(cli.parse(TrackletsConfig, argv, NAME))


def cut(config: TrackletsConfig) -> Path:
    """Write the dataset and return its folder. Nothing is left behind where it fails.

    Raises:
        UserError: a file that is missing or cannot be read, a folder in the way, a track without identity, no box in
            the picture.
    """
    output = Path(config.output)
    source = f"{Path(config.video).stem}_c{config.camera}"
    _check(config, output, source)
    boxes = read_boxes(Path(config.tracks))
    warn_of_jumps(Path(config.tracks), boxes)
    persons = None if config.identities is None else read_identities(Path(config.identities))
    if persons is not None:
        tracks = {box.track for frame in boxes.values() for box in frame}
        unnamed = sorted(tracks - set(persons))
        if unnamed:
            raise UserError(f"{config.identities}: no person for track {_some(unnamed)}; add a row for each")

    before = list(read_rows(output)) if config.append else []
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        rows = _write_crops(config, boxes, persons or {}, partial, source)
        write_rows(partial, [*before, *rows])
        if config.append:
            _append(partial, output, source)
        else:
            os.rename(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    known = len({r.person for r in rows if r.person})
    logger.info(
        "%s: %d tracklets, %d frames, %s, camera %s, split %s",
        output,
        len({r.tracklet for r in rows}),
        len(rows),
        f"{known} persons" if persons else "persons unknown",
        config.camera,
        config.split,
    )
    return output


def _append(partial: Path, output: Path, source: str) -> None:
    """Move the images, then the manifest that names them: until then nobody sees them."""
    os.rename(partial / source, output / source)
    try:
        os.replace(partial / FILE_NAME, output / FILE_NAME)
    except BaseException:
        shutil.rmtree(output / source, ignore_errors=True)
        raise


def _check(config: TrackletsConfig, output: Path, source: str) -> None:
    unknown = [s for s in config.split.split("+") if s not in SPLITS]
    if unknown:
        raise UserError(f"split is {config.split!r}; expected train, query, gallery, or several joined by '+'")
    if not config.camera or set(config.camera) & set("/\\"):
        raise UserError(f"camera is {config.camera!r}; expected a label without slashes")
    if config.fps is not None and config.fps <= 0:
        raise UserError(f"fps is {config.fps}; expected a positive number")
    for file in (config.video, config.tracks, config.identities):
        if file is not None and not Path(file).is_file():
            raise UserError(f"no file {file}")
    if config.append:
        if not (output / FILE_NAME).is_file():
            raise UserError(f"nothing to append to: no {FILE_NAME} in {output}; leave --append out to make it")
        if (output / source).exists():
            raise UserError(f"{output} has a video {source!r} already; rename the file or pass another --camera")
    elif output.exists():
        raise UserError(f"{output} exists; pass another --output, or --append to add the video to the dataset in it")
    check_output(output)


def read_boxes(file: Path) -> dict[int, list[Box]]:
    """Read boxes in MOT format, by frame number from 1.

    Raises:
        UserError: a line that is no box, the same track twice in a frame, or no box at all.
    """
    boxes: dict[int, list[Box]] = defaultdict(list)
    for number, line in enumerate(_text(file).splitlines(), 1):
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
        logger.warning(
            "%s: %d boxes do not touch the track's box of the frame before, first that of track %d in frame %d; "
            "look whether it is still the same person",
            file,
            len(jumps),
            *jumps[0],
        )


def read_identities(file: Path) -> dict[int, str]:
    """Read which person each track is, from the columns ``track_id`` and ``person_id`` of a CSV.

    Raises:
        UserError: a missing column, a track that is no number, or an empty person.
    """
    reader = csv.DictReader(_text(file).splitlines())
    if not {"track_id", "person_id"} <= set(reader.fieldnames or ()):
        raise UserError(f"{file}: columns are {reader.fieldnames}; expected track_id and person_id among them")
    persons = {}
    for row in reader:
        try:
            persons[int(row["track_id"])] = row["person_id"].strip()
        except (ValueError, AttributeError):
            raise UserError(f"{file}, line {reader.line_num}: track_id {row['track_id']!r} is no number") from None
    empty = sorted(track for track, person in persons.items() if not person)
    if empty:
        raise UserError(f"{file}: person_id of track {_some(empty)} is empty")
    return persons


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as text: {error}") from None


def _write_crops(
    config: TrackletsConfig, boxes: dict[int, list[Box]], persons: dict[int, str], folder: Path, source: str
) -> list[FrameRow]:
    import cv2

    rows, dropped = [], Counter[str]()
    rate = 1.0
    last = 0
    for number, frame, video_fps in frames_of(Path(config.video), max(boxes)):
        last = number
        if config.fps is not None:
            if not video_fps > 0:
                raise UserError(f"{config.video} does not say its frame rate; leave --fps out")
            rate = config.fps / video_fps
        for box in boxes.get(number, ()):
            crop = crop_box(frame, box)
            if crop is None:
                dropped["outside of the picture"] += 1
                if config.strict:
                    raise UserError(f"{config.tracks}: the box of track {box.track} in frame {number} is outside")
                continue
            path = f"{source}/{box.track:04d}/{number:06d}.jpg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(folder / path), crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
                raise UserError(f"{folder / path} could not be written; is the disk full?")
            time = config.start_time + (number - 1) * rate
            tracklet = f"{source}_{box.track:04d}"
            rows.append(FrameRow(config.split, tracklet, path, persons.get(box.track, ""), config.camera, time))
    beyond = sum(len(frame) for number, frame in boxes.items() if number > last)
    if beyond:
        dropped[f"beyond the video's last frame, {last}"] += beyond
        if config.strict:
            raise UserError(f"{config.tracks}: {beyond} boxes are beyond the last frame, {last}, of {config.video}")
    for why, count in dropped.items():
        logger.warning("dropped %d boxes %s", count, why)
    if not rows:
        raise UserError(f"no box of {config.tracks} lies in a picture of {config.video}; do they belong together?")
    return sorted(rows, key=lambda row: row.path)


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


def _some(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")


if __name__ == "__main__":
    cli.run(main, NAME)
