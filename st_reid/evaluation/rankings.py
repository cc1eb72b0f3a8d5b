"""How good features are: rankings by appearance, and by place and time where times are known."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from st_reid.config import EvalConfig, JointConfig, RerankConfig
from st_reid.data.tracklet import Labels
from st_reid.errors import UserError
from st_reid.evaluation.protocol import QueryGallery
from st_reid.features.expansion import describe_expansion, expand
from st_reid.features.feature_set import FeatureSet
from st_reid.features.joint import joint_distance_of
from st_reid.retrieval import (
    RankingResult,
    SpatialTemporalModel,
    choose_constants,
    cosine_distance,
    other_cameras_first,
    rerank,
    rerank_distances,
)
from st_reid.retrieval.matrix import Matrix
from st_reid.retrieval.ranking import encode_labels
from st_reid.retrieval.reranking import check_constants, choose_neighbours
from st_reid.retrieval.spatial_temporal import check_folds

logger = logging.getLogger(__name__)
CHOOSE_OR_MODEL = "eval.joint.choose fits transit times, and eval.joint.model brings fitted ones; pass one of them"


@dataclass(frozen=True)
class Ranking:
    """Distances, and the figures of their ranking.

    Attributes:
        distances: (Q, G), an array or computed a block of rows at a time.
        result: the figures.
    """

    distances: Matrix
    result: RankingResult


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        rankings: by name, see :func:`rank_all`.
        transit_times: the model that the joint metric used; ``None`` without the joint metric.
        joint: its constants, chosen ones put in.
        also: figures by appearance under the other protocols that were asked for, by their names.
        used: how features were expanded and re-ranked, in words by name; empty where they were not.
    """

    rankings: dict[str, Ranking]
    transit_times: SpatialTemporalModel | None
    joint: JointConfig
    used: dict[str, str] = field(default_factory=dict)
    also: dict[str, RankingResult] = field(default_factory=dict)


def evaluate_features(
    pairs: QueryGallery,
    features: FeatureSet,
    config: EvalConfig,
    transit_times: SpatialTemporalModel | None,
    train: FeatureSet | None = None,
) -> Evaluation:
    """Rank query and gallery by appearance, and by place and time if known.

    Args:
        pairs: query and gallery.
        features: of both.
        config: what to rank by.
        transit_times: what :func:`prepare` returned.
        train: features of the training tracklets, to choose the constants of the joint metric, see
            :func:`chooses_constants`.

    Raises:
        UserError: features that are not finite, or constants of the re-ranking that do not fit the data.
    """
    joint = config.joint
    if transit_times is not None:
        if train is not None:
            train = train.take(train.is_known)
            joint = _choose(train, joint)
            transit_times = _fit(train, joint)
        joint = replace(joint, bin_width=transit_times.bin_width, sigma=transit_times.sigma)  # a file has its own
    config = replace(config, joint=joint)
    used = {}
    if config.rerank.use:
        config = replace(config, rerank=_with_neighbours(config.rerank, pairs))
        used["rerank"] = f"k1 {config.rerank.k1}, k2 {config.rerank.k2}, lambda {config.rerank.lambda_value:g}"
    if expansion := describe_expansion(config.expand):
        used["expand"] = expansion
    for name, how in used.items():
        logger.info(f"{name}: {how}")
    rankings = rank_all(pairs, *pairs.split(features), transit_times, config)
    also = {name: others.rank(rankings["appearance"].distances) for name, others in pairs.under(config.also).items()}
    return Evaluation(rankings, transit_times, joint, used, also)


def _with_neighbours(config: RerankConfig, pairs: QueryGallery) -> RerankConfig:
    """Return the constants of the re-ranking; those that were not given are chosen for the gallery."""
    gallery = pairs.gallery
    k1, k2 = choose_neighbours(gallery.person[gallery.is_known], len(pairs.query) + len(gallery), config.k1)
    return replace(config, k1=k1, k2=k2 if config.k2 is None else config.k2)


def chooses_constants(config: EvalConfig, transit_times: SpatialTemporalModel | None) -> bool:
    """Whether the joint metric's constants are to be chosen, which needs the features of the training tracklets."""
    return transit_times is not None and config.joint.choose


def prepare(
    train: Labels, pairs: QueryGallery, config: EvalConfig, same_network: bool = True
) -> SpatialTemporalModel | None:
    """Check what would make the evaluation fail, before training starts; return the transit times, if any.

    Raises:
        UserError: as :func:`fit_transit_times`, re-ranking constants that do not fit the data, and labels that another
            protocol needs and that are not known.
    """
    if config.rerank.use:
        chosen = _with_neighbours(config.rerank, pairs)
        items = len(pairs.query) + len(pairs.gallery)
        check_constants(items, len(pairs.query), chosen.k1 or 0, chosen.k2 or 0, chosen.lambda_value)
    if config.joint.choose and config.joint.model is not None:
        raise UserError(CHOOSE_OR_MODEL)
    pairs.under(config.also)
    transit_times = fit_transit_times(train, pairs, config.joint, same_network)
    if transit_times is not None and config.joint.choose:
        check_folds(train.person[train.is_known].tolist())
    return transit_times


