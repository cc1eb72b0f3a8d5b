"""Cutting the boxes of a tracker out of a video: a tracklet dataset."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from st_reid.config import BoxesConfig
from st_reid.data.boxes import Box, join_some
from st_reid.data.datasets.manifest import FILE_NAME, FrameRow, read_rows, write_rows
from st_reid.data.labels import check_label
from st_reid.data.tracklet import read_person, read_splits, warn_of_odd_persons
from st_reid.data.video import Video, crop_box, frames_of
from st_reid.errors import UserError
from st_reid.files import only_writer, partial_path, remove_left_in
from st_reid.reading import check_file, read_csv

JPEG_QUALITY = 95
logger = logging.getLogger(__name__)


@only_writer
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
    **options: Any,
) -> Path:
    """Cut a dataset out of a video and return its folder. After an error nothing is left.

    The arguments are the options of ``python -m st_reid.tracklets``; ``options`` are ``format``, ``classes``,
    ``first_frame`` and ``min_confidence``, see :class:`~st_reid.config.BoxesConfig`.

    Raises:
        UserError: a file that is missing or cannot be read, a folder that exists, a track without identity, no box in
            the picture.
    """
    folder = Path(output)
    taken = Video(Path(video), Path(tracks), camera, start_time)
    if identities is not None:
        check_file(Path(identities))
    _check_labels(camera, split)
    before = _check_folder(folder, taken.source, append)
    boxes, rate = taken.read_tracks(BoxesConfig(strict=strict, **options), fps)
    persons = {} if identities is None else _persons_of_tracks(Path(identities), boxes)
    clothes = {} if identities is None else read_identities(Path(identities), "clothes")

    with partial_path(folder / taken.source if append else folder) as partial:
        partial.mkdir()
        rows = [
            FrameRow(split, taken.tracklet(track), path, persons.get(track, ""), camera, time, clothes.get(track, ""))
            for track, path, time in _write_crops(taken, boxes, partial, rate, strict)
        ]
        write_rows(partial, [*before, *rows])
        if append:
            _append(partial, folder, taken.source)
        else:
            os.rename(partial, folder)
    count = len({r.tracklet for r in rows})
    known = f"{len({r.person for r in rows if r.person})} persons" if persons else "persons unknown"
    logger.info(f"{folder}: {count} tracklets, {len(rows)} frames, {known}, camera {camera}, split {split}")
    return folder


def _append(partial: Path, output: Path, source: str) -> None:
    """Move the images, then the manifest that lists them: until then they are not part of the dataset.

    What a kill between the two leaves is a folder that no row names; the next time it is replaced.
    """
    if (output / source).exists():
        logger.info("%s, which no row of %s names, is replaced", output / source, FILE_NAME)
        os.rename(output / source, partial / "replaced")
    try:
        os.rename(partial / source, output / source)
        os.replace(partial / FILE_NAME, output / FILE_NAME)
    except BaseException:
        if (partial / FILE_NAME).exists():  # a signal may come when all is done
            shutil.rmtree(output / source, ignore_errors=True)
        raise


def _check_labels(camera: str, split: str) -> None:
    read_splits(split)
    if not camera:
        raise UserError("camera is ''; expected a label")
    check_label("camera", camera, file_name=True)


def _check_folder(output: Path, source: str, append: bool) -> list[FrameRow]:
    """Return the rows that the dataset has already."""
    if not append:
        if output.exists():
            raise UserError(
                f"{output} exists; pass another --output, or --append to add the video to the dataset in it"
            )
        return []
    if not (output / FILE_NAME).is_file():
        raise UserError(f"nothing to append to: no {FILE_NAME} in {output}; leave --append out to make it")
    remove_left_in(output)
    rows = list(read_rows(output))
    if any(PurePosixPath(row.path).parts[:1] == (source,) for row in rows):
        raise UserError(f"{output} has a video {source!r} already; rename the file or pass another --camera")
    return rows


def _persons_of_tracks(file: Path, boxes: dict[int, list[Box]]) -> dict[int, str]:
    persons = read_identities(file)
    tracks = {box.track for frame in boxes.values() for box in frame}
    unnamed = sorted(track for track in tracks if not persons.get(track))
    if unnamed:
        logger.info(f"{file}: the persons of {len(unnamed)} tracks are unknown: {join_some(unnamed)}")
    if strangers := sorted(set(persons) - tracks):
        logger.warning(f"{file}: {len(strangers)} tracks have no boxes: {join_some(strangers)}")
    return persons


def read_identities(file: Path, column: str = "person_id") -> dict[int, str]:
    """Read which person each track is, from the columns ``track_id`` and ``person_id`` of a CSV.

    An empty person is unknown; ``distractor`` is a person who is none of the others.

    Args:
        file: the CSV.
        column: another one to read instead, such as ``clothes``, which may be missing.

    Raises:
        UserError: a missing column, a track that is no whole number, or two persons for one track.
    """
    labels: dict[int, str] = {}
    for line, row in read_csv(file, ("track_id", "person_id")):
        try:
            text, label = row["track_id"].strip(), row.get(column, "").strip()
            track = int(re.sub(r"\.0*$", "", text))
        except ValueError:
            raise UserError(f"{file}, line {line}: track_id {row['track_id']!r} is no number") from None
        label = read_person(label) if column == "person_id" else label
        if labels.setdefault(track, label) != label:
            raise UserError(f"{file}, line {line}: track {track} is {label!r}, and was {labels[track]!r}; keep one")
    if column == "person_id":
        warn_of_odd_persons(file, labels.values())
    return labels


def _write_crops(
    video: Video, boxes: dict[int, list[Box]], folder: Path, rate: float, strict: bool
) -> list[tuple[int, str, float]]:
    """Write the crop of every box; return track, path and time of each, in the order of the frames."""
    written: list[tuple[int, str, float]] = []
    dropped = Counter[str]()
    last = 0
    undecoded = set(boxes)
    for frame in frames_of(video.path, max(boxes)):
        last = frame.number
        undecoded.discard(last)
        for box in boxes.get(frame.number, ()):
            crop = crop_box(frame.picture, box)
            if crop is None:
                dropped["outside of the picture"] += 1
                if strict:
                    raise UserError(f"{video.tracks}: the box of track {box.track} in frame {last} is outside")
                continue
            path = f"{video.source}/{box.track:04d}/{last:06d}.jpg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            (folder / path).write_bytes(data.tobytes())  # not by OpenCV, which dies of names that are not UTF-8
            written.append((box.track, path, video.start_time + frame.time * rate))
    broken = sum(len(boxes[number]) for number in undecoded if number < last)
    if broken:
        dropped["in frames that cannot be decoded"] += broken
        if strict:
            raise UserError(f"{video.tracks}: {broken} boxes are in frames of {video.path} that cannot be decoded")
    beyond = sum(len(frame) for number, frame in boxes.items() if number > last)
    if beyond:
        dropped[f"beyond the video's last frame, {last}"] += beyond
        if strict:
            raise UserError(f"{video.tracks}: {beyond} boxes are beyond the last frame, {last}, of {video.path}")
    for why, count in dropped.items():
        logger.warning("dropped %d boxes %s", count, why)
    if not written:
        raise UserError(f"no box of {video.tracks} lies in a picture of {video.path}; do they belong together?")
    return sorted(written, key=lambda row: row[0])  # tracks as numbers, and frames in their order
