"""The evaluation protocol: query, gallery, junk and average precision."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from st_reid.config import EvalConfig
from st_reid.data.tracklet import DISTRACTOR, UNKNOWN, Labels
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import RankingResult, cosine_distance, evaluate_rank
from st_reid.retrieval.matrix import Matrix
from st_reid.retrieval.ranking import NO_MATCH


@dataclass(frozen=True)
class QueryGallery:
    """Query and gallery, and how they are ranked.

    Attributes:
        query: the tracklets to look for, whose persons are known.
        gallery: the tracklets to look in.
        junk: which gallery tracklets of the query's person are left out: ``same_camera`` or ``same_tracklet``.
        ap: ``step`` or ``trapezoid``.
        nobody: how tracklets without a known person are treated, in words by their kind.
    """

    query: Labels
    gallery: Labels
    junk: str
    ap: str
    nobody: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Labels, gallery: Labels, config: EvalConfig) -> QueryGallery:
        """Resolve the junk rule ``auto``, leave out unknown persons, and check that there is something to rank.

        A distractor is certainly none of the persons: it is never a query, and it is wrong in the gallery. An unknown
        person may be any person: it is never a query, and it is left out of the gallery unless ``config.unknown``
        counts it as wrong.

        Raises:
            UserError: an empty query or gallery, persons that are not known, or no query with a match.
        """
        if not len(query) or not len(gallery):
            raise UserError(
                f"{len(query)} query and {len(gallery)} gallery tracklets; evaluation needs both: "
                "check the dataset's splits"
            )
        asked = query.is_known
        if not asked.any() or not gallery.is_known.any():
            count = int((~asked).sum() + (~gallery.is_known).sum())
            raise UserError(
                f"{count} tracklets have no person, so there is nothing to evaluate; "
                "name the persons, for example with --identities of st_reid.tracklets"
            )
        junk = config.junk
        if junk == "auto":
            junk = "same_camera" if len(np.unique(gallery.camera)) > 1 else "same_tracklet"
        unknown = gallery.person == UNKNOWN
        kept = ~unknown if config.unknown == "junk" else np.ones(len(gallery), dtype=bool)
        nobody = {}
        if not asked.all():
            nobody["queries"] = f"{(~asked).sum()} of {len(query)} are of nobody known, and not asked"
        if unknown.any():
            how = "left out" if config.unknown == "junk" else "counted as wrong"
            nobody["unknown"] = f"{unknown.sum()} gallery tracklets of unknown persons are {how}"
        if (distractors := int((gallery.person == DISTRACTOR).sum())) > 0:
            nobody["distractors"] = f"{distractors} gallery tracklets are certainly none of the persons"
        found = cls(query.labels(asked), gallery.labels(kept), junk, config.ap, nobody)
        found._check_match()
        return found

    def _check_match(self) -> None:
        q_views, g_views = (views.tolist() for views in self.views())
        views_of = defaultdict(set)
        for person, view in zip(self.gallery.person.tolist(), g_views, strict=True):
            views_of[person].add(view)
        if not any(views_of[p] - {view} for p, view in zip(self.query.person.tolist(), q_views, strict=True)):
            raise UserError(NO_MATCH)  # now, and not after hours

    def views(self) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return the labels of query and gallery (cameras or tracklets) by which junk is found."""
        key = "camera" if self.junk == "same_camera" else "tracklet"
        return getattr(self.query, key), getattr(self.gallery, key)

    def split(self, features: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
        """Split features of query and gallery into the two, by the names of the tracklets."""
        return features.named(self.query.tracklet), features.named(self.gallery.tracklet)

    def rank(self, distances: Matrix) -> RankingResult:
        """Evaluate distances (Q, G)."""
        return evaluate_rank(distances, self.query.person, self.gallery.person, *self.views(), ap=self.ap)

    def rank_features(self, features: FeatureSet) -> RankingResult:
        """Evaluate the cosine distances of features that hold query and gallery."""
        query, gallery = self.split(features)
        return self.rank(cosine_distance(query.features, gallery.features))

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
        rules = {"junk": f"{self.junk}: {left_out[self.junk]}", "ap": f"{self.ap}: {ap[self.ap]}"}
        return rules | self.nobody
