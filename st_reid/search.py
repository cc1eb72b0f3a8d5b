"""``python -m st_reid.search``: who of these is that? Ranked tracklets as JSON, CSV and a contact sheet."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from st_reid import cli
from st_reid.config import JointConfig, Precision
from st_reid.errors import UserError, unknown_name
from st_reid.files import check_output, folder_written_whole

if TYPE_CHECKING:
    from st_reid.calibration import Calibration
    from st_reid.features import FeatureSet
    from st_reid.retrieval.matrix import Matrix

NAME = "python -m st_reid.search"
ALL = "all"
CANDIDATES = 20  # of an index, for each that is wanted: filters and times take some of them away
SHEET_ROWS, SHEET_COLUMNS = 12, 6
logger = logging.getLogger(__name__)


@dataclass
class SearchConfig:
    """Search a gallery of features.

    Attributes:
        features: the gallery, a file of extract.
        query: what to look for: names of tracklets in the gallery, all for every one of them, a file of features, an
            image of a person, or a folder of images of one.
        output: the folder for search.json, search.csv and the contact sheet; it must not exist.
        weights: the model that the gallery was extracted with, for images as queries.
        arch: its name, where the weights do not say it.
        top: how many to find for each query.
        cameras: only tracklets of these cameras.
        after: only tracklets that begin at this time or later, in frames of the common clock.
        before: only tracklets that begin before this time.
        other_cameras: only tracklets of other cameras than the query's.
        transit_times: a file of fitted transit times, spatial_temporal.npz of a run, to rank by the joint score.
        query_camera: the camera of images as queries, for the joint score and other_cameras.
        query_time: their time.
        calibration: a file of calibrate, to say same, unsure or nobody here.
        index: search through an index of approximate neighbours, which is built beside the features once.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, bfloat16, float16 on a GPU, or auto for bfloat16 where the device computes in it.
        joint: constants of the joint score.
    """

    features: str
    query: list[str]
    output: str
    weights: str | None = None
    arch: str | None = None
    top: int = 10
    cameras: list[str] | None = None
    after: float | None = None
    before: float | None = None
    other_cameras: bool = False
    transit_times: str | None = None
    query_camera: str | None = None
    query_time: float | None = None
    calibration: str | None = None
    index: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    joint: JointConfig = field(default_factory=JointConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    search(cli.parse(SearchConfig, argv, NAME))


def search(config: SearchConfig) -> Path:
    """Search, write what was found, and return the folder.

    Raises:
        UserError: features, queries, weights or filters that will not do, or an output in the way.
    """
    from st_reid import report
    from st_reid.calibration import Calibration
    from st_reid.features import FeatureSet, same_model

    output = Path(config.output)
    if output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output)
    if config.top < 1:
        raise UserError(f"top is {config.top}; expected at least 1")
    gallery = FeatureSet.load(config.features)
    queries = _queries(config, gallery)
    same_model(queries, gallery)
    calibration = None if config.calibration is None else Calibration.load(config.calibration, gallery)
    allowed = _allowed(config, gallery)
    excluded = _excluder(config, queries, gallery, allowed)
    found, scores = _find(config, queries, gallery, excluded)
    similarity = scores if config.transit_times is None else _similarities(queries, gallery, found)
    results = [
        _describe(queries, q, gallery, found[q], scores[q], similarity[q], calibration) for q in range(len(queries))
    ]
    there = _persons_there(queries, gallery, excluded)
    with folder_written_whole(output) as partial:
        about = {
            "features": config.features,
            "tracklets": len(gallery),
            "searched": int(allowed.sum()),
            "ranked_by": "joint score" if config.transit_times else "cosine similarity",
            "through": "index" if config.index else "exact search",
            "model": gallery.about,
        }
        report.write_json({**about, "queries": results}, partial / "search.json")
        _write_csv(results, partial / "search.csv")
        _draw(queries, gallery, found, results, partial / "contact_sheet.png")
    _announce(results, about, output, there)
    return output


def _queries(config: SearchConfig, gallery: FeatureSet) -> FeatureSet:
    """Return the features of what is looked for."""
    from st_reid.features import SUFFIXES, FeatureSet

    if config.query == [ALL]:
        return gallery
    names = {str(name): i for i, name in enumerate(gallery.tracklet)}
    if all(query in names for query in config.query):
        return gallery.take([names[query] for query in config.query])
    if len(config.query) == 1 and Path(config.query[0]).suffix in SUFFIXES:
        return FeatureSet.load(config.query[0])
    paths = [Path(query) for query in config.query]
    for query, path in zip(config.query, paths, strict=True):
        if query not in names and not path.exists():
            error = unknown_name("tracklet", query, names)
            raise UserError(f"{error}; or pass an image, a folder of images, or a file of features")
        if query in names and not path.exists():
            raise UserError(
                f"{query!r} is a tracklet of the gallery, and others are no such; ask for them one after the other"
            )
    return _from_images(config, paths, gallery)


def _from_images(config: SearchConfig, paths: Sequence[Path], gallery: FeatureSet) -> FeatureSet:
    from st_reid.data.datasets.folders import images_of
    from st_reid.data.frames import read_frame
    from st_reid.extractor import TrackletExtractor
    from st_reid.features import FeatureSet, shown_frames, thumbnail
    from st_reid.loading import load_for_evaluation

    if config.other_cameras and config.query_camera is None:
        raise UserError("--other-cameras needs the camera of the images; pass it as --query-camera")
    if config.other_cameras and config.query_camera not in gallery.camera:
        raise unknown_name("camera", str(config.query_camera), set(gallery.camera.tolist()))
    if config.weights is None:
        raise UserError("an image as query needs the model that the gallery was extracted with; pass its --weights")
    made_of = gallery.about
    sizes = {name: made_of.get(name) for name in ("height", "width", "seq_len")}
    loaded = load_for_evaluation(config.weights, config.arch, **sizes)  # type: ignore[arg-type]
    loaded = replace(loaded, interpolation=made_of.get("interpolation"))  # the gallery's images were resized so
    extractor = TrackletExtractor(loaded, device=config.device, precision=config.precision)
    kept = {name: made_of.get(name) for name in ("sampler", "interpolation", "per_frame")}
    about = loaded.about(config.weights, **kept)
    features, counts, pictures = [], [], []
    for path in paths:
        files = images_of(path) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path}: no images in it; pass an image or a folder of images of one person")
        frames = [read_frame(file).permute(1, 2, 0).numpy() for file in files]
        features.append(extractor(frames))
        counts.append(len(frames))
        pictures.append(thumbnail([frames[i] for i in shown_frames(len(frames))]))
    count = len(paths)
    time = np.nan if config.query_time is None else config.query_time
    return FeatureSet(
        np.stack(features),
        tracklet=np.array([str(path) for path in paths]),
        person=np.full(count, ""),
        camera=np.full(count, config.query_camera or ""),
        time=np.full(count, time),
        frames=np.array(counts),
        thumbnails=np.stack(pictures),
        about=about,
    )


def _allowed(config: SearchConfig, gallery: FeatureSet) -> NDArray[np.bool_]:
    """Return which tracklets of the gallery (G,) the filters leave."""
    allowed = np.ones(len(gallery), dtype=bool)
    if config.cameras is not None:
        cameras = {str(camera) for camera in config.cameras}
        for camera in cameras - set(gallery.camera.tolist()):
            raise unknown_name("camera", camera, set(gallery.camera.tolist()))
        allowed &= np.isin(gallery.camera, list(cameras))
    if config.after is not None or config.before is not None:
        if np.isnan(gallery.time).all():
            raise UserError("--after and --before need times, and no tracklet of the gallery has one")
        allowed &= gallery.time >= (-np.inf if config.after is None else config.after)
        allowed &= gallery.time < (np.inf if config.before is None else config.before)
    if not allowed.any():
        raise UserError("the filters leave no tracklet to search in; widen --cameras, --after or --before")
    return allowed


def _excluder(
    config: SearchConfig, queries: FeatureSet, gallery: FeatureSet, allowed: NDArray[np.bool_]
) -> Callable[[slice], NDArray[np.bool_]]:
    """Say what does not count for queries: what the filters take away, the query itself, its camera if so asked."""
    from st_reid.retrieval.ranking import number

    itself = _places(queries, gallery)
    cameras = number(queries.camera, gallery.camera) if config.other_cameras else None

    def excluded(rows: slice) -> NDArray[np.bool_]:
        own = itself[rows]
        out = np.repeat(~allowed[None], len(own), axis=0)
        there = np.flatnonzero(own >= 0)
        out[there, own[there]] = True
        if cameras is not None:
            out |= cameras[0][rows, None] == cameras[1]
        return out

    return excluded


def _places(queries: FeatureSet, gallery: FeatureSet) -> NDArray[np.int64]:
    """Return the place of each query in the gallery (Q,), -1 for none.

    A name alone does not tell: trackers count from 1 in every video.
    """
    by_name = {name: i for i, name in enumerate(gallery.tracklet.tolist())}
    places = np.array([by_name.get(name, -1) for name in queries.tracklet.tolist()])
    for column in ("camera", "time", "frames"):
        asked, found = getattr(queries, column), getattr(gallery, column)[places]
        places[(asked != found) & ~((asked != asked) & (found != found))] = -1  # both NaN is the same
    return places


def _persons_there(
    queries: FeatureSet, gallery: FeatureSet, excluded: Callable[[slice], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Return for which queries (Q,) something of their person can be found."""
    from st_reid.retrieval.matrix import row_blocks
    from st_reid.retrieval.ranking import number

    there = np.zeros(len(queries), dtype=bool)
    asked = queries.person != ""
    if asked.any():
        q, g = number(queries.person, gallery.person)
        for rows in row_blocks((len(queries), len(gallery)), itemsize=1):
            there[rows] = asked[rows] & ((q[rows, None] == g) & ~excluded(rows)).any(axis=1)
    return there


