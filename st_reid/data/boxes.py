"""Reads the boxes of trackers and annotation tools; the format is recognised by the content of the file."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from st_reid.config import BoxesConfig
from st_reid.data.columns import NEEDED, find_columns, plain_name, split_cells
from st_reid.errors import UserError, first_line, unknown_name
from st_reid.reading import check_file, read_text

logger = logging.getLogger(__name__)
HEAD = 4096  # characters, by which a format is recognised
OVERRUN = 0.3  # from this share of boxes outside the picture, they look like corners
NO_TRACK = "of no track yet"
PERSONS = frozenset({"1", "person", "pedestrian"})
"""The persons of MOT: by number, or by name in a table with a column of classes."""
OUTSIDE = "outside, where the track is not seen"


class Box(NamedTuple):
    """A tracker's box in pixels."""

    track: int
    left: float
    top: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        """Whether two boxes have a point in common."""
        return (
            max(self.left, other.left) <= min(self.left + self.width, other.left + other.width)
            and max(self.top, other.top) <= min(self.top + self.height, other.top + other.height)
        )  # fmt: skip


class VideoInfo(NamedTuple):
    """The properties that a video states; zero if it does not.

    Attributes:
        width: in pixels.
        height: in pixels.
        frames: how many.
        fps: frames per second.
    """

    width: int = 0
    height: int = 0
    frames: int = 0
    fps: float = 0.0


class Record(NamedTuple):
    """A box as it is in a file.

    Attributes:
        where: its place in the file, for messages.
        frame: its number in the file.
        track: its number; negative for none.
        box: left, top, width, height in pixels.
        confidence: ``None``, or below 0, if it is not known.
        label: its class; ``None`` if the file has none.
        dropped: why the file itself excludes it, such as CVAT's outside boxes; ``None`` if it does not.
    """

    where: str
    frame: float
    track: float
    box: tuple[float, float, float, float]
    confidence: float | None = None
    label: str | None = None
    dropped: str | None = None


@dataclass(frozen=True)
class Format:
    """A format of boxes.

    Attributes:
        read: yields the records of a file, or of a folder of files.
        first_frame: number of the video's first frame.
        persons: names of the class of persons.
        says: a short description of the format.
    """

    read: Callable[[Path, VideoInfo], Iterator[Record]]
    first_frame: int
    persons: frozenset[str]
    says: str


