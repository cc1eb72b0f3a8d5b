"""Which of these is the same person? Ranked tracklets as JSON, CSV and a contact sheet."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from st_reid.config import ExpandConfig, JointConfig
from st_reid.data.files import images_of
from st_reid.data.frames import read_frame
from st_reid.data.thumbnails import THUMBNAIL, thumbnail
from st_reid.drawing.sheet import NEUTRAL, QUERY, RIGHT, UNSURE, WRONG, Cell, draw_sheet
from st_reid.errors import UserError, unknown_name
from st_reid.features.calibration import Calibration
from st_reid.features.expansion import describe_expansion
from st_reid.features.expansion import expand as expand_features
from st_reid.features.extractor import TrackletExtractor
from st_reid.features.feature_set import SUFFIXES, FeatureSet, same_model
from st_reid.features.filters import Excluded, Filters, persons_there
from st_reid.features.joint import joint_distance_of
from st_reid.files import check_new_folder, folder_written_whole, locked, only_writer, write_json, write_text
from st_reid.models.loading import load_for_evaluation
from st_reid.retrieval import CosineDistance, Index, SpatialTemporalModel, nearest
from st_reid.retrieval.matrix import Matrix

ALL = "all"
CANDIDATES = 20  # candidates from an index for each result, since filters and times remove some
SHEET_ROWS, SHEET_COLUMNS = 12, 6
DECISION_COLORS = {"same": RIGHT, "unsure": UNSURE, "nobody here": WRONG}
logger = logging.getLogger(__name__)


class AddedToRow(TypedDict, total=False):
    """What a row of the first version does not have."""

    last: float | None


class TrackletRow(AddedToRow):
    """A tracklet in ``search.json``."""

    tracklet: str
    camera: str
    time: float | None
    frames: int
    person: str


class Decided(TypedDict, total=False):
    """What only a search with a calibration has."""

    decision: str


class FoundRow(TrackletRow, Decided):
    """A tracklet that was found."""

    rank: int
    score: float
    cosine: float


class QueryRow(Decided):
    """A query and what was found for it."""

    query: TrackletRow
    found: list[FoundRow]


class AddedToSearch(TypedDict, total=False):
    """What ``search.json`` of the first version does not have; ``seen_at_once`` are pairs that are left out for it."""

    seen_at_once: int
    expanded: str


class SearchReport(AddedToSearch):
    """``search.json``."""

    features: str
    tracklets: int
    searched: int
    ranked_by: str
    through: str
    model: dict[str, Any]
    queries: list[QueryRow]


@only_writer
def search(
    features: str,
    query: Sequence[str],
    output: str,
    *,
    weights: str | None = None,
    arch: str | None = None,
    top: int = 10,
    cameras: Sequence[str] | None = None,
    after: float | None = None,
    before: float | None = None,
    other_cameras: bool = False,
    at_once: bool = False,
    transit_times: str | None = None,
    query_camera: str | None = None,
    query_time: float | None = None,
    calibration: str | None = None,
    index: bool = False,
    device: str = "auto",
    precision: str = "auto",
    joint: JointConfig | None = None,
    expand: ExpandConfig | None = None,
) -> Path:
    """Search, write what was found, and return the folder.

    The arguments are the options of ``python -m st_reid.search``.

    Raises:
        UserError: features, queries, weights or filters that are not valid, or an output that exists.
    """
    folder = Path(output)
    check_new_folder(folder)
    gallery = FeatureSet.load(features)
    top = min(top, len(gallery))
    filters, expand = Filters(cameras, after, before, other_cameras, at_once), expand or ExpandConfig()
    if index and expand.gallery:
        raise UserError("an index is of features that are not expanded; leave --index or --expand.gallery out")
    queries = _named_queries(query, gallery)
    if queries is None:
        _check_query_camera(query_camera, filters, gallery)
        extractor = _extractor_of(gallery, weights, arch, device, precision)
        queries = _image_queries([Path(q) for q in query], extractor, gallery, query_camera or "", query_time)
    same_model(queries, gallery)
    thresholds = None if calibration is None else Calibration.load(calibration, gallery)
    allowed = filters.allowed(gallery)
    excluded = filters.excluded(queries, gallery, allowed)
    measure = _measure(queries, gallery, transit_times, joint or JointConfig())
    expanded = expand_features(queries, gallery, expand, excluded)
    found, scores = _find(_index(Path(features), gallery) if index else None, measure, *expanded, top, excluded)
    as_they_are = transit_times is None and not describe_expansion(expand)
    similarity = scores if as_they_are else _similarities(queries, gallery, found)
    ranked = enumerate(zip(found, scores, similarity, strict=True))
    report: SearchReport = {
        "features": features,
        "tracklets": len(gallery),
        "searched": int(allowed.sum()),
        "seen_at_once": filters.count_at_once(queries, gallery, allowed),
        "ranked_by": "joint score" if transit_times else "cosine similarity",
        "expanded": describe_expansion(expand),
        "through": "index" if index else "exact search",
        "model": gallery.about,
        "queries": [_describe(queries, q, gallery, *columns, thresholds) for q, columns in ranked],
    }
    _write(report, queries, gallery, found, folder)
    _announce(report, folder, persons_there(queries, gallery, excluded))
    return folder


def _named_queries(query: Sequence[str], gallery: FeatureSet) -> FeatureSet | None:
    """Return the features of the queries, or ``None`` if they are images."""
    if list(query) == [ALL]:
        return gallery
    names = set(gallery.tracklet.tolist())
    if names.issuperset(query):
        return gallery.named(query)
    if len(query) == 1 and Path(query[0]).suffix in SUFFIXES:
        return FeatureSet.load(query[0])
    for name in query:
        if Path(name).exists():
            continue
        if name not in names:
            error = unknown_name("tracklet", name, names)
            raise UserError(f"{error}; or pass an image, a folder of images, or a file of features")
        raise UserError(
            f"{name!r} is a tracklet of the gallery, and others are no such; ask for them one after the other"
        )
    return None


def _check_query_camera(camera: str | None, filters: Filters, gallery: FeatureSet) -> None:
    if filters.other_cameras and camera is None:
        raise UserError("--other-cameras needs the camera of the images; pass it as --query-camera")
    if filters.other_cameras and camera not in gallery.camera:
        raise unknown_name("camera", str(camera), set(gallery.camera.tolist()))


def _extractor_of(
    gallery: FeatureSet, weights: str | None, arch: str | None, device: str, precision: str
) -> TrackletExtractor:
    """Return an extractor of features of the same kind as the gallery's."""
    if weights is None:
        raise UserError("an image as query needs the model that the gallery was extracted with; pass its --weights")
    as_gallery = {n: gallery.about.get(n) for n in ("height", "width", "seq_len", "interpolation", "sampler")}
    loaded = load_for_evaluation(weights, arch, **as_gallery)
    return TrackletExtractor(loaded, device=device, precision=precision)


