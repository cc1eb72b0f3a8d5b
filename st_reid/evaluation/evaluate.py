"""Evaluates a checkpoint on a dataset, or features that were extracted before."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from st_reid.config import ComputeConfig, EvalConfig, ReadConfig, write_config
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import SINGLE_FRAMES
from st_reid.data.datasets import read_dataset
from st_reid.data.tracklet import SPLITS, Dataset, Labels, Tracklet
from st_reid.errors import UserError
from st_reid.evaluation import report
from st_reid.evaluation.baselines import color_histograms, fewer_frames
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import Evaluation, chooses_constants, evaluate_features, prepare
from st_reid.evaluation.sheets import Pictures, pictures_of_features, pictures_of_tracklets
from st_reid.features.extraction import extract_features
from st_reid.features.feature_set import FeatureSet
from st_reid.files import check_new_folder, folder_written_whole, locked, write_json
from st_reid.models.loading import LoadedModel, load_for_evaluation
from st_reid.runtime.compute import Compute
from st_reid.runtime.distributed import together
from st_reid.runtime.environment import environment

logger = logging.getLogger(__name__)


def evaluate(
    *,
    weights: str | None = None,
    features: str | None = None,
    arch: str | None = None,
    options: Mapping[str, Any] | None = None,
    height: int | None = None,
    width: int | None = None,
    seq_len: int | None = None,
    sources: str = "walkers",
    root: str | None = None,
    output: str | None = None,
    seed: int = 0,
    baselines: bool = False,
    data: ReadConfig | None = None,
    eval: EvalConfig | None = None,
    device: str = "auto",
    precision: str = "auto",
    compute: ComputeConfig | None = None,
) -> Path:
    """Evaluate a checkpoint and return the folder with its report and pictures; after an error nothing is left.

    Several processes share the extraction, and the first one ranks and writes.

    The arguments are the options of ``python -m st_reid.evaluate``.

    Raises:
        UserError: weights, features or a dataset that cannot be read or do not fit, or a folder that exists.
    """
    settings = dict(locals())  # as given, for config.yaml
    config, read = eval or EvalConfig(), data or ReadConfig()
    if (weights is None) == (features is None):
        raise UserError("pass either --weights, to extract and rank, or --features, to rank what was extracted")
    if features is not None:
        if baselines:
            raise UserError("baselines need the images; leave --baselines out, or pass --weights")
        if config.frames != "ordered":
            raise UserError(f"eval.frames is {config.frames}, and the features are there already; pass --weights")
        return _evaluate_file(FeatureSet.load(features), output, config, settings)
    with together():
        on = Compute.choose(device, precision, compute)
        clips: dict[str, Any] = {"height": height, "width": width, "seq_len": seq_len, "seed": seed}
        clips |= {"interpolation": read.interpolation, "sampler": config.sampler, "batch": config.batch}
        loaded = load_for_evaluation(str(weights), arch, options, frames=config.frames, **clips)
        if config.frames in SINGLE_FRAMES and loaded.fixed_length:
            raise UserError(f"{weights} was exported for clips of {loaded.spec.seq_len} frames; pass its checkpoint")
        folder = Path(output or f"runs/evaluate-{loaded.arch}-{sources}")
        with on.world.only_writer(folder):
            check_new_folder(folder)
            with on.world.first_of_node():
                dataset = read_dataset(sources, root, read.options, follow_links=read.follow_links)
            return _evaluate_model(loaded, dataset, folder, config, read, on, baselines, settings)


def _evaluate_model(
    loaded: LoadedModel,
    dataset: Dataset,
    folder: Path,
    config: EvalConfig,
    read: ReadConfig,
    on: Compute,
    baselines: bool,
    settings: Mapping[str, Any],
) -> Path:
    pairs = QueryGallery.of(Labels.of(dataset.query), Labels.of(dataset.gallery), config)
    logger.info(f"{dataset.name}: {len(pairs.query)} queries, {len(pairs.gallery)} gallery tracklets")
    transit_times = prepare(Labels.of(dataset.train), pairs, config)
    start = time.perf_counter()

    def extract(tracklets: Sequence[Tracklet], description: str, spec: ClipSpec = loaded.spec) -> FeatureSet:
        return extract_features(on.place(loaded.model), tracklets, spec, read, on, description)

    train = extract(dataset.train, "training features") if chooses_constants(config, transit_times) else None
    features = extract(dataset.test, "features")
    before = time.perf_counter()
    fewer: dict[str, FeatureSet] = {}
    if baselines and config.frames == "ordered" and not loaded.fixed_length:
        fewer = fewer_frames(features, loaded.spec, partial(extract, dataset.test), uses_time=loaded.uses_time)
    start += time.perf_counter() - before  # baselines are not included in the evaluation's time
    if not on.world.is_main:
        return folder
    evaluation = evaluate_features(pairs, features, config, transit_times, train)
    seconds = time.perf_counter() - start
    others = {}
    if baselines:
        others["color_histogram"] = pairs.rank_features(color_histograms(dataset.test, read.on_bad_image))
    ranked = {name: pairs.rank_features(found) for name, found in fewer.items()}
    content = report.assemble(loaded.arch, dataset.name, dataset.notes, pairs, loaded.spec, evaluation, environment(on))
    content |= {name: report.figures(result) for name, result in others.items()}  # type: ignore[typeddict-item]
    content |= report.fewer_frames(evaluation.rankings["appearance"].result, ranked)  # type: ignore[typeddict-item]
    content["eval_seconds"] = round(seconds, 2)
    curves = {name: result.cmc for name, result in {**others, **ranked}.items()}
    return _write(content, pairs, evaluation, curves, pictures_of_tracklets(dataset.test), folder, config, settings)


def _evaluate_file(features: FeatureSet, output: str | None, config: EvalConfig, settings: Mapping[str, Any]) -> Path:
    about = features.about
    arch, dataset = str(about.get("arch", "unknown")), str(about.get("dataset", "features"))
    folder = Path(output or f"runs/evaluate-{arch}-{dataset}")
    with locked(folder):
        check_new_folder(folder)
        return _rank_file(features, arch, dataset, folder, config, settings)


def _rank_file(
    features: FeatureSet, arch: str, dataset: str, folder: Path, config: EvalConfig, settings: Mapping[str, Any]
) -> Path:
    about = features.about
    train, query, gallery = (features.of_split(split) for split in SPLITS)
    pairs = QueryGallery.of(query, gallery, config)
    logger.info(f"{dataset}: {len(query)} queries, {len(gallery)} gallery tracklets")
    transit_times = prepare(train, pairs, config)
    start = time.perf_counter()
    chosen_by = train if chooses_constants(config, transit_times) else None
    evaluation = evaluate_features(pairs, features, config, transit_times, chosen_by)
    clips = {name: about.get(name) for name in ("height", "width", "seq_len", "interpolation", "sampler")}
    spec = ClipSpec().changed(**clips)
    content = report.assemble(arch, dataset, about.get("notes", {}), pairs, spec, evaluation, environment())
    content["eval_seconds"] = round(time.perf_counter() - start, 2)
    return _write(content, pairs, evaluation, {}, pictures_of_features(features), folder, config, settings)


def _write(
    content: report.Report,
    pairs: QueryGallery,
    evaluation: Evaluation,
    curves: Mapping[str, NDArray[np.float64]],
    pictures: Pictures | None,
    folder: Path,
    config: EvalConfig,
    settings: Mapping[str, Any],
) -> Path:
    with folder_written_whole(folder) as partial:
        write_config(settings, partial)
        write_json(content, partial / "report.json")
        report.draw(pairs, evaluation, curves, pictures, partial, config.sheet_queries)
    report.announce(content, folder)
    return folder
