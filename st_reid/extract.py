"""``python -m st_reid.extract``: a feature for each tracklet of a dataset, of folders of images, or of videos."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from st_reid import cli
from st_reid.config import ComputeConfig, EvalConfig, Precision, ReadConfig
from st_reid.errors import UserError
from st_reid.stopping import StopRequest

if TYPE_CHECKING:
    from st_reid.compute import Compute
    from st_reid.data.tracklet import Tracklet
    from st_reid.features import FeatureSet
    from st_reid.loading import Loaded

NAME = "python -m st_reid.extract"
SPLITS = ("train", "query", "gallery")
PART_SECONDS = 20.0  # of work that a kill may cost
logger = logging.getLogger(__name__)


@dataclass
class ExtractConfig:
    """Extract a feature for each tracklet. The same command goes on where it was interrupted.

    Attributes:
        weights: a checkpoint of a training run; or, with arch, a state dict or a checkpoint of torchreid.
        output: the file of features, .npz or .parquet; it must not exist.
        arch: the model's name, where the weights do not say it.
        options: the model's own options, with arch.
        sources: the dataset's name; folders for a folder of images a tracklet, with nothing else known.
        root: the folder that holds the dataset's folder, or that folder itself.
        split: whose tracklets, train, query, gallery, or several joined by +.
        video: video files, instead of a dataset.
        tracks: the boxes of each video in MOT format, as many.
        camera: the camera of each video, as many; null for 1, 2, ...
        start_time: when each video begins, in frames of the common clock, as many; null for 0.
        per_frame: a feature for each frame instead of each tracklet.
        thumbnails: keep a picture of each tracklet, for the contact sheets of search.
        sampler: which clips of a tracklet are averaged; all for every frame.
        batch: clips in a batch.
        height: input height in pixels; null for what the checkpoint was trained with, or 256.
        width: input width in pixels; null for what the checkpoint was trained with, or 128.
        seq_len: frames in a clip; null for what the checkpoint was trained with, or 8.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, bfloat16, float16 on a GPU, or auto for bfloat16 where the device computes in it.
        seed: of samplers that draw.
        data: how the dataset is read.
        compute: how the model is laid out and run.
    """

    weights: str
    output: str
    arch: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sources: str = "manifest"
    root: str | None = None
    split: str = "query+gallery"
    video: list[str] = field(default_factory=list)
    tracks: list[str] = field(default_factory=list)
    camera: list[str] | None = None
    start_time: list[float] | None = None
    per_frame: bool = False
    thumbnails: bool = True
    sampler: str = "all"
    batch: int = 16
    height: int | None = None
    width: int | None = None
    seq_len: int | None = None
    device: str = "auto"
    precision: Precision = "auto"
    seed: int = 0
    data: ReadConfig = field(default_factory=ReadConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


class Row(NamedTuple):
    """A tracklet and its feature, as :class:`~st_reid.features.FeatureSet` has them."""

    tracklet: str
    person: str
    camera: str
    time: float
    frames: int
    feature: NDArray[np.float32]
    thumbnail: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Video:
    """A video, its boxes, and where and when it was taken."""

    path: Path
    tracks: Path
    camera: str
    start_time: float

    @property
    def source(self) -> str:
        """What the names of its tracklets begin with, as ``python -m st_reid.tracklets`` names them."""
        return f"{self.path.stem}_c{self.camera}"


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    extract(cli.parse(ExtractConfig, argv, NAME))


def extract(config: ExtractConfig) -> FeatureSet:
    """Extract, write the file of features, and return them.

    Raises:
        UserError: weights, a dataset or a video that cannot be read, or an output in the way. What was extracted until
            then is kept beside the output, and the same command goes on with it.
    """
    from st_reid.compute import Compute
    from st_reid.data.clips import SAMPLERS
    from st_reid.features import check_path, digest_of
    from st_reid.files import check_output
    from st_reid.loading import load_for_evaluation

    output = Path(config.output)
    check_path(output)
    check_output(output.parent)
    if output.exists():
        raise UserError(f"{output} exists; pass another --output, or remove it")
    if config.batch < 1:
        raise UserError(f"batch is {config.batch}; expected at least 1")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("extract works in one process; start it without torchrun, one for each camera or day")
    SAMPLERS.get(config.sampler)
    videos = _videos(config)
    compute = Compute.choose(config.device, config.precision, config.compute)
    sizes = {"height": config.height, "width": config.width, "seq_len": config.seq_len}
    loaded = load_for_evaluation(config.weights, config.arch, config.options, **sizes)
    interpolation = config.data.interpolation or loaded.interpolation or "bilinear"
    loaded = replace(loaded, interpolation=interpolation)
    about = loaded.about(
        config.weights, sampler=config.sampler, interpolation=interpolation, per_frame=config.per_frame
    )
    if videos:
        _check_video_options(config)
        source: Any = [(*_stamp(v.path), *_stamp(v.tracks), v.camera, v.start_time) for v in videos]
    else:
        tracklets = _tracklets(config)
        source = [(t.name, t.person, t.camera, t.time, [str(path) for path in t.paths]) for t in tracklets]

    parts = Parts(output, {**about, "thumbnails": config.thumbnails, "source": digest_of(source)})
    done = parts.names()
    start = time.perf_counter()
    if videos:
        rows = _from_videos(loaded, videos, config, compute, done)
    else:
        left = [i for i, t in enumerate(tracklets) if t.name not in done]
        rows = _from_tracklets(loaded, tracklets, left, config, compute)
    with StopRequest("the same command goes on"):
        extracted = parts.keep(rows)
    features = parts.unite(about)
    logger.info(
        "%s: %d tracklets of %d frames, %d numbers each, %d of them now in %.1f s",
        output,
        len(features),
        features.frames.sum(),
        features.features.shape[1],
        extracted,
        time.perf_counter() - start,
    )
    return features


class Parts:
    """What has been extracted so far, beside the output: a file for every few seconds of work.

    Args:
        output: the file of features to be.
        about: what the features are made with, and of what; parts that were made otherwise are dropped.
    """

    def __init__(self, output: Path, about: dict[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(f".{output.name}.parts")
        self.about = about
        stored = self.folder / "about.json"
        if self.folder.exists() and not (
            stored.exists() and json.loads(stored.read_text()) == json.loads(_json(about))
        ):
            logger.info("%s is of other weights, settings or tracklets: from the start", self.folder)
            shutil.rmtree(self.folder)

    def names(self) -> set[str]:
        """Return the tracklets that are done."""
        return {str(name) for path in self._paths() for name in _load(path).tracklet}

    def keep(self, rows: Iterable[Row]) -> int:
        """Write rows as they come; return how many came.

        Raises:
            UserError: what ``rows`` raises; those that came before it are kept.
        """
        waiting: list[Row] = []
        count = 0
        written = time.monotonic()
        try:
            for row in rows:
                waiting.append(row)
                count += 1
                if time.monotonic() - written > PART_SECONDS:
                    self._write(waiting)
                    waiting, written = [], time.monotonic()
        finally:
            self._write(waiting)
        return count

    def unite(self, about: dict[str, Any]) -> FeatureSet:
        """Write the parts as one file, in the order in which they were extracted, and remove them.

        Raises:
            UserError: there are none.
        """
        from st_reid.features import COLUMNS, FeatureSet

        parts = [_load(path) for path in self._paths()]
        if not parts:
            raise UserError(
                "no tracklets to extract features of: no box lies in a picture; do videos and tracks belong together?"
            )
        columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("features", *COLUMNS)}
        pictures = [p.thumbnails for p in parts if p.thumbnails is not None]
        united = FeatureSet(**columns, thumbnails=np.concatenate(pictures) if pictures else None, about=about)
        united.save(self.output)
        shutil.rmtree(self.folder)
        return united

    def _write(self, rows: Sequence[Row]) -> None:
        from st_reid.features import FeatureSet
        from st_reid.files import write_text

        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(_json(self.about), self.folder / "about.json")
        columns = {name: np.array([getattr(row, name) for row in rows]) for name in Row._fields[:5]}
        pictures = [row.thumbnail for row in rows if row.thumbnail is not None]
        part = FeatureSet(
            np.stack([row.feature for row in rows]),
            **columns,
            thumbnails=np.stack(pictures) if pictures else None,
            about=self.about,
        )
        part.save(self.folder / f"{len(self._paths()):05d}.npz")

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.npz"))


def _load(path: Path) -> FeatureSet:
    from st_reid.features import FeatureSet

    return FeatureSet.load(path)


def _stamp(file: Path) -> tuple[str, int, int]:
    """Return what tells a file from one that has taken its place."""
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _tracklets(config: ExtractConfig) -> list[Tracklet]:
    from st_reid.data.datasets import read_dataset

    splits = config.split.split("+")
    if unknown := [s for s in splits if s not in SPLITS]:
        raise UserError(f"split is {config.split!r}, with {unknown[0]!r}; expected {', '.join(SPLITS)}, joined by '+'")
    dataset = read_dataset(config.sources, config.root, config.data.options)
    tracklets = list({t.name: t for split in splits for t in getattr(dataset, split)}.values())
    if not tracklets:
        raise UserError(f"{dataset.name}: no tracklets in {config.split}; pass another --split")
    if config.per_frame:
        return [
            replace(t, name=f"{t.name}#{i}", paths=(path,), time=None if t.time is None else t.time + i)
            for t in tracklets
            for i, path in enumerate(t.paths)
        ]
    return tracklets


def _from_tracklets(
    loaded: Loaded, every: Sequence[Tracklet], left: Sequence[int], config: ExtractConfig, compute: Compute
) -> Iterator[Row]:
    from st_reid.data.frames import FrameReader
    from st_reid.engine import ClipReader, iterate_features
    from st_reid.features import shown_frames, thumbnail

    read = replace(config.data, interpolation=loaded.interpolation)  # type: ignore[arg-type]
    eval_config = EvalConfig(sampler=config.sampler, batch=config.batch)
    reader = ClipReader(loaded.height, loaded.width, loaded.seq_len, config.seed, read, eval_config)
    pictures = FrameReader("skip")
    features = iterate_features(compute.place(loaded.model), every, reader, compute, which=left)
    for i, feature in zip(left, features, strict=True):
        t = every[i]
        picture = None
        if config.thumbnails:
            shown = pictures.read(t, shown_frames(len(t)))
            picture = thumbnail([frame.permute(1, 2, 0).numpy() for frame in shown])
        yield Row(t.name, t.person, t.camera, np.nan if t.time is None else t.time, len(t), feature, picture)


def _check_video_options(config: ExtractConfig) -> None:
    if config.sampler != "all" or config.per_frame:
        raise UserError("of a video every frame is taken as it comes; leave --sampler and --per-frame out, or cut it "
                        "into a dataset first with python -m st_reid.tracklets")  # fmt: skip


def _videos(config: ExtractConfig) -> list[Video]:
    count = len(config.video)
    cameras = config.camera if config.camera is not None else [str(i + 1) for i in range(count)]
    starts = config.start_time if config.start_time is not None else [0.0] * count
    for name, values in (("tracks", config.tracks), ("camera", cameras), ("start_time", starts)):
        if len(values) != count:
            raise UserError(f"{count} videos, and {len(values)} in {name}; pass as many, in the same order")
    videos = [
        Video(Path(v), Path(t), c, s) for v, t, c, s in zip(config.video, config.tracks, cameras, starts, strict=True)
    ]
    for video in videos:
        for file in (video.path, video.tracks):
            if not file.is_file():
                raise UserError(f"no file {file}")
    sources = [video.source for video in videos]
    for source in sources:
        if sources.count(source) > 1:
            raise UserError(f"two videos would both be called {source!r}; give each its own --camera, or rename one")
    return videos


def _from_videos(
    loaded: Loaded, videos: Sequence[Video], config: ExtractConfig, compute: Compute, done: set[str]
) -> Iterator[Row]:
    from st_reid.extractor import TrackletExtractor

    extractor = TrackletExtractor(loaded, compute=compute, batch=config.batch)
    for video in videos:
        yield from _from_video(extractor, video, config.thumbnails, done)


def _from_video(extractor: Any, video: Video, thumbnails: bool, done: set[str]) -> Iterator[Row]:
    from st_reid.features import shown_frames
    from st_reid.tracklets import crop_box, frames_of, read_boxes, warn_of_jumps

    boxes = read_boxes(video.tracks)
    warn_of_jumps(video.tracks, boxes)
    where: dict[int, list[int]] = {}
    for number, in_frame in sorted(boxes.items()):
        for box in in_frame:
            if f"{video.source}_{box.track:04d}" not in done:
                where.setdefault(box.track, []).append(number)
    if not where:
        return
    shown = {t: {n[i] for i in shown_frames(len(n))} for t, n in where.items()}
    seen: dict[int, _Seen] = {}
    last = 0
    for number, frame, _ in frames_of(video.path, max(n[-1] for n in where.values())):
        last = number
        for box in boxes.get(number, ()):
            crop = crop_box(frame, box) if box.track in where else None
            if crop is None:
                continue
            crop = np.ascontiguousarray(crop[..., ::-1])
            extractor.add(box.track, crop)
            state = seen.setdefault(box.track, _Seen(number))
            state.frames += 1
            if thumbnails and (number in shown[box.track] or not state.pictures):
                state.pictures.append(crop)
        for track in [t for t in seen if where[t][-1] <= number and not seen[t].closed]:
            extractor.close(track)
            seen[track].closed = True
        yield from _rows(extractor, video, seen)
    for track in [t for t in seen if not seen[t].closed]:
        extractor.close(track)
    extractor.flush()
    yield from _rows(extractor, video, seen)
    cut = sum(where[track][-1] > last for track in seen)
    beyond = sum(numbers[0] > last for numbers in where.values())
    if cut or beyond:
        logger.warning(
            "%s ends with frame %d: %d tracks go on beyond it, and are cut, and %d begin there, and are left out",
            video.path, last, cut, beyond,
        )  # fmt: skip
    if outside := len(where) - len(seen) - beyond:
        logger.warning("%s: %d tracks never have a box in the picture", video.tracks, outside)


@dataclass
class _Seen:
    """What has been seen of a track of a video."""

    first: int
    frames: int = 0
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    closed: bool = False


def _rows(extractor: Any, video: Video, seen: dict[int, _Seen]) -> Iterator[Row]:
    from st_reid.features import shown_frames, thumbnail

    for track, feature in extractor.done():
        state = seen[track]
        picture = None
        if state.pictures:
            picture = thumbnail([state.pictures[i] for i in shown_frames(len(state.pictures))])
        state.pictures = []
        name = f"{video.source}_{track:04d}"
        yield Row(name, "", video.camera, video.start_time + state.first - 1, state.frames, feature, picture)


if __name__ == "__main__":
    cli.run(main, NAME)
