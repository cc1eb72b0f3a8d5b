"""Features straight from videos: boxes are cut out, resized and embedded as the frames come."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from st_reid.config import BoxesConfig
from st_reid.data.labels import check_label
from st_reid.data.thumbnails import shown_frames, thumbnail
from st_reid.data.video import Video, crop_box, frames_of, is_pattern
from st_reid.errors import UserError
from st_reid.features.extractor import TrackletExtractor
from st_reid.features.parts import Row
from st_reid.reading import check_file

logger = logging.getLogger(__name__)


def list_videos(
    paths: Sequence[str], tracks: Sequence[str], cameras: Sequence[str] | None, starts: Sequence[float] | None
) -> list[Video]:
    """Combine the settings of each video; cameras are 1, 2, ... and times begin at 0 by default.

    Raises:
        UserError: not as many of each, a file that is missing, or two videos of one name.
    """
    count = len(paths)
    cameras = cameras if cameras is not None else [str(i + 1) for i in range(count)]
    starts = starts if starts is not None else [0.0] * count
    for name, values in (("tracks", tracks), ("camera", cameras), ("start_time", starts)):
        if len(values) != count:
            raise UserError(f"{count} videos, and {len(values)} in {name}; pass as many, in the same order")
    videos = [Video(Path(v), Path(t), c, s) for v, t, c, s in zip(paths, tracks, cameras, starts, strict=True)]
    for video in videos:
        if not (video.path.is_dir() or is_pattern(video.path)):
            check_file(video.path)
        if not video.tracks.is_dir():
            check_file(video.tracks)
    for camera in cameras:
        check_label("camera", camera)
    sources = [video.source for video in videos]
    for source in sources:
        if sources.count(source) > 1:
            raise UserError(f"two videos would both be called {source!r}; give each its own --camera, or rename one")
    return videos


@dataclass
class _Seen:
    """What has been seen of a track of a video."""

    first: float
    last: float = 0.0
    frames: int = 0
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    closed: bool = False


def features_of_video(
    extractor: TrackletExtractor,
    video: Video,
    *,
    thumbnails: bool,
    done: set[str],
    fps: float | None = None,
    options: BoxesConfig | None = None,
) -> Iterator[Row]:
    """Yield the tracklets of a video as they end, those whose names are in ``done`` left out.

    Raises:
        UserError: boxes or a video that cannot be read.
    """
    boxes, rate = video.read_tracks(options, fps)
    where: dict[int, list[int]] = {}
    for number, in_frame in sorted(boxes.items()):
        for box in in_frame:
            if video.tracklet(box.track) not in done:
                where.setdefault(box.track, []).append(number)
    if not where:
        return
    shown = {t: {n[i] for i in shown_frames(len(n))} if thumbnails else set() for t, n in where.items()}
    seen: dict[int, _Seen] = {}
    last = 0
    for frame in frames_of(video.path, max(n[-1] for n in where.values())):
        last = number = frame.number
        time = video.start_time + frame.time * rate
        for box in boxes.get(number, ()):
            crop = crop_box(frame.picture, box) if box.track in where else None
            if crop is None:
                continue
            crop = np.ascontiguousarray(crop[..., ::-1])
            extractor.add(box.track, crop)
            state = seen.setdefault(box.track, _Seen(time))
            state.frames, state.last = state.frames + 1, time
            if number in shown[box.track] or (thumbnails and not state.pictures):
                state.pictures.append(crop)
        for track in [t for t in seen if where[t][-1] <= number and not seen[t].closed]:
            extractor.close(track)
            seen[track].closed = True
        yield from _rows(extractor, video, seen)
    for track in [t for t in seen if not seen[t].closed]:
        extractor.close(track)
    extractor.flush()
    yield from _rows(extractor, video, seen)
    _warn_of_missing(video, where, set(seen), last)


def _rows(extractor: TrackletExtractor, video: Video, seen: dict[int, _Seen]) -> Iterator[Row]:
    for track, feature in extractor.done():
        state = seen[track]
        picture = thumbnail(state.pictures) if state.pictures else None
        state.pictures = []
        yield Row(video.tracklet(track), "", video.camera, state.first, state.frames, feature, picture, last=state.last)


def _warn_of_missing(video: Video, where: dict[int, list[int]], seen: set[int], last: int) -> None:
    cut = sum(where[track][-1] > last for track in seen)
    beyond = sum(numbers[0] > last for numbers in where.values())
    if cut or beyond:
        logger.warning(
            f"{video.path} ends with frame {last}: {cut} tracks go on beyond it, and are cut, "
            f"and {beyond} begin there, and are left out"
        )
    if outside := len(where) - len(seen) - beyond:
        logger.warning("%s: %d tracks never have a box in the picture", video.tracks, outside)
