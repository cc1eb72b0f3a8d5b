"""Which tracklets of a gallery count for a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from st_reid.data.tracklet import Labels
from st_reid.errors import UserError, unknown_name
from st_reid.retrieval.matrix import row_blocks
from st_reid.retrieval.ranking import encode_labels

Excluded = Callable[[slice], NDArray[np.bool_]]
"""For a slice of n queries, returns which of the G gallery tracklets do not count, (n, G)."""


@dataclass(frozen=True)
class Filters:
    """The filters of a search.

    Attributes:
        cameras: only tracklets of these cameras; ``None`` for all.
        after: only tracklets that are seen at this time or later; ``None`` for all.
        before: only tracklets that are seen before this time; ``None`` for all.
        other_cameras: only tracklets of other cameras than the query's.
        at_once: also tracklets that the query's camera saw at the same time as the query, so of other persons.
    """

    cameras: Sequence[str] | None = None
    after: float | None = None
    before: float | None = None
    other_cameras: bool = False
    at_once: bool = False

    def allowed(self, gallery: Labels) -> NDArray[np.bool_]:
        """Return which tracklets of the gallery (G,) are left for every query.

        Raises:
            UserError: an unknown camera, times where none are known, or nothing left.
        """
        allowed = np.ones(len(gallery), dtype=bool)
        if self.cameras is not None:
            known = set(gallery.camera.tolist())
            for camera in set(self.cameras) - known:
                raise unknown_name("camera", camera, known)
            allowed &= np.isin(gallery.camera, list(self.cameras))
        if self.after is not None or self.before is not None:
            if np.isnan(gallery.time).all():
                raise UserError("--after and --before need times, and no tracklet of the gallery has one")
            allowed &= gallery.last >= (-np.inf if self.after is None else self.after)
            allowed &= gallery.time < (np.inf if self.before is None else self.before)
        if not allowed.any():
            raise UserError("the filters leave no tracklet to search in; widen --cameras, --after or --before")
        return allowed

    def excluded(self, queries: Labels, gallery: Labels, allowed: NDArray[np.bool_]) -> Excluded:
        """Return the excluded: not ``allowed``, the query itself, what was seen at once with it, its own camera.

        Only a query that is in the gallery excludes what its camera saw at once: of others the clock is not known, and
        an image may have been cut out of the very tracklet that is looked for.
        """
        asked, itself = find_themselves(queries, gallery)
        inside = np.isin(np.arange(len(queries)), [] if self.at_once else asked)
        at_once = seen_at_once(queries, gallery)
        cameras = encode_labels(queries.camera, gallery.camera) if self.other_cameras else None

        def excluded(rows: slice) -> NDArray[np.bool_]:
            start, stop, _ = rows.indices(len(queries))
            out = np.repeat(~allowed[None], stop - start, axis=0)
            here = (asked >= start) & (asked < stop)
            out[asked[here] - start, itself[here]] = True
            if inside[rows].any():
                out |= inside[rows, None] & at_once(rows)
            if cameras is not None:
                out |= cameras[0][rows, None] == cameras[1]
            return out

        return excluded

    def count_at_once(self, queries: Labels, gallery: Labels, allowed: NDArray[np.bool_]) -> int:
        """Return how many pairs of a query and an ``allowed`` tracklet are excluded because they were seen at once."""
        if self.at_once:
            return 0
        asked, itself = find_themselves(queries, gallery)
        known = ~np.isnan(queries.time[asked])
        asked, count = asked[known], -int(allowed[itself[known]].sum())
        for camera in np.unique(queries.camera[asked]):
            here = allowed & (gallery.camera == camera)
            of = asked[queries.camera[asked] == camera]
            begun = np.searchsorted(np.sort(gallery.time[here]), queries.last[of], side="right")
            ended = np.searchsorted(np.sort(gallery.last[here]), queries.time[of], side="left")
            count += int((begun - ended).sum())  # NaN, which is sorted last, counts in neither
        return count


def seen_at_once(queries: Labels, gallery: Labels) -> Excluded:
    """Return which pairs of tracklets one camera saw at the same time: they are of two persons, or the same tracklet.

    Tracklets without a known time exclude nothing.
    """
    cameras = encode_labels(queries.camera, gallery.camera)

    def seen(rows: slice) -> NDArray[np.bool_]:
        overlap = queries.time[rows, None] <= gallery.last
        overlap &= gallery.time <= queries.last[rows, None]  # NaN compares as false
        overlap &= cameras[0][rows, None] == cameras[1]
        return overlap

    return seen


def find_themselves(queries: Labels, gallery: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which queries are which tracklets of the gallery: the indices of both (n,), one pair each.

    The name alone is not enough: trackers count from 1 in every video.
    """
    asked: defaultdict[str, list[int]] = defaultdict(list)
    for q, name in enumerate(queries.tracklet.tolist()):
        asked[name].append(q)
    pairs = [(q, g) for g, name in enumerate(gallery.tracklet.tolist()) for q in asked.get(name, ())]
    query, place = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    same = np.ones(len(query), dtype=bool)
    for column in ("camera", "time", "frames"):
        a, b = getattr(queries, column)[query], getattr(gallery, column)[place]
        same &= (a == b) | ((a != a) & (b != b))  # both NaN is the same
    return query[same], place[same]


def persons_there(queries: Labels, gallery: Labels, excluded: Excluded) -> NDArray[np.bool_]:
    """Return for which queries (Q,) a tracklet of their person can be found."""
    there = np.zeros(len(queries), dtype=bool)
    asked = queries.is_known
    if asked.any():
        q, g = encode_labels(queries.person, gallery.person)
        for rows in row_blocks((len(queries), len(gallery)), itemsize=1):
            there[rows] = asked[rows] & ((q[rows, None] == g) & ~excluded(rows)).any(axis=1)
    return there
