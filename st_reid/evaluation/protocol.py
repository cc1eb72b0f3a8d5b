"""The evaluation protocol: query, gallery, junk and average precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from st_reid.config import EvalConfig
from st_reid.data.tracklet import DISTRACTOR, UNKNOWN, Labels
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import RankingResult, cosine_distance, evaluate_rank
from st_reid.retrieval.matrix import Matrix
from st_reid.retrieval.protocols import PROTOCOLS, Protocol, matches
from st_reid.retrieval.ranking import NO_MATCH, encode_labels

VIEWS = {
    "aerial_to_ground": ("aerial", "ground"),
    "ground_to_aerial": ("ground", "aerial"),
    "aerial_to_aerial": ("aerial", "aerial"),
}
"""Protocols that choose query and gallery by their views, and then are the standard one."""


@dataclass(frozen=True)
class QueryGallery:
    """Query and gallery, and how they are ranked.

    Attributes:
        query: the tracklets to look for, whose persons are known.
        gallery: the tracklets to look in.
        junk: which gallery tracklets of the query's person are left out: ``same_camera`` or ``same_tracklet``.
        ap: ``step`` or ``trapezoid``.
        protocol: one of :data:`~st_reid.retrieval.protocols.PROTOCOLS` or of :data:`VIEWS`.
        nobody: how tracklets without a known person are treated, in words by their kind.
    """

    query: Labels
    gallery: Labels
    junk: str
    ap: str
    protocol: str = "standard"
    nobody: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Labels, gallery: Labels, config: EvalConfig) -> QueryGallery:
        """Resolve the junk rule ``auto``, leave out unknown persons, and check that there is something to rank.

        A distractor is certainly none of the persons: it is never a query, and it is wrong in the gallery. An unknown
        person may be any person: it is never a query, and it is left out of the gallery unless ``config.unknown``
        counts it as wrong.

        Raises:
            UserError: an empty query or gallery, persons that are not known, a view or label that the protocol needs
                and that is not known, or no query with a match.
        """
        query, gallery = _of_views(query, gallery, config.protocol)
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
        found = cls(query.labels(asked), gallery.labels(kept), junk, config.ap, config.protocol, nobody)
        found._check_labels()
        found._check_match()
        return found

    @cached_property
    def _rule(self) -> Protocol:
        return PROTOCOLS.get(self.protocol, PROTOCOLS["standard"])

    @cached_property
    def _codes(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Persons, views and compared labels of query and gallery, as numbers."""
        query, gallery = self.query.person, self.gallery.person
        return [tuple(encode_labels(*pair)) for pair in ((query, gallery), self.views(), self._compared())]  # type: ignore[misc]

    def _compared(self) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return the labels of query and gallery that the protocol compares, such as the clothes."""
        if not self._rule.label:
            return np.zeros(len(self.query), np.str_), np.zeros(len(self.gallery), np.str_)
        return self.query.label(self._rule.label), self.gallery.label(self._rule.label)

    def _check_labels(self) -> None:
        if not self._rule.label:
            return
        for side, labels in zip((self.query, self.gallery), self._compared(), strict=True):
            missing = side.tracklet[(labels == "") & side.is_known]
            if len(missing):
                raise UserError(
                    f"protocol {self.protocol} needs the {self._rule.label} of every tracklet, and {len(missing)} of "
                    f"{len(side)} have none, {str(missing[0])!r} first; pass another --eval.protocol, or add them"
                )

    def _check_match(self) -> None:
        places = defaultdict(list)
        for i, person in enumerate(self._codes[0][1].tolist()):
            places[person].append(i)
        for q, person in enumerate(self._codes[0][0].tolist()):
            if (own := places.get(person)) and not self._is_junk(q, np.array(own)).all():
                return
        raise UserError(NO_MATCH)  # now, and not after hours

    def junk_of(self, q: int) -> NDArray[np.bool_]:
        """Return which gallery items (G,) are left out for query ``q``."""
        persons = self._codes[0]
        junk = np.zeros(len(self.gallery), dtype=bool)
        own = np.flatnonzero(persons[1] == persons[0][q])
        junk[own] = self._is_junk(q, own)
        return junk

    def _is_junk(self, q: int, own: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some gallery items of the person of query ``q`` are junk."""
        (q_views, g_views), (q_labels, g_labels) = self._codes[1:]
        return ~matches(self._rule, (q_views[q], g_views[own]), (q_labels[q], g_labels[own]))

    def views(self) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return the labels of query and gallery (cameras or tracklets) by which junk is found."""
        key = "camera" if self.junk == "same_camera" else "tracklet"
        return getattr(self.query, key), getattr(self.gallery, key)

    def under(self, protocols: Sequence[str]) -> dict[str, QueryGallery]:
        """Return the same query and gallery under other protocols, by their names.

        Raises:
            UserError: a label that is not known, no query with a match, or a protocol that takes a part of both only.
        """
        found = {}
        for name in protocols:
            if name in VIEWS:
                raise UserError(
                    f"{name} takes other tracklets than {self.protocol}; pass it as --eval.protocol instead"
                )
            found[name] = replace(self, protocol=name)
            found[name]._check_labels()
            found[name]._check_match()
        return found

    def split(self, features: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
        """Split features of query and gallery into the two, by the names of the tracklets."""
        return features.named(self.query.tracklet), features.named(self.gallery.tracklet)

    def rank(self, distances: Matrix) -> RankingResult:
        """Evaluate distances (Q, G)."""
        protocol = self.protocol if self.protocol in PROTOCOLS else "standard"
        q_labels, g_labels = self._compared()
        return evaluate_rank(
            distances, self.query.person, self.gallery.person, *self.views(),
            ap=self.ap, protocol=protocol, q_clothes=q_labels, g_clothes=g_labels,
        )  # fmt: skip

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
        junk = left_out[self.junk]
        if label := self._rule.label:
            junk += f", and those of the query's person that {'differ' if self._rule.same else 'agree'} in {label}"
        rules = {"name": self.protocol, "junk": f"{self.junk}: {junk}", "ap": f"{self.ap}: {ap[self.ap]}"}
        return rules | self.nobody


def _of_views(query: Labels, gallery: Labels, protocol: str) -> tuple[Labels, Labels]:
    """Return the part of query and gallery that a protocol of :data:`VIEWS` takes; all of both for another one."""
    if protocol not in VIEWS:
        return query, gallery
    found = []
    for side, what, view in zip((query, gallery), ("query", "gallery"), VIEWS[protocol], strict=True):
        views = side.label("view")
        if not (views == view).any():
            known = ", ".join(filter(None, np.unique(views).tolist())) or "not known"
            raise UserError(
                f"protocol {protocol} needs {view} {what} tracklets, and none of {len(side)} is; views: {known}"
            )
        found.append(side.labels(views == view))
    return found[0], found[1]
