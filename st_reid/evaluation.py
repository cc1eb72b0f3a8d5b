"""What a model is worth: its rankings by appearance, and where times are known by where and when too."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from st_reid.compute import Compute
from st_reid.config import EvalConfig, JointConfig
from st_reid.data.tracklet import Tracklet
from st_reid.engine import ClipReader, extract_features
from st_reid.errors import UserError
from st_reid.retrieval import (
    CosineDistance,
    LazyMatrix,
    RankingResult,
    SpatialTemporalModel,
    choose_constants,
    cosine_distance,
    evaluate_rank,
    joint_distance,
    other_cameras_first,
    rerank,
    rerank_distances,
)
from st_reid.retrieval.matrix import Matrix
from st_reid.retrieval.ranking import NO_MATCH
from st_reid.retrieval.reranking import check_constants
from st_reid.retrieval.spatial_temporal import check_folds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retrieval:
    """Query and gallery, encoded once, so that features of any kind can be ranked.

    Attributes:
        query: the tracklets to look for.
        gallery: the tracklets to look in.
        junk: ``same_camera`` or ``same_tracklet``: what is left out of the gallery for a query, among its person.
        ap: ``step`` or ``trapezoid``.
    """

    query: tuple[Tracklet, ...]
    gallery: tuple[Tracklet, ...]
    junk: str
    ap: str

    @classmethod
    def of(cls, query: Sequence[Tracklet], gallery: Sequence[Tracklet], config: EvalConfig) -> Retrieval:
        """Resolve the junk rule ``auto`` and check that there is something to rank.

        Raises:
            UserError: an empty query or gallery, persons that are not known, or no query with a match.
        """
        if not query or not gallery:
            raise UserError(
                f"{len(query)} query and {len(gallery)} gallery tracklets; evaluation needs both: "
                "check the dataset's splits"
            )
        unknown = sum(not t.person for t in (*query, *gallery))
        if unknown:
            raise UserError(
                f"{unknown} tracklets have no person, so there is nothing to evaluate; "
                "name the persons, for example with --identities of st_reid.tracklets"
            )
        junk = config.junk
        if junk == "auto":
            junk = "same_camera" if len({t.camera for t in gallery}) > 1 else "same_tracklet"
        retrieval = cls(tuple(query), tuple(gallery), junk, config.ap)
        q_views, g_views = retrieval.views()
        views_of = defaultdict(set)
        for tracklet, view in zip(gallery, g_views, strict=True):
            views_of[tracklet.person].add(view)
        if not any(views_of[t.person] - {view} for t, view in zip(query, q_views, strict=True)):
            raise UserError(NO_MATCH)  # now, and not after hours
        return retrieval

    def views(self) -> tuple[list[str], list[str]]:
        """Return for query and gallery what must differ from the query's for an item of its person to count."""
        key = "camera" if self.junk == "same_camera" else "name"
        return [getattr(t, key) for t in self.query], [getattr(t, key) for t in self.gallery]

    @property
    def tracklets(self) -> list[Tracklet]:
        """Every tracklet once: those of the query first."""
        return list(dict.fromkeys((*self.query, *self.gallery)))

    def split(self, features: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the queries' and the gallery's of features of :attr:`tracklets`, (N, D)."""
        row = {tracklet: i for i, tracklet in enumerate(self.tracklets)}
        return features[[row[t] for t in self.query]], features[[row[t] for t in self.gallery]]

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return cosine distances (Q, G) from features of :attr:`tracklets`, (N, D)."""
        return cosine_distance(*self.split(features))

    def rank(self, distances: Matrix) -> RankingResult:
        """Evaluate distances (Q, G) under the chosen protocol."""
        persons = [t.person for t in self.query], [t.person for t in self.gallery]
        return evaluate_rank(distances, *persons, *self.views(), ap=self.ap)

    def describe(self) -> dict[str, str]:
        """Return the protocol in words, for the report."""
        left_out = {
            "same_camera": "gallery tracklets of the query's person and camera are left out",
            "same_tracklet": "the query's own tracklet is left out",
        }
        ap = {
            "step": "step AP, means over queries with a match",
            "trapezoid": "trapezoidal AP, CMC and mAP divided by all queries",
        }
        return {"junk": f"{self.junk}: {left_out[self.junk]}", "ap": f"{self.ap}: {ap[self.ap]}"}


@dataclass(frozen=True)
class Ranking:
    """Distances, and what they are worth.

    Attributes:
        distances: (Q, G), an array or computed a block of rows at a time.
        result: their figures.
    """

    distances: Matrix
    result: RankingResult


@dataclass(frozen=True)
class Evaluation:
    """What was found out about a model.

    Attributes:
        rankings: by name, see :func:`rank_all`.
        transit_times: of which the joint metric made use, if it did.
        joint: its constants, chosen ones put in.
    """

    rankings: dict[str, Ranking]
    transit_times: SpatialTemporalModel | None
    joint: JointConfig


def evaluate_model(
    model: nn.Module,
    train: Sequence[Tracklet],
    retrieval: Retrieval,
    reader: ClipReader,
    compute: Compute,
    transit_times: SpatialTemporalModel | None,
) -> Evaluation | None:
    """Extract the features of query and gallery, and rank by all that is known.

    Several processes share the extraction; the first ranks, for the others it is ``None``.

    Args:
        model: on its device.
        train: the training tracklets, by which the joint metric's constants are chosen where that is asked for.
        retrieval: query and gallery.
        reader: makes the clips; its ``eval`` says what to rank by.
        compute: the device and precision.
        transit_times: what :func:`prepare` returned.

    Raises:
        UserError: images that cannot be read, or features that are not finite.
    """
    config = reader.eval
    joint = config.joint
    if transit_times is not None:
        if joint.choose:
            joint = _choose(train, extract_features(model, train, reader, compute, "training features"), joint)
            transit_times = _fit(train, joint)
        joint = replace(joint, bin_width=transit_times.bin_width, sigma=transit_times.sigma)  # a file brings its own
    features = extract_features(model, retrieval.tracklets, reader, compute)
    if not compute.world.writes:
        return None
    rankings = rank_all(retrieval, features, transit_times, replace(config, joint=joint))
    return Evaluation(rankings, transit_times, joint)


def prepare(
    train: Sequence[Tracklet], retrieval: Retrieval, config: EvalConfig, same_network: bool = True
) -> SpatialTemporalModel | None:
    """Find out what an evaluation would stumble over, before hours of training, and return its transit times if any.

    Raises:
        UserError: as :func:`fit_transit_times`, and constants of the re-ranking that do not go with the data.
    """
    if config.rerank.use:
        constants = config.rerank
        items = len(retrieval.query) + len(retrieval.gallery)
        check_constants(items, len(retrieval.query), constants.k1, constants.k2, constants.lambda_value)
    if config.joint.choose and config.joint.model is not None:
        raise UserError(
            "eval.joint.choose fits transit times, and eval.joint.model brings fitted ones; pass one of them"
        )
    transit_times = fit_transit_times(train, retrieval, config.joint, same_network)
    if transit_times is not None and config.joint.choose:
        check_folds([t.person for t in train])
    return transit_times


def _choose(train: Sequence[Tracklet], features: NDArray[np.floating], config: JointConfig) -> JointConfig:
    if config.model is not None:
        raise UserError(
            "eval.joint.choose fits transit times, and eval.joint.model brings fitted ones; pass one of them"
        )
    choice = choose_constants(
        features,
        *_passings(train),
        bin_width=config.bin_width,
        lambda_appearance=config.lambda_appearance,
        gamma_appearance=config.gamma_appearance,
        lambda_time=config.lambda_time,
    )
    logger.info(
        "joint metric: sigma %g, gamma_time %g, the best of %d by cross-validation on training identities (mAP %.1f%%)",
        choice.sigma,
        choice.gamma_time,
        len(choice.tried),
        100 * choice.mAP,
    )
    return replace(config, sigma=choice.sigma, gamma_time=choice.gamma_time)


def rank_all(
    retrieval: Retrieval, features: NDArray[np.floating], model: SpatialTemporalModel | None, config: EvalConfig
) -> dict[str, Ranking]:
    """Rank by appearance; with a model of transit times also by the joint metric, and by what that has to beat.

    Args:
        retrieval: query and gallery.
        features: (N, D) of ``retrieval.tracklets``.
        model: of transit times, or ``None``.
        config: the constants of the joint metric, and whether to re-rank.

    Returns:
        ``appearance``; with a model ``camera_mask``, appearance with the gallery of the query's own camera behind all
        others, and ``joint``; and each of these re-ranked, as ``appearance_reranked`` and so on, if ``config`` says so.

    Raises:
        UserError: constants of the re-ranking that do not fit the data.
    """
    query, gallery = retrieval.split(features)
    distances: dict[str, Matrix] = {"appearance": cosine_distance(query, gallery)}
    cameras = [t.camera for t in retrieval.query], [t.camera for t in retrieval.gallery]
    if model is not None:
        distances["camera_mask"] = other_cameras_first(distances["appearance"], *cameras)
        distances["joint"] = _joint(query, gallery, retrieval.query, retrieval.gallery, model, config.joint)
    if config.rerank.use:
        constants = {key: value for key, value in asdict(config.rerank).items() if key != "use"}
        again: dict[str, Matrix] = {"appearance_reranked": rerank(query, gallery, **constants)}
        if model is not None:
            again["camera_mask_reranked"] = other_cameras_first(again["appearance_reranked"], *cameras)
            items, tracklets = np.concatenate([query, gallery]), (*retrieval.query, *retrieval.gallery)
            everything = _joint(items, items, tracklets, tracklets, model, config.joint)
            again["joint_reranked"] = rerank_distances(everything, len(query), **constants)
        distances |= again
    return {name: Ranking(matrix, retrieval.rank(matrix)) for name, matrix in distances.items()}


def _joint(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    a_tracklets: Sequence[Tracklet],
    b_tracklets: Sequence[Tracklet],
    model: SpatialTemporalModel,
    config: JointConfig,
) -> LazyMatrix:
    return joint_distance(
        CosineDistance(a, b, np.float64),
        model.between(*_passings(a_tracklets)[1:], *_passings(b_tracklets)[1:]),
        lambda_appearance=config.lambda_appearance,
        gamma_appearance=config.gamma_appearance,
        lambda_time=config.lambda_time,
        gamma_time=config.gamma_time,
    )


def fit_transit_times(
    train: Sequence[Tracklet], retrieval: Retrieval, config: JointConfig, same_network: bool = True
) -> SpatialTemporalModel | None:
    """Fit transit times on training tracklets, or read them from ``config.model``, if the test part can use them.

    Args:
        train: tracklets to learn from, of the same cameras and clock as query and gallery.
        retrieval: query and gallery.
        config: says whether, and with which bins.
        same_network: whether ``train`` is of the cameras that ``retrieval`` is of.

    Returns:
        The model; or ``None``, where ``config.use`` is ``auto`` and there is nothing to fit or to use it on, which is
        logged if there are any times, or where it is ``never``.

    Raises:
        UserError: ``config.use`` is ``always`` and it cannot be, or a file that cannot be read.
    """
    if config.use == "never":
        return None
    try:
        _check_times(train, retrieval, config, same_network)
        model = SpatialTemporalModel.load(config.model) if config.model is not None else _fit(train, config)
        _check_cameras(model, retrieval)
    except UserError as error:
        if config.use == "always" or config.model is not None:
            raise
        if any(t.time is not None for t in retrieval.tracklets):
            logger.info("no joint metric: %s", error)
        return None
    return model


def _check_times(train: Sequence[Tracklet], retrieval: Retrieval, config: JointConfig, same_network: bool) -> None:
    needed = {"query and gallery": retrieval.tracklets}
    if config.model is None:
        needed["training"] = list(train)
        if not same_network:
            raise UserError("the training tracklets are of another dataset, and so of other cameras")
    for what, tracklets in needed.items():
        missing = [t.name for t in tracklets if t.time is None]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(tracklets)} {what} tracklets have no time, {missing[0]} first; "
                "the joint metric needs the time of each"
            )


def _fit(train: Sequence[Tracklet], config: JointConfig) -> SpatialTemporalModel:
    return SpatialTemporalModel.fit(*_passings(train), bin_width=config.bin_width, sigma=config.sigma)


def _check_cameras(model: SpatialTemporalModel, retrieval: Retrieval) -> None:
    cameras = {t.camera for t in retrieval.tracklets}
    unknown = sorted(cameras - set(model.cameras.tolist()))
    if len(unknown) == len(cameras):
        raise UserError(
            f"the test cameras are {', '.join(unknown[:4])}, the transit times are of "
            f"{', '.join(str(c) for c in model.cameras[:4])}; they have none in common"
        )
    if unknown:
        logger.warning("transit times to and from camera %s are not known: probability 0", ", ".join(unknown))


def _passings(tracklets: Sequence[Tracklet]) -> tuple[NDArray, NDArray, NDArray[np.float64]]:
    """Return persons, cameras and times (N,), NaN for a time that is not known."""
    times = np.array([t.time for t in tracklets], dtype=np.float64)
    return np.array([t.person for t in tracklets]), np.array([t.camera for t in tracklets]), times