@dataclass(frozen=True)
class Boxes:
    """The content of a file of boxes.

    Attributes:
        by_frame: the boxes by the number of the frame, from 1.
        format: the format in which the file was read.
        dropped: how many boxes were dropped, by reason.
    """

    by_frame: dict[int, list[Box]]
    format: str
    dropped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Boxes."""
        return sum(map(len, self.by_frame.values()))


def read_boxes(file: Path, options: BoxesConfig | None = None, video: VideoInfo | None = None) -> Boxes:
    """Read the boxes of a tracker; say which format it is, what is dropped, and what looks wrong.

    Args:
        file: a file, or a folder of files, a frame each.
        options: see :class:`~st_reid.config.BoxesConfig`.
        video: the properties of the video.

    Raises:
        UserError: a file that cannot be read or is of no known format, a line that is no box, detections without
            tracks, the same track twice in a frame, nothing left; with ``strict`` also what would be dropped.
    """
    options, video = options or BoxesConfig(), video or VideoInfo()
    name = recognise(file) if options.format == "auto" else options.format
    if name not in FORMATS:
        raise unknown_name("format of boxes", name, FORMATS)
    chosen = FORMATS[name]
    first = chosen.first_frame if options.first_frame is None else options.first_frame
    kept = _Kept(file, options, chosen, first)
    for record in chosen.read(file, video):
        kept.add(record)
    boxes = Boxes(kept.finish(), name, kept.dropped)
    logger.info(f"{file}: {len(boxes)} boxes in {len(boxes.by_frame)} frames, read as {name} ({chosen.says})")
    for why, count in boxes.dropped.items():
        logger.warning(f"{file}: dropped {count} boxes {why}")
    _warn_of_what_looks_wrong(file, boxes, video)
    return boxes


class _Kept:
    """Sorts records into kept and dropped ones."""

    def __init__(self, file: Path, options: BoxesConfig, form: Format, first: int) -> None:
        self.file, self.options, self.first = file, options, first
        wanted = form.persons if options.classes is None else options.classes
        self.wanted = {label.casefold() for label in wanted}
        self.boxes: dict[int, list[Box]] = defaultdict(list)
        self.dropped: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.seen: set[tuple[int, int]] = set()
        self.records = 0

    def add(self, record: Record) -> None:
        self.records += 1
        where = f"{self.file}, {record.where}"
        why = self._why_not(record)
        if why is not None:
            self.dropped[why] += 1
            if self.options.strict and why not in (NO_TRACK, OUTSIDE):
                raise UserError(f"{where}: a box {why}; leave --strict out to drop such boxes")
            return
        frame, track = int(record.frame), int(record.track)
        if frame != record.frame or track != record.track:
            raise UserError(f"{where}: frame {record.frame:g}, track {record.track:g}; expected whole numbers")
        if frame < self.first:
            hint = "pass --first-frame 0, if frames are counted from 0" if frame == 0 else "check --first-frame"
            raise UserError(f"{where}: frame {frame}, and the video's first is {self.first}; {hint}")
        number = frame - self.first + 1
        if (number, track) in self.seen:
            raise UserError(f"{where}: track {track} stands in frame {frame} twice; keep one box")
        self.seen.add((number, track))
        self.boxes[number].append(Box(track, *record.box))

    def _why_not(self, record: Record) -> str | None:
        options, confidence = self.options, record.confidence
        if record.label is not None:
            self.labels[record.label] += 1
            if record.label.casefold() not in self.wanted:
                return "of other classes"
        if record.dropped is not None:
            return record.dropped
        if record.track < 0:
            return NO_TRACK
        if confidence is not None and confidence >= 0:
            if options.min_confidence is None and confidence == 0:
                return "of confidence 0"
            if options.min_confidence is not None and confidence < options.min_confidence:
                return f"of confidence below {options.min_confidence:g}"
        finite = all(map(math.isfinite, (record.frame, record.track, *record.box)))
        if not finite or record.box[2] <= 0 or record.box[3] <= 0:
            return "of no size, or not finite"
        return None

    def finish(self) -> dict[int, list[Box]]:
        """Return the kept boxes by frame; raise an error with the reasons if there are none."""
        if self.boxes:
            return dict(self.boxes)
        if not self.records:
            raise UserError(f"{self.file}: no boxes")
        why, _ = self.dropped.most_common(1)[0]
        hints = {
            NO_TRACK: "these are detections, not tracks: run a tracker on them first",
            "of confidence 0": "pass --min-confidence 0 to keep them",
            "of other classes": f"pass --classes; the file has {', '.join(map(repr, sorted(self.labels)[:8]))}",
        }
        counts = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        raise UserError(f"{self.file}: no box is left of {self.records}: {counts}; {hints.get(why, 'check the file')}")


def _warn_of_what_looks_wrong(file: Path, boxes: Boxes, video: VideoInfo) -> None:
    every = [box for in_frame in boxes.by_frame.values() for box in in_frame]
    if video.width and video.height:
        over = sum(b.left + b.width > video.width or b.top + b.height > video.height for b in every) / len(every)
        if over > OVERRUN:
            hint = ": are these corners, not sizes? then pass --format mot-corners" if boxes.format == "mot" else ""
            logger.warning(f"{file}: {over:.0%} of the boxes leave the picture at its right or lower edge{hint}")
    shapes = sorted(box.height / box.width for box in every)
    if shapes[len(shapes) // 2] < 1:
        logger.warning(f"{file}: half of the boxes are wider than high, as no standing person is; check the format")
    last = max(boxes.by_frame)
    if video.frames and (last > video.frames or last < video.frames / 2):
        logger.warning(
            f"{file}: the last box is in frame {last}, and the video has {video.frames}; do they belong together?"
        )


def recognise(file: Path) -> str:
    """Return the name of the format that a file, or a folder of files, is in.

    Raises:
        UserError: it is in none of the formats.
    """
    if file.is_dir():
        return "ultralytics"
    start = read_text(file, characters=HEAD).lstrip()
    if start.startswith("<"):
        return "cvat"
    if start.startswith(("[", "{")):
        return "supervision-json"
    line = next(iter(_lines(start)), (0, ""))[1]
    if {"xmin", "trackerid"} <= set(map(plain_name, split_cells(line, line))):
        return "supervision-csv"
    fields = line.split()
    if len(fields) in (17, 18) and "," not in line and not _is_number(fields[2]):
        return "kitti"
    return "mot"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are neither empty nor comments, with their numbers from 1."""
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def _fields(line: str) -> list[str]:
    if ";" in line:  # then the decimal point may be a comma
        return [part.strip().replace(",", ".") for part in line.rstrip(";").split(";")]
    return line.replace(",", " ").split()