def _image_queries(
    paths: Sequence[Path], extractor: TrackletExtractor, gallery: FeatureSet, camera: str, time: float | None
) -> FeatureSet:
    """Return the features of images, or of folders of images of one person."""
    features, counts, pictures = [], [], []
    for path in paths:
        files = images_of(path) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path}: no images in it; pass an image or a folder of images of one person")
        frames = [read_frame(file) for file in files]
        features.append(extractor(frames))
        counts.append(len(frames))
        pictures.append(thumbnail(frames))
    count = len(paths)
    return FeatureSet(
        features=np.stack(features),
        tracklet=np.array([str(path) for path in paths]),
        person=np.full(count, ""),
        camera=np.full(count, camera),
        time=np.full(count, np.nan if time is None else time),
        frames=np.array(counts),
        thumbnails=np.stack(pictures),
        about=extractor.loaded.about(bool(gallery.about.get("per_frame"))),
    )


def _measure(
    queries: FeatureSet, gallery: FeatureSet, transit_times: str | None, constants: JointConfig
) -> Callable[[FeatureSet, FeatureSet], Matrix]:
    """Return a function for distances of queries and gallery: cosine, or joint with a file of transit times."""
    if transit_times is None:
        return lambda q, g: CosineDistance(q.features, g.features)
    model = SpatialTemporalModel.load(transit_times)
    for what, side in (("query", queries), ("gallery", gallery)):
        if np.isnan(side.time).any():
            hint = "pass --query-camera and --query-time" if what == "query" else "leave --transit-times out"
            raise UserError(f"the joint score needs the time of each {what} tracklet, and some have none; {hint}")
    return lambda q, g: joint_distance_of(q, g, model, constants)


