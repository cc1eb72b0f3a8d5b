"""Contact sheets of an evaluation: queries, and what was found for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from st_reid.data.frames import FrameReader
from st_reid.data.thumbnails import frames_shown
from st_reid.data.tracklet import Tracklet
from st_reid.drawing.sheet import QUERY, RIGHT, WRONG, Cell, draw_sheet, spread_evenly
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import Ranking
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import rank_gallery
from st_reid.retrieval.matrix import Matrix, entries, row_blocks

Pictures = Callable[[str], Sequence[NDArray[np.uint8]]]
"""Returns the images to show for a tracklet name: RGB (h, w, 3) each."""


def pictures_of_tracklets(tracklets: Sequence[Tracklet]) -> Pictures:
    """Return a function that reads the first, middle and last frame of a tracklet."""
    reader = FrameReader("skip")
    by_name = {t.name: t for t in tracklets}
    return lambda name: frames_shown(reader, by_name[name])


def pictures_of_features(features: FeatureSet) -> Pictures | None:
    """Return a function that finds the thumbnail of a tracklet; ``None`` if the features have no thumbnails."""
    thumbnails = features.thumbnails
    if thumbnails is None:
        return None
    row = {name: i for i, name in enumerate(features.tracklet.tolist())}
    return lambda name: [thumbnails[row[name]]]


def contact_sheet(
    pairs: QueryGallery, ranking: Ranking, pictures: Pictures, path: Path, *, queries: int = 10, top: int = 6
) -> None:
    """Draw queries with their nearest gallery tracklets, right ones framed in green, wrong ones in red.

    Of the queries with a match, sorted by average precision, those at equal steps from best to worst are shown.

    Args:
        pairs: the query and gallery.
        ranking: of them.
        pictures: of the tracklets.
        path: the PNG to write.
        queries: rows.
        top: gallery tracklets in a row.
    """
    result, distances = ranking.result, ranking.distances
    query, gallery = pairs.query, pairs.gallery
    order = np.argsort(-result.ap, kind="stable")
    rows = []
    for q in result.valid[order[spread_evenly(len(order), queries)]].tolist():
        person, row = query.person[q], distances[q]
        cells = [Cell(pictures(str(query.tracklet[q])), QUERY, f"person {person}, camera {query.camera[q]}")]
        for g in rank_gallery(row, pairs.junk_of(q), top):
            color = RIGHT if gallery.person[g] == person else WRONG
            caption = f"{gallery.person[g]}, camera {gallery.camera[g]}, d {row[g]:.2g}"
            cells.append(Cell(pictures(str(gallery.tracklet[g])), color, caption))
        rows.append(cells)
    legend = "query (blue), then its nearest tracklets: right (green), wrong (red)"
    title = f"{legend}; first, middle and last frame; best query first"
    draw_sheet(title, rows, path, columns=top + 1)


def changed_sheet(
    pairs: QueryGallery, appearance: Matrix, joint: Matrix, pictures: Pictures, path: Path, *, queries: int = 10
) -> None:
    """Draw queries whose first hit the joint metric changed: the query, the hit by appearance, the hit by both.

    Corrected first hits and first hits made wrong are shown in their true proportion.

    Args:
        pairs: the query and gallery.
        appearance: (Q, G) cosine distances.
        joint: (Q, G), 1 - the joint score.
        pictures: of the tracklets.
        path: the PNG to write.
        queries: rows.
    """
    query, gallery = pairs.query, pairs.gallery
    kinds: dict[str, list[tuple[int, int, int]]] = {"put right": [], "put wrong": [], "still wrong": []}
    for q, (before, after) in enumerate(zip(*(_first_hits(pairs, m) for m in (appearance, joint)), strict=True)):
        was, now = (gallery.person[g] == query.person[q] for g in (before, after))
        if before != after and not (was and now):
            kinds["put right" if now else "put wrong" if was else "still wrong"].append((q, before, after))
    changed = [(kind, *row) for kind, found in kinds.items() for row in found]
    rows = []
    for kind, q, *hits in (changed[i] for i in spread_evenly(len(changed), queries)):
        who = f"person {query.person[q]}, camera {query.camera[q]}"
        cells = [Cell(pictures(str(query.tracklet[q])), QUERY, who, f"time {query.time[q]:g}: {kind}")]
        similarity, score = (1 - entries(matrix, np.array([q, q]), np.array(hits)) for matrix in (appearance, joint))
        for g, s, j in zip(hits, similarity, score, strict=True):
            color = RIGHT if gallery.person[g] == query.person[q] else WRONG
            caption = f"{gallery.person[g]}, camera {gallery.camera[g]}, {gallery.time[g] - query.time[q]:+.0f}"
            cells.append(Cell(pictures(str(gallery.tracklet[g])), color, caption, f"cos {s:.3f}, joint {j:.3f}"))
        rows.append(cells)
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in kinds.items())
    title = f"first hit by appearance, then by the joint metric, where they differ: {counts}"
    draw_sheet(title, rows, path, columns=3, min_width=720)


def _first_hits(pairs: QueryGallery, distances: Matrix) -> list[int]:
    """Return each query's nearest gallery item that is not junk."""
    hits: list[int] = []
    for rows in row_blocks(distances.shape):
        junk = np.stack([pairs.junk_of(q) for q in range(rows.start, min(rows.stop, len(pairs.query)))])
        hits += np.where(junk, np.inf, distances[rows]).argmin(axis=1).tolist()
    return hits