def _mot(file: Path, corners: bool) -> Iterator[Record]:
    lines = _lines(read_text(file))
    for at, (number, line) in enumerate(lines):
        fields = _fields(line)
        if at == 0 and not any(map(_is_number, fields)):
            try:
                columns = find_columns(split_cells(line, line))
            except ValueError as error:
                raise UserError(f"{file}: {error}") from None
            if columns:
                yield from _by_names(file, line, lines, columns, corners)
                return
            logger.warning(f"{file}: columns {line[:60]!r} are taken in MOT's order: frame, track, left, top, ...")
            continue
        values = _numbers(fields, file, number, least=6, line=line)
        frame, track, left, top, width, height = values[:6]
        if corners:
            width, height = width - left, height - top
        # Nine columns are those of MOT's ground truth and of boxmot: the class is 1 for a person, below 0 unknown.
        label = f"{values[7]:g}" if len(values) == 9 and values[7] >= 0 else None
        confidence = values[6] if len(values) > 6 else None
        yield Record(f"line {number}", frame, track, (left, top, width, height), confidence, label)


def _by_names(
    file: Path, header: str, lines: Iterable[tuple[int, str]], columns: Mapping[str, int], corners: bool
) -> Iterator[Record]:
    """Yield the records of a table whose header says where the columns are."""
    size = ("right", "bottom") if "right" in columns and "bottom" in columns else ("width", "height")
    for number, line in lines:
        cells = split_cells(line, header)
        cells += [""] * (1 + max(columns.values()) - len(cells))
        places = [columns[role] for role in (*NEEDED, *size)]
        frame, track, left, top, *extent = _numbers([cells[at] for at in places], file, number, least=6, line=line)
        if corners or size[0] == "right":
            extent = [extent[0] - left, extent[1] - top]
        confidence = cells[columns["confidence"]] if "confidence" in columns else ""
        label = cells[columns["label"]] if "label" in columns else ""
        if _is_number(label):
            label = "" if float(label) < 0 else f"{float(label):g}"
        known = float(confidence) if _is_number(confidence) else None
        yield Record(f"line {number}", frame, track, (left, top, extent[0], extent[1]), known, label or None)


def _kitti(file: Path, _: VideoInfo) -> Iterator[Record]:
    for number, line in _lines(read_text(file)):
        fields = line.split()
        frame, track, label, *rest = fields + [""] * (3 - len(fields))
        values = _numbers([frame, track, *rest], file, number, least=9)
        left, top, right, bottom = values[5:9]
        confidence = values[16] if len(values) > 16 else None
        box = (left, top, right - left, bottom - top)
        yield Record(f"line {number}", values[0], values[1], box, confidence, label)


def _ultralytics(folder: Path, video: VideoInfo) -> Iterator[Record]:
    if not (video.width and video.height):
        raise UserError(f"{folder}: boxes are shares of the picture, and the video does not say its size")
    if (folder / "labels").is_dir():  # of the run's folder, as Ultralytics makes it
        folder = folder / "labels"
    found = [(int(m[1]), path) for path in folder.glob("*.txt") if (m := re.search(r"_(\d+)$", path.stem))]
    if not found:
        raise UserError(
            f"{folder}: no files such as VIDEO_1.txt; expected the labels that Ultralytics' save_txt writes"
        )
    # Class, box, confidence with save_conf, and the track, which a box without one lacks.
    lines = [(frame, path, *line) for frame, path in sorted(found) for line in _lines(read_text(path))]
    with_confidence = any(len(line.split()) == 7 for *_, line in lines)
    for frame, path, number, line in lines:
        values = _numbers(line.split(), path, number, least=5)
        x, y, width, height = (v * s for v, s in zip(values[1:5], video[:2] * 2, strict=True))
        has_track = len(values) == (7 if with_confidence else 6) and values[-1].is_integer()
        track = values[-1] if has_track else -1
        confidence = values[5] if with_confidence and len(values) > 5 else None
        box = (x - width / 2, y - height / 2, width, height)
        yield Record(f"{path.name}, line {number}", frame, track, box, confidence, f"{values[0]:g}")