def _find(
    index: Index | None,
    measure: Callable[[FeatureSet, FeatureSet], Matrix],
    queries: FeatureSet,
    gallery: FeatureSet,
    top: int,
    excluded: Excluded,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices into the gallery (Q, k), -1 for none, and scores (Q, k): of all, or of an index's candidates."""
    if index is None:
        found, distances = nearest(measure(queries, gallery), top, excluded)
        return found, 1 - distances
    found = np.full((len(queries), top), -1)
    scores = np.full((len(queries), top), -np.inf)
    near, _ = index.search(queries.features, min(CANDIDATES * top, len(gallery)))
    for q in range(len(queries)):
        query, row = queries.take([q]), slice(q, q + 1)
        counts = ~excluded(row)[0]
        some = near[q][near[q] >= 0]
        some = some[counts[some]]
        if len(some) < min(top, int(counts.sum())):  # filters have removed too many candidates
            out = excluded(row)
            found[row], distances = nearest(measure(query, gallery), top, lambda _, out=out: out)  # type: ignore[misc]
            scores[row] = 1 - distances
            continue
        distance = np.asarray(measure(query, gallery.take(some)))[0]
        order = np.argsort(distance, kind="stable")[:top]
        found[q, : len(order)], scores[q, : len(order)] = some[order], 1 - distance[order]
    return found, scores


def _index(features: Path, gallery: FeatureSet) -> Index:
    """Return the index beside the features; build it if it is missing or of other features."""
    path = features.with_suffix(features.suffix + ".hnsw")
    digest = gallery.digest()
    index = Index.load(path, digest) if path.exists() else None
    if index is None:
        logger.info("building the index %s of %d tracklets", path, len(gallery))
        index = Index.build(gallery.features)
        try:
            with locked(path, wait=True):  # another search may build the same
                index.save(path, digest)
        except (UserError, OSError) as error:
            logger.warning("the index cannot be kept at %s (%s); the next search builds it again", path, error)
    return index


def _similarities(queries: FeatureSet, gallery: FeatureSet, found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine similarity of each query and what was found for it, (Q, k); without the rest of the gallery."""
    used, place = np.unique(np.maximum(found, 0), return_inverse=True)
    distances = CosineDistance(queries.features, gallery.features[used])
    rows = np.repeat(np.arange(len(found)), found.shape[1])
    return 1 - np.asarray(distances.pairs(rows, place.ravel()), np.float64).reshape(found.shape)


def _describe(
    queries: FeatureSet,
    q: int,
    gallery: FeatureSet,
    found: NDArray[np.int64],
    scores: NDArray[np.float64],
    similarity: NDArray[np.float64],
    calibration: Calibration | None,
) -> QueryRow:
    rows: list[FoundRow] = []
    for rank, (g, score, cosine) in enumerate(zip(found, scores, similarity, strict=True), 1):
        if g < 0:
            break
        row: FoundRow = {
            "rank": rank,
            **_tracklet_row(gallery, int(g)),
            "score": round(float(score), 6),
            "cosine": round(float(cosine), 6),
        }
        if calibration is not None:
            row["decision"] = calibration.decide(float(cosine))
        rows.append(row)
    result: QueryRow = {"query": _tracklet_row(queries, q), "found": rows}
    if calibration is not None:  # the best similarity decides whether the person is there
        result["decision"] = calibration.decide(float(max(similarity[: len(rows)], default=-1.0)))
    return result


def _tracklet_row(features: FeatureSet, i: int) -> TrackletRow:
    time, last = (None if np.isnan(t) else float(t) for t in (features.time[i], features.last[i]))
    return {
        "tracklet": str(features.tracklet[i]),
        "camera": str(features.camera[i]),
        "time": time,
        "last": last,
        "frames": int(features.frames[i]),
        "person": str(features.person[i]),
    }


def _write(
    report: SearchReport, queries: FeatureSet, gallery: FeatureSet, found: NDArray[np.int64], folder: Path
) -> None:
    with folder_written_whole(folder) as partial:
        write_json(report, partial / "search.json")
        _write_csv(report["queries"], partial / "search.csv")
        _draw(queries, gallery, found, report["queries"], partial / "contact_sheet.png")


def _write_csv(results: Sequence[QueryRow], path: Path) -> None:
    columns = ["query", "rank", "tracklet", "camera", "time", "last", "frames", "person"]
    columns += ["score", "cosine", "decision"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    for result in results:
        writer.writerows({"query": result["query"]["tracklet"], **row} for row in result["found"])
    write_text(text.getvalue(), path)


def _draw(
    queries: FeatureSet, gallery: FeatureSet, found: NDArray[np.int64], results: Sequence[QueryRow], path: Path
) -> None:
    """Draw the first queries and their results, framed by right or wrong, or by the colour of the decision."""
    if gallery.thumbnails is None:
        return
    blank = np.full((*THUMBNAIL, 3), 200, np.uint8)
    rows = []
    for q, result in enumerate(results[:SHEET_ROWS]):
        query = result["query"]
        picture = blank if queries.thumbnails is None else queries.thumbnails[q]
        cells = [Cell([picture], QUERY, query["tracklet"], result.get("decision", ""))]
        for g, row in zip(found[q, :SHEET_COLUMNS], result["found"], strict=False):
            color = NEUTRAL
            if "decision" in row:
                color = DECISION_COLORS[row["decision"]]
            elif query["person"] and row["person"]:
                color = RIGHT if query["person"] == row["person"] else WRONG
            caption = f"{row['score']:.3f}  camera {row['camera']}"
            cells.append(Cell([gallery.thumbnails[g]], color, row["tracklet"], caption))
        rows.append(cells)
    if any("decision" in result for result in results):
        legend = ": same (green), unsure (amber), nobody (red)"
    else:
        legend = ": right (green), wrong (red), where both persons are known"
    draw_sheet(f"query (blue), then the nearest tracklets{legend}", rows, path)


def _announce(report: SearchReport, output: Path, there: NDArray[np.bool_]) -> None:
    results = report["queries"]
    logger.info(
        f"{len(results)} queries in {report['searched']} of {report['tracklets']} tracklets, "
        f"{report['ranked_by']}, {report['through']}"
    )
    if report["expanded"]:
        logger.info(f"expanded: {report['expanded']}")
    if report["seen_at_once"]:
        logger.info(
            f"{report['seen_at_once']} pairs of a query and a tracklet that its camera saw at the same time are left "
            "out: they are of two persons; --at-once keeps them"
        )
    for result in results[:5]:
        first = "nothing"
        if result["found"]:
            best = result["found"][0]
            first = f"{best['tracklet']}, camera {best['camera']}, score {best['score']:.3f}"
        decision = f": {result['decision']}" if "decision" in result else ""
        logger.info(f"{result['query']['tracklet']}: {first}{decision}")
    if len(results) > 5:
        logger.info(f"... and {len(results) - 5} more")
    if there.any():
        can = [result for result, is_there in zip(results, there, strict=True) if is_there]
        right = sum(r["found"][0]["person"] == r["query"]["person"] for r in can)
        logger.info(f"of {len(can)} queries whose person is there to be found, {right} have theirs first")
    logger.info(", ".join(str(path) for path in sorted(output.iterdir())))
