"""What a model is worth: its rankings by appearance, and where times are known by where and when too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from st_reid.config import EvalConfig, JointConfig
from st_reid.data.tracklet import Tracklet
from st_reid.engine import ClipReader, Compute, extract_features
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
    rerank,
    rerank_distances,
)
from st_reid.retrieval.matrix import Matrix, entries

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
        # Found now and not after hours: zeros serve, as which queries are valid does not depend on distances.
        retrieval.rank(np.zeros((len(query), len(gallery)), np.float32))
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
    same_network: bool = True,
) -> Evaluation:
    """Extract the features of query and gallery, and rank by all that is known.

    Args:
        model: on its device.
        train: the dataset's training tracklets, for the transit times; may be empty.
        retrieval: query and gallery.
        reader: makes the clips; its ``eval`` says what to rank by.
        compute: the device and precision.
        same_network: whether ``train`` is of the cameras that ``retrieval`` is of.

    Raises:
        UserError: images that cannot be read, features that are not finite, or a joint metric that is wanted and
            cannot be had.
    """
    config = reader.eval
    transit_times = fit_transit_times(train, retrieval, config.joint, same_network)  # before the work: it may fail
    if transit_times is not None and config.joint.choose:
        features = extract_features(model, train, reader, compute, "training features")
        config = replace(config, joint=_choose(train, features, config.joint))
        transit_times = fit_transit_times(train, retrieval, config.joint, same_network)
    features = extract_features(model, retrieval.tracklets, reader, compute)
    return Evaluation(rank_all(retrieval, features, transit_times, config), transit_times, config.joint)


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
    if model is not None:
        distances["camera_mask"] = _other_cameras_first(retrieval, distances["appearance"])
        distances["joint"] = _joint(query, gallery, retrieval.query, retrieval.gallery, model, config.joint)
    if config.rerank.use:
        constants = {key: value for key, value in asdict(config.rerank).items() if key != "use"}
        again: dict[str, Matrix] = {"appearance_reranked": rerank(query, gallery, **constants)}
        if model is not None:
            again["camera_mask_reranked"] = _other_cameras_first(retrieval, again["appearance_reranked"])
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


def _other_cameras_first(retrieval: Retrieval, distances: Matrix) -> LazyMatrix:
    cameras = np.unique([t.camera for t in (*retrieval.query, *retrieval.gallery)], return_inverse=True)[1]
    q, g = np.split(cameras, [len(retrieval.query)])
    behind = 4.0  # farther than any cosine or Jaccard distance
    return LazyMatrix(
        distances.shape,
        lambda rows: distances[rows] + behind * (q[rows, None] == g).astype(np.float32),
        lambda i, j: entries(distances, i, j) + behind * (q[i] == g[j]),
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
        return _fit(train, retrieval, config, same_network)
    except UserError as error:
        if config.use == "always" or config.model is not None:
            raise
        if any(t.time is not None for t in retrieval.tracklets):
            logger.info("no joint metric: %s", error)
        return None


def _fit(
    train: Sequence[Tracklet], retrieval: Retrieval, config: JointConfig, same_network: bool
) -> SpatialTemporalModel:
    for what, tracklets in (("query and gallery", retrieval.tracklets), ("training", train)):
        if what == "training" and config.model is not None:
            continue
        missing = [t.name for t in tracklets if t.time is None]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(tracklets)} {what} tracklets have no time, {missing[0]} first; "
                "the joint metric needs the time of each"
            )
    if config.model is not None:
        model = SpatialTemporalModel.load(config.model)
    elif not same_network:
        raise UserError("the training tracklets are of another dataset, and so of other cameras")
    else:
        model = SpatialTemporalModel.fit(*_passings(train), bin_width=config.bin_width, sigma=config.sigma)
    cameras = {t.camera for t in retrieval.tracklets}
    unknown = sorted(cameras - set(model.cameras.tolist()))
    if len(unknown) == len(cameras):
        raise UserError(
            f"the test cameras are {', '.join(unknown[:4])}, the transit times are of "
            f"{', '.join(str(c) for c in model.cameras[:4])}; they have none in common"
        )
    if unknown:
        logger.warning("transit times to and from camera %s are not known: probability 0", ", ".join(unknown))
    return model


def _passings(tracklets: Sequence[Tracklet]) -> tuple[NDArray, NDArray, NDArray[np.float64]]:
    """Return persons, cameras and times (N,), NaN for a time that is not known."""
    times = np.array([t.time for t in tracklets], dtype=np.float64)
    return np.array([t.person for t in tracklets]), np.array([t.camera for t in tracklets]), times
