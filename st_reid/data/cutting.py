"""Cutting the boxes of a tracker out of a video: a tracklet dataset."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from collections import Counter
from pathlib import Path

from st_reid.data.datasets.manifest import FILE_NAME, FrameRow, read_rows, write_rows
from st_reid.data.tracklet import SPLITS
from st_reid.data.video import Box, Video, crop_box, frames_of, join_some, read_boxes, read_text, warn_of_jumps
from st_reid.errors import UserError
from st_reid.files import PARTIAL, check_output

JPEG_QUALITY = 95
logger = logging.getLogger(__name__)


def cut(
    video: str,
    tracks: str,
    output: str,
    *,
    identities: str | None = None,
    camera: str = "1",
    start_time: float = 0,
    fps: float | None = None,
    split: str = "query+gallery",
    append: bool = False,
    strict: bool = False,
) -> Path:
    """Cut a dataset out of a video and return its folder. Nothing is left behind where it fails.

    The arguments are the options of ``python -m st_reid.tracklets``.

    Raises:
        UserError: a file that is missing or cannot be read, a folder in the way, a track without identity, no box in
            the picture.
    """
    folder = Path(output)
    taken = Video(Path(video), Path(tracks), camera, start_time)
    for file in (video, tracks, identities):
        if file is not None and not Path(file).is_file():
            raise UserError(f"no file {file}")
    _check_labels(camera, split)
    _check_folder(folder, taken.source, append)
    boxes = read_boxes(taken.tracks)
    warn_of_jumps(taken.tracks, boxes)
    persons = {} if identities is None else _persons_of_tracks(Path(identities), boxes)

    before = list(read_rows(folder)) if append else []
    partial = folder.with_name(f".{folder.name}{PARTIAL}{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        rows = [
            FrameRow(split, taken.tracklet(track), path, persons.get(track, ""), camera, time)
            for track, path, time in _write_crops(taken, boxes, partial, fps, strict)
        ]
        write_rows(partial, [*before, *rows])
        if append:
            _append(partial, folder, taken.source)
        else:
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    count = len({r.tracklet for r in rows})
    known = f"{len({r.person for r in rows if r.person})} persons" if persons else "persons unknown"
    logger.info(f"{folder}: {count} tracklets, {len(rows)} frames, {known}, camera {camera}, split {split}")
    return folder


def _append(partial: Path, output: Path, source: str) -> None:
    """Move the images, then the manifest that names them: until then nobody sees them."""
    os.rename(partial / source, output / source)
    try:
        os.replace(partial / FILE_NAME, output / FILE_NAME)
    except BaseException:
        shutil.rmtree(output / source, ignore_errors=True)
        raise


def _check_labels(camera: str, split: str) -> None:
    if any(s not in SPLITS for s in split.split("+")):
        raise UserError(f"split is {split!r}; expected train, query, gallery, or several joined by '+'")
    if not camera or set(camera) & set("/\\"):
        raise UserError(f"camera is {camera!r}; expected a label without slashes")


def _check_folder(output: Path, source: str, append: bool) -> None:
    if append:
        if not (output / FILE_NAME).is_file():
            raise UserError(f"nothing to append to: no {FILE_NAME} in {output}; leave --append out to make it")
        if (output / source).exists():
            raise UserError(f"{output} has a video {source!r} already; rename the file or pass another --camera")
    elif output.exists():
        raise UserError(f"{output} exists; pass another --output, or --append to add the video to the dataset in it")
    check_output(output)


def _persons_of_tracks(file: Path, boxes: dict[int, list[Box]]) -> dict[int, str]:
    persons = read_identities(file)
    unnamed = sorted({box.track for frame in boxes.values() for box in frame} - set(persons))
    if unnamed:
        raise UserError(f"{file}: no person for track {join_some(unnamed)}; add a row for each")
    return persons


def read_identities(file: Path) -> dict[int, str]:
    """Read which person each track is, from the columns ``track_id`` and ``person_id`` of a CSV.

    Raises:
        UserError: a missing column, a track that is no number, or an empty person.
    """
    reader = csv.DictReader(read_text(file).splitlines())
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
        raise UserError(f"{file}: person_id of track {join_some(empty)} is empty")
    return persons


def _write_crops(
    video: Video, boxes: dict[int, list[Box]], folder: Path, fps: float | None, strict: bool
) -> list[tuple[int, str, float]]:
    """Write the crop of every box; return track, path and time of each, in the order of the paths."""
    import cv2

    written: list[tuple[int, str, float]] = []
    dropped = Counter[str]()
    rate = 1.0
    last = 0
    for number, frame, video_fps in frames_of(video.path, max(boxes)):
        last = number
        if fps is not None:
            if not video_fps > 0:
                raise UserError(f"{video.path} does not say its frame rate; leave --fps out")
            rate = fps / video_fps
        for box in boxes.get(number, ()):
            crop = crop_box(frame, box)
            if crop is None:
                dropped["outside of the picture"] += 1
                if strict:
                    raise UserError(f"{video.tracks}: the box of track {box.track} in frame {number} is outside")
                continue
            path = f"{video.source}/{box.track:04d}/{number:06d}.jpg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(folder / path), crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
                raise UserError(f"{folder / path} could not be written; is the disk full?")
            written.append((box.track, path, video.start_time + (number - 1) * rate))
    beyond = sum(len(frame) for number, frame in boxes.items() if number > last)
    if beyond:
        dropped[f"beyond the video's last frame, {last}"] += beyond
        if strict:
            raise UserError(f"{video.tracks}: {beyond} boxes are beyond the last frame, {last}, of {video.path}")
    for why, count in dropped.items():
        logger.warning("dropped %d boxes %s", count, why)
    if not written:
        raise UserError(f"no box of {video.tracks} lies in a picture of {video.path}; do they belong together?")
    return sorted(written, key=lambda row: row[1])
