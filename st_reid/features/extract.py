"""From a model and a dataset, folders or videos to a file of features."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from st_reid.config import BoxesConfig, ComputeConfig, ReadConfig
from st_reid.data.clips import SAMPLERS
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import FrameReader
from st_reid.data.thumbnails import frames_shown, thumbnail
from st_reid.data.tracklet import Dataset, Tracklet, conditions_text, read_splits
from st_reid.data.video import Video
from st_reid.errors import UserError
from st_reid.features.extraction import iterate_features
from st_reid.features.extractor import TrackletExtractor
from st_reid.features.feature_set import FeatureSet, check_path
from st_reid.features.parts import Parts, Row, remove_united, stamp
from st_reid.features.video import features_of_video, list_videos
from st_reid.files import only_writer
from st_reid.models.fingerprint import digest_of
from st_reid.models.loading import LoadedModel, load_for_evaluation
from st_reid.runtime.compute import Compute
from st_reid.stopping import StopRequest

logger = logging.getLogger(__name__)


@only_writer
def extract(
    *,
    weights: str,
    output: str,
    arch: str | None = None,
    options: Mapping[str, Any] | None = None,
    sources: str = "manifest",
    root: str | None = None,
    split: str = "query+gallery",
    video: Sequence[str] = (),
    tracks: Sequence[str] = (),
    camera: Sequence[str] | None = None,
    start_time: Sequence[float] | None = None,
    fps: float | None = None,
    per_frame: bool = False,
    thumbnails: bool = True,
    sampler: str = "all",
    data: ReadConfig | None = None,
    device: str = "auto",
    precision: str = "auto",
    compute: ComputeConfig | None = None,
    **others: Any,
) -> FeatureSet:
    """Extract, write the file of features, and return them.

    The arguments are the options of ``python -m st_reid.extract``; ``others`` are those of
    :class:`~st_reid.config.BoxesConfig`, and ``height``, ``width``, ``seq_len``, ``batch`` and ``seed``.

    Raises:
        UserError: weights, a dataset or a video that cannot be read, or an output that exists. What was extracted until
            then is kept beside the output, and the same command resumes from it.
    """
    data, file = data or ReadConfig(), Path(output)
    boxes = BoxesConfig(**{f.name: others.pop(f.name) for f in fields(BoxesConfig) if f.name in others})
    _check(file, sampler)
    videos = list_videos(video, tracks, camera, start_time)
    if videos and (sampler != "all" or per_frame):
        raise UserError(
            "of a video every frame is taken as it comes; leave --sampler and --per-frame out, or cut it "
            "into a dataset first with python -m st_reid.tracklets"
        )
    on = Compute.choose(device, precision, compute)
    loaded = load_for_evaluation(weights, arch, options, sampler=sampler, interpolation=data.interpolation, **others)
    start = time.perf_counter()
    if videos:
        source = _of_videos(loaded, videos, on, thumbnails, fps, boxes)
    else:
        dataset = read_dataset(sources, root, data.options, follow_links=data.follow_links)
        source = _of_dataset(loaded, dataset, split, per_frame, data, on, thumbnails)
    about = {**loaded.about(per_frame), **source.about}
    parts = Parts(file, {**about, "thumbnails": thumbnails, "source": digest_of(source.identity)})
    with StopRequest("the same command resumes"):
        extracted = parts.keep(source.rows(parts.names()))
    features = parts.unite(about, source.names)
    count, dim = features.features.shape
    logger.info(
        f"{file}: {count} tracklets of {features.frames.sum()} frames, {dim} numbers each, "
        f"{extracted} of them now in {time.perf_counter() - start:.1f} s"
    )
    return features


class Source(NamedTuple):
    """The source of features: a dataset or videos.

    Attributes:
        identity: plain values that identify it, so that nothing is resumed with another source.
        about: its metadata in the file of features.
        rows: yields the tracklets whose names are not among those given.
        names: of all tracklets; ``None`` where only reading them tells.
    """

    identity: Any
    about: dict[str, Any]
    rows: Callable[[set[str]], Iterator[Row]]
    names: Sequence[str] | None = None


def _check(output: Path, sampler: str) -> None:
    check_path(output)
    if output.exists():
        remove_united(output)
        raise UserError(f"{output} exists; pass another --output, or remove it")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("extract works in one process; start it without torchrun, one for each camera or day")
    SAMPLERS.get(sampler)


def _tracklets(dataset: Dataset, split: str, per_frame: bool) -> list[tuple[Tracklet, str]]:
    """Return the tracklets of some splits, or their frames, each with all splits that it is in."""
    tracklets = {t.name: t for part in read_splits(split) for t in getattr(dataset, part)}.values()
    if not tracklets:
        raise UserError(f"{dataset.name}: no tracklets in {split}; pass another --split")
    members = {part: {t.name for t in some} for part, some in dataset.splits.items()}
    both = [(t, "+".join(part for part, names in members.items() if t.name in names)) for t in tracklets]
    if not per_frame:
        return both
    return [
        (replace(t, name=f"{t.name}#{i}", paths=(path,), time=t.time_of(i), times=()), part)
        for t, part in both
        for i, path in enumerate(t.paths)
    ]


def _of_videos(
    loaded: LoadedModel,
    videos: Sequence[Video],
    compute: Compute,
    thumbnails: bool,
    fps: float | None,
    boxes: BoxesConfig,
) -> Source:
    extractor = TrackletExtractor(loaded, compute=compute, batch=loaded.spec.batch)

    def rows(done: set[str]) -> Iterator[Row]:
        for video in videos:
            yield from features_of_video(extractor, video, thumbnails=thumbnails, done=done, fps=fps, options=boxes)

    how = (fps, asdict(boxes))
    return Source([(*stamp(v.path), *stamp(v.tracks), v.camera, v.start_time, how) for v in videos], {}, rows)


def _of_dataset(
    loaded: LoadedModel,
    dataset: Dataset,
    split: str,
    per_frame: bool,
    read: ReadConfig,
    compute: Compute,
    thumbnails: bool,
) -> Source:
    tracklets, splits = zip(*_tracklets(dataset, split, per_frame), strict=True)
    reader = FrameReader("skip")

    def rows(done: set[str]) -> Iterator[Row]:
        left = [i for i, t in enumerate(tracklets) if t.name not in done]
        model = compute.place(loaded.model)
        features = iterate_features(model, tracklets, loaded.spec, read, compute, which=left)
        for i, feature in zip(left, features, strict=True):
            t = tracklets[i]
            picture = thumbnail(frames_shown(reader, t)) if thumbnails else None
            first, last = (np.nan if time is None else time for time in (t.time, t.last))
            seen = splits[i], last, t.clothes, conditions_text(t)
            yield Row(t.name, t.person, t.camera, first, len(t), feature, picture, *seen)

    identity = [(t.name, t.person, t.camera, t.time, [str(path) for path in t.paths]) for t in tracklets]
    return Source(identity, {"dataset": dataset.name, "notes": dataset.notes}, rows, [t.name for t in tracklets])