def _find(
    config: SearchConfig,
    queries: FeatureSet,
    gallery: FeatureSet,
    excluded: Callable[[slice], NDArray[np.bool_]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices into the gallery (Q, k), -1 for none, and scores (Q, k)."""
    from st_reid.retrieval import CosineDistance, nearest

    joined = _joiner(config, queries, gallery) or (lambda q, g: CosineDistance(q.features, g.features))
    if not config.index:
        found, distances = nearest(joined(queries, gallery), config.top, excluded)
        return found, 1 - distances
    index = _index(config, gallery)
    found = np.full((len(queries), config.top), -1)
    scores = np.full((len(queries), config.top), -np.inf)

    def exactly(q: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return nearest(joined(queries.take([q]), gallery), config.top, lambda _: excluded(slice(q, q + 1)))

    near, _ = index.search(queries.features, min(CANDIDATES * config.top, len(gallery)))
    for q in range(len(queries)):
        counts = ~excluded(slice(q, q + 1))[0]
        some = near[q][near[q] >= 0]
        some = some[counts[some]]
        if len(some) < min(config.top, int(counts.sum())):  # filters have taken too many of them away
            found[[q]], distances = exactly(q)
            scores[[q]] = 1 - distances
            continue
        distance = np.asarray(joined(queries.take([q]), gallery.take(some)))[0]
        order = np.argsort(distance, kind="stable")[: config.top]
        found[q, : len(order)], scores[q, : len(order)] = some[order], 1 - distance[order]
    return found, scores


def _joiner(
    config: SearchConfig, queries: FeatureSet, gallery: FeatureSet
) -> Callable[[FeatureSet, FeatureSet], Matrix] | None:
    """Return what makes joint distances of queries and gallery, ``None`` without transit times."""
    from st_reid.retrieval import CosineDistance, SpatialTemporalModel, joint_distance

    if config.transit_times is None:
        return None
    model = SpatialTemporalModel.load(config.transit_times)
    for what, side in (("query", queries), ("gallery", gallery)):
        if np.isnan(side.time).any():
            hint = "pass --query-camera and --query-time" if what == "query" else "leave --transit-times out"
            raise UserError(f"the joint score needs the time of each {what} tracklet, and some have none; {hint}")
    constants = {
        name: getattr(config.joint, name)
        for name in ("lambda_appearance", "gamma_appearance", "lambda_time", "gamma_time")
    }

    def join(q: FeatureSet, g: FeatureSet) -> Matrix:
        appearance = CosineDistance(q.features, g.features, np.float64)
        return joint_distance(appearance, model.between(q.camera, q.time, g.camera, g.time), **constants)

    return join


def _index(config: SearchConfig, gallery: FeatureSet) -> Any:
    """Return the index beside the features; build it where it is missing, or of other features."""
    from st_reid.retrieval import Index

    features = Path(config.features)
    path = features.with_suffix(features.suffix + ".hnsw")
    digest = gallery.digest()
    index = Index.load(path, digest) if path.exists() else None
    if index is None:
        logger.info("building the index %s of %d tracklets", path, len(gallery))
        index = Index.build(gallery.features)
        try:
            index.save(path, digest)
        except OSError as error:
            logger.warning("the index cannot be kept at %s (%s); the next search builds it again", path, error.strerror)
    return index


def _similarities(queries: FeatureSet, gallery: FeatureSet, found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine similarity of each query and what was found for it, (Q, k); the rest of the gallery is left."""
    from st_reid.retrieval import CosineDistance

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
) -> dict[str, Any]:
    rows = []
    for rank, (g, score, cosine) in enumerate(zip(found, scores, similarity, strict=True), 1):
        if g < 0:
            break
        row = {
            "rank": rank,
            **_who(gallery, int(g)),
            "score": round(float(score), 6),
            "cosine": round(float(cosine), 6),
        }
        if calibration is not None:
            row["decision"] = calibration.decide(float(cosine))
        rows.append(row)
    result = {"query": _who(queries, q), "found": rows}
    if calibration is not None:  # the best by looks says whether anybody is there
        result["decision"] = calibration.decide(float(max(similarity[: len(rows)], default=-1.0)))
    return result


def _who(features: FeatureSet, i: int) -> dict[str, Any]:
    time = float(features.time[i])
    return {
        "tracklet": str(features.tracklet[i]),
        "camera": str(features.camera[i]),
        "time": None if np.isnan(time) else time,
        "frames": int(features.frames[i]),
        "person": str(features.person[i]),
    }


def _write_csv(results: Sequence[dict[str, Any]], path: Path) -> None:
    from st_reid.files import write_text

    columns = ["query", "rank", "tracklet", "camera", "time", "frames", "person", "score", "cosine", "decision"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    for result in results:
        writer.writerows({"query": result["query"]["tracklet"], **row} for row in result["found"])
    write_text(text.getvalue(), path)


def _draw(
    queries: FeatureSet,
    gallery: FeatureSet,
    found: NDArray[np.int64],
    results: Sequence[dict[str, Any]],
    path: Path,
) -> None:
    """Draw the first queries and what was found; known persons are framed right or wrong, decisions by their colour."""
    from st_reid import plots
    from st_reid.features import THUMBNAIL

    if gallery.thumbnails is None:
        return
    blank = np.full((*THUMBNAIL, 3), 200, np.uint8)
    colors = {"same": plots.RIGHT, "unsure": plots.UNSURE, "nobody here": plots.WRONG}
    rows = []
    for q, result in enumerate(results[:SHEET_ROWS]):
        query = result["query"]
        picture = blank if queries.thumbnails is None else queries.thumbnails[q]
        cells = [plots.Cell(picture, plots.QUERY, query["tracklet"], result.get("decision", ""))]
        for g, row in zip(found[q, :SHEET_COLUMNS], result["found"], strict=False):
            color = plots.NEUTRAL
            if "decision" in row:
                color = colors[row["decision"]]
            elif query["person"] and row["person"]:
                color = plots.RIGHT if query["person"] == row["person"] else plots.WRONG
            caption = f"{row['score']:.3f}  camera {row['camera']}"
            cells.append(plots.Cell(gallery.thumbnails[g], color, row["tracklet"], caption))
        rows.append(cells)
    if any("decision" in result for result in results):
        legend = ": same (green), unsure (amber), nobody (red)"
    else:
        legend = ": right (green), wrong (red), where both persons are known"
    plots.found_sheet(f"query (blue), then the nearest tracklets{legend}", rows, path)


def _announce(results: Sequence[dict[str, Any]], about: dict[str, Any], output: Path, there: NDArray[np.bool_]) -> None:
    logger.info(
        "%d queries in %d of %d tracklets, %s, %s",
        len(results),
        about["searched"],
        about["tracklets"],
        about["ranked_by"],
        about["through"],
    )
    for result in results[:5]:
        first = result["found"][0] if result["found"] else None
        logger.info(
            "%s: %s%s",
            result["query"]["tracklet"],
            "nothing"
            if first is None
            else f"{first['tracklet']}, camera {first['camera']}, score {first['score']:.3f}",
            f": {result['decision']}" if "decision" in result else "",
        )
    if len(results) > 5:
        logger.info("... and %d more", len(results) - 5)
    if there.any():
        can = [result for result, is_there in zip(results, there, strict=True) if is_there]
        right = sum(r["found"][0]["person"] == r["query"]["person"] for r in can)
        logger.info("of %d queries whose person is there to be found, %d have theirs first", len(can), right)
    logger.info("%s", ", ".join(str(path) for path in sorted(output.iterdir())))


if __name__ == "__main__":
    cli.run(main, NAME)