def _choose(train: FeatureSet, config: JointConfig) -> JointConfig:
    choice = choose_constants(
        train.features,
        *train.passings,
        bin_width=config.bin_width,
        lambda_appearance=config.lambda_appearance,
        gamma_appearance=config.gamma_appearance,
        lambda_time=config.lambda_time,
    )
    logger.info(
        f"joint metric: sigma {choice.sigma:g}, gamma_time {choice.gamma_time:g}, the best of {len(choice.tried)} "
        f"by cross-validation on training identities (mAP {choice.mAP:.1%})"
    )
    return replace(config, sigma=choice.sigma, gamma_time=choice.gamma_time)


def rank_all(
    pairs: QueryGallery,
    query: FeatureSet,
    gallery: FeatureSet,
    model: SpatialTemporalModel | None,
    config: EvalConfig,
) -> dict[str, Ranking]:
    """Rank by appearance, and with several cameras and times also by place and time.

    Args:
        pairs: the protocol.
        query: features of the query.
        gallery: features of the gallery.
        model: of transit times, or ``None``.
        config: the constants of the joint metric, whether to expand, and whether to re-rank, with which constants.

    Returns:
        ``appearance``; with two or more cameras ``camera_mask``, which is appearance with the gallery of the query's
        own camera after all others; with a model ``joint``; if ``config`` says so, each of these re-ranked, as
        ``appearance_reranked`` and so on.

    Raises:
        UserError: constants of the re-ranking that do not fit the data.
    """
    names, others = encode_labels(query.tracklet, gallery.tracklet)
    query, gallery = expand(query, gallery, config.expand, lambda rows: names[rows, None] == others)
    cameras = query.camera, gallery.camera
    several = len(np.unique(np.concatenate(cameras))) > 1
    distances: dict[str, Matrix] = {"appearance": cosine_distance(query.features, gallery.features)}
    if several:
        distances["camera_mask"] = other_cameras_first(distances["appearance"], *cameras)
    if model is not None:
        distances["joint"] = joint_distance_of(query, gallery, model, config.joint)
    if config.rerank.use:
        constants = {name: value for name, value in asdict(config.rerank).items() if name != "use"}
        again: dict[str, Matrix] = {"appearance_reranked": rerank(query.features, gallery.features, **constants)}
        if several:
            again["camera_mask_reranked"] = other_cameras_first(again["appearance_reranked"], *cameras)
        if model is not None:
            everything = query.followed_by(gallery)
            joint = joint_distance_of(everything, everything, model, config.joint)
            again["joint_reranked"] = rerank_distances(joint, len(query), **constants)
        distances |= again
    return {name: Ranking(matrix, pairs.rank(matrix)) for name, matrix in distances.items()}


def fit_transit_times(
    train: Labels, pairs: QueryGallery, config: JointConfig, same_network: bool = True
) -> SpatialTemporalModel | None:
    """Fit transit times on training tracklets, or read them from ``config.model``, if the test part can use them.

    Args:
        train: tracklets to learn from, of the same cameras and clock as query and gallery.
        pairs: query and gallery.
        config: whether to fit, and the width of the bins.
        same_network: whether ``train`` is of the cameras that ``pairs`` is of.

    Returns:
        The model. ``None`` if ``config.use`` is ``never``, or if it is ``auto`` and transit times cannot be fitted or
        used; the reason is logged if there are any times.

    Raises:
        UserError: ``config.use`` is ``always`` and they cannot be used, or a file that cannot be read.
    """
    if config.use == "never":
        return None
    try:
        _check_times(train, pairs, config, same_network)
        model = SpatialTemporalModel.load(config.model) if config.model is not None else _fit(train, config)
        _check_cameras(model, pairs)
    except UserError as error:
        if config.use == "always" or config.model is not None:
            raise
        if not all(np.isnan(side.time).all() for side in (pairs.query, pairs.gallery)):
            logger.info("no joint metric: %s", error)
        return None
    return model


def _check_times(train: Labels, pairs: QueryGallery, config: JointConfig, same_network: bool) -> None:
    needed: dict[str, tuple[Labels, ...]] = {"query and gallery": (pairs.query, pairs.gallery)}
    if config.model is None:
        needed["training"] = (train,)
        if not same_network:
            raise UserError("the training tracklets are of another dataset, and so of other cameras")
    for what, sides in needed.items():
        times = {name: time for side in sides for name, time in zip(side.tracklet.tolist(), side.time, strict=True)}
        missing = [name for name, time in times.items() if np.isnan(time)]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(times)} {what} tracklets have no time, {missing[0]} first; "
                "the joint metric needs the time of each"
            )


def _fit(train: Labels, config: JointConfig) -> SpatialTemporalModel:
    return SpatialTemporalModel.fit(*train.passings, bin_width=config.bin_width, sigma=config.sigma)


def _check_cameras(model: SpatialTemporalModel, pairs: QueryGallery) -> None:
    cameras = {*pairs.query.camera.tolist(), *pairs.gallery.camera.tolist()}
    unknown = sorted(cameras - set(model.cameras.tolist()))
    if len(unknown) == len(cameras):
        raise UserError(
            f"the test cameras are {', '.join(unknown[:4])}, the transit times are of "
            f"{', '.join(str(c) for c in model.cameras[:4])}; they have none in common"
        )
    if unknown:
        logger.warning("transit times to and from camera %s are not known: probability 0", ", ".join(unknown))