def _supervision(rows: Iterable[Mapping[str, Any]], file: Path) -> Iterator[Record]:
    for number, row in enumerate(rows, 1):
        try:
            left, top, right, bottom = (float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max"))
            frame, track = float(row["frame_index"]), row["tracker_id"]
            label = None if row.get("class_id") in (None, "") else f"{float(row['class_id']):g}"
            confidence = None if row.get("confidence") in (None, "") else float(row["confidence"])
            yield Record(
                f"row {number}",
                frame,
                -1 if track in (None, "") else float(track),
                (left, top, right - left, bottom - top),
                confidence,
                label,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{file}, row {number}: {first_line(error)}; expected x_min, y_min, x_max, y_max, tracker_id and "
                "frame_index, as supervision's sinks write them"
            ) from None


def _supervision_csv(file: Path, _: VideoInfo) -> Iterator[Record]:
    lines = [line for _, line in _lines(read_text(file))]
    header = lines[0] if lines else ""
    names = [name.casefold() for name in split_cells(header, header)]
    return _supervision((dict(zip(names, split_cells(line, header), strict=False)) for line in lines[1:]), file)


def _supervision_json(file: Path, _: VideoInfo) -> Iterator[Record]:
    try:
        rows = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON ({first_line(error)}); is it complete?") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file}: expected a list of boxes, as supervision's JSON sink writes it")
    return _supervision(rows, file)


def _cvat(file: Path, _: VideoInfo) -> Iterator[Record]:
    try:
        from defusedxml.ElementTree import parse
    except ImportError:
        raise UserError("CVAT's XML needs defusedxml: pip install st_reid[boxes]") from None
    check_file(file)
    try:
        root = parse(file).getroot()
        if root.find("track") is None and root.find("image") is not None:
            raise UserError(f"{file}: images without tracks; export the task as 'CVAT for video 1.1'")
        for track in root.iter("track"):
            for box in track.iter("box"):
                left, top, right, bottom = (float(box.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
                size = (right - left, bottom - top)
                number, frame = float(track.attrib["id"]), float(box.attrib["frame"])
                why = OUTSIDE if box.attrib.get("outside") == "1" else None
                where = f"track {number:g}, frame {frame:g}"
                yield Record(where, frame, number, (left, top, *size), None, track.get("label"), why)
    except UserError:
        raise
    except Exception as error:  # the parser's errors have no common class
        raise UserError(f"{file} is no track file of CVAT for video ({first_line(error)})") from None


FORMATS: dict[str, Format] = {
    "mot": Format(lambda f, _: _mot(f, corners=False), 1, PERSONS, "frame, track, left, top, width, height"),
    "mot-corners": Format(lambda f, _: _mot(f, corners=True), 1, PERSONS, "frame, track, left, top, right, bottom"),
    "kitti": Format(_kitti, 0, frozenset({"pedestrian", "person"}), "KITTI tracking"),
    "ultralytics": Format(_ultralytics, 1, frozenset({"0"}), "a label file a frame, of Ultralytics' save_txt"),
    "supervision-csv": Format(_supervision_csv, 0, frozenset({"0"}), "supervision's CSV sink"),
    "supervision-json": Format(_supervision_json, 0, frozenset({"0"}), "supervision's JSON sink"),
    "cvat": Format(_cvat, 0, frozenset({"person", "pedestrian"}), "CVAT for video 1.1"),
}


def _numbers(fields: Sequence[str], file: Path, number: int, least: int, line: str = "") -> list[float]:
    try:
        values = [float(value) for value in fields]
    except ValueError:
        values = []
    if len(values) < least:
        raise UserError(
            f"{file}, line {number}: {(line or ' '.join(fields))[:60]!r} is no box; expected at least {least} numbers, "
            "such as frame, track, left, top, width, height"
        )
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def join_some(values: Sequence[int]) -> str:
    """Return the first five of some numbers as text, and the number of the others."""
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
