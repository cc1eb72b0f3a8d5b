"""The report of an evaluation: report.json, and the same as lines of text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import FRAMES
from st_reid.drawing import curves
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import Evaluation
from st_reid.evaluation.sheets import Pictures, changed_sheet, contact_sheet
from st_reid.retrieval import RankingResult

logger = logging.getLogger(__name__)
RANKS = (1, 5, 10)


Interval = tuple[float, float] | None
"""A 95 % interval; ``None`` if there are too few persons."""


class Intervals(TypedDict):
    """The intervals of two figures."""

    rank1: Interval
    mAP: Interval


class Figures(TypedDict):
    """A ranking, its figures from 0 to 1."""

    rank1: float
    rank5: float
    rank10: float
    mAP: float
    mINP: float
    num_valid: int
    interval95: Intervals


class Gain(TypedDict):
    """The gain of one ranking over another, as shares."""

    rank1: float
    mAP: float
    interval95: Intervals


class FewerFrames(Figures):
    """The figures of the same model with less of each tracklet, and the gain of ``appearance`` over them."""

    appearance_over_this: Gain


class JointFigures(Figures):
    """The figures of the joint metric, and its gain over ``camera_mask``."""

    over_camera_mask: Gain
    constants: dict[str, Any]


class ReportHead(TypedDict):
    """What every ``report.json`` of an evaluation has."""

    arch: str
    dataset: str
    protocol: dict[str, str]
    num_query: int
    num_gallery: int
    appearance: Figures


class Report(ReportHead, total=False):
    """``report.json``: an evaluation; a training run adds the entries after ``environment``."""

    camera_mask: Figures
    joint: JointFigures
    appearance_reranked: Figures
    camera_mask_reranked: Figures
    joint_reranked: Figures
    also: dict[str, Figures]
    environment: dict[str, Any]
    color_histogram: Figures
    untrained: Figures
    one_frame: FewerFrames
    shuffled: FewerFrames
    trained_on: str
    best: str
    epochs: int
    stopped_early: bool
    seed: int
    train_seconds: float
    eval_seconds: float


def rankings_in(report: Mapping[str, Any]) -> dict[str, Figures]:
    """Return the rankings of a report, by their names; after them those under other protocols."""
    own = {name: cast(Figures, row) for name, row in report.items() if isinstance(row, dict) and "rank1" in row}
    return own | {f"appearance, {name}": row for name, row in report.get("also", {}).items()}


def gains_in(report: Mapping[str, Any]) -> dict[str, Gain]:
    """Return the gains of one ranking over another in a report, in words by what is gained."""
    found = {
        "joint over camera_mask": report.get("joint", {}).get("over_camera_mask"),
        "all frames over one frame": report.get("one_frame", {}).get("appearance_over_this"),
        "frames in order over shuffled": report.get("shuffled", {}).get("appearance_over_this"),
    }
    return {what: over for what, over in found.items() if over is not None}


def figures(result: RankingResult) -> Figures:
    """Return a ranking's figures, 0 to 1, with the 95 % bootstrap intervals of ``rank1`` and ``mAP``."""
    rank1, rank5, rank10 = (round(float(result.cmc[k - 1]), 6) for k in RANKS)
    bounds = result.interval()
    return {
        "rank1": rank1,
        "rank5": rank5,
        "rank10": rank10,
        "mAP": round(result.mAP, 6),
        "mINP": round(result.mINP, 6),
        "num_valid": result.num_valid,
        "interval95": {"rank1": _rounded(bounds["rank1"]), "mAP": _rounded(bounds["mAP"])},
    }


def _rounded(bounds: Interval) -> Interval:
    return None if bounds is None else (round(bounds[0], 4), round(bounds[1], 4))


def say_interval(bounds: Sequence[float] | None, how: str = ".1%", factor: float = 1.0) -> str:
    """Return an interval in words."""
    if bounds is None:
        return "too few persons for an interval"
    low, high = (format(factor * bound, how) for bound in bounds)
    return f"95% interval {low} to {high}"


def gain(better: RankingResult, base: RankingResult) -> Gain:
    """Return the gain of one ranking over another of the same queries, with 95 % bootstrap intervals over persons."""
    rank1, ap = (better.first_rank == 1) * 1.0 - (base.first_rank == 1), better.ap - base.ap
    return {
        "rank1": round(float(rank1.sum() / better.divisor), 6),
        "mAP": round(float(ap.sum() / better.divisor), 6),
        "interval95": {
            "rank1": _rounded(better.interval_of(rank1)),
            "mAP": _rounded(better.interval_of(ap)),
        },
    }


def fewer_frames(appearance: RankingResult, others: Mapping[str, RankingResult]) -> dict[str, FewerFrames]:
    """Return the entries of the report for the rankings of :func:`~st_reid.evaluation.baselines.fewer_frames`."""
    return {
        name: {**figures(result), "appearance_over_this": gain(appearance, result)} for name, result in others.items()
    }


def shares(row: Figures) -> tuple[float, ...]:
    """Return rank-1, rank-5, rank-10, mAP and mINP."""
    return row["rank1"], row["rank5"], row["rank10"], row["mAP"], row["mINP"]


def lines(name: str, row: Figures) -> list[str]:
    """Return a ranking's figures as torchreid prints them."""
    ranks = [f"Rank-{k:<3}: {value:.1%}" for k, value in zip(RANKS, shares(row), strict=False)]
    return [f"** {name} **", f"mAP: {row['mAP']:.1%}  ({say_interval(row['interval95']['mAP'])})", *ranks]


def table(rows: Mapping[str, Figures]) -> list[str]:
    """Return a table with a line a ranking."""
    width = max(len(name) for name in rows)
    head = f"{'':{width}}  " + "  ".join(f"{name:>7}" for name in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"))
    return [
        head,
        *(f"{name:{width}}  " + "  ".join(f"{value:7.1%}" for value in shares(row)) for name, row in rows.items()),
    ]


def assemble(
    arch: str,
    dataset: str,
    notes: Mapping[str, str],
    pairs: QueryGallery,
    spec: ClipSpec,
    evaluation: Evaluation,
    environment: dict[str, Any],
) -> Report:
    """Return the content of ``report.json``, without times and baselines.

    Args:
        arch: the model's name.
        dataset: the dataset's name.
        notes: choices of its reader.
        pairs: query and gallery.
        spec: of the clips.
        evaluation: its results.
        environment: see :func:`st_reid.runtime.environment.environment`.
    """
    results = {name: ranking.result for name, ranking in evaluation.rankings.items()}
    rankings: dict[str, Figures] = {name: figures(result) for name, result in results.items()}
    if "joint" in rankings:
        used = {key: value for key, value in asdict(evaluation.joint).items() if key != "use"}
        joint: JointFigures = {
            **rankings["joint"],
            "over_camera_mask": gain(results["joint"], results["camera_mask"]),
            "constants": used,
        }
        rankings["joint"] = joint
    also = {"also": {name: figures(result) for name, result in evaluation.also.items()}} if evaluation.also else {}
    frames = f"clips of {spec.seq_len} at {spec.height} x {spec.width}, sampler {spec.sampler}"
    frames += f", {FRAMES[spec.frames]}" if FRAMES[spec.frames] else ""
    return {
        "arch": arch,
        "dataset": dataset,
        "protocol": {**pairs.describe(), "frames": frames, **evaluation.used, **notes},
        **rankings,  # type: ignore[typeddict-item] # mypy does not know their names
        **also,  # type: ignore[typeddict-item]
        "num_query": len(pairs.query),
        "num_gallery": len(pairs.gallery),
        "environment": environment,
    }


def draw(
    pairs: QueryGallery,
    evaluation: Evaluation,
    other_curves: Mapping[str, NDArray[np.float64]],
    pictures: Pictures | None,
    folder: Path,
    sheet_queries: int,
) -> None:
    """Draw an evaluation into ``folder/plots``, and save the transit times that it used.

    Args:
        pairs: query and gallery.
        evaluation: its results.
        other_curves: other CMC curves to draw.
        pictures: of tracklets; ``None`` for no contact sheets.
        folder: of the run.
        sheet_queries: rows of a contact sheet.
    """
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    rankings = evaluation.rankings
    every = {**other_curves, **{name: ranking.result.cmc for name, ranking in rankings.items()}}
    curves.cmc_curves({name.replace("_", " "): cmc for name, cmc in every.items()}, plots / "cmc.png")
    if pictures is not None:
        contact_sheet(pairs, rankings["appearance"], pictures, plots / "contact_sheet.png", queries=sheet_queries)
    if evaluation.transit_times is None:
        return
    evaluation.transit_times.save(folder / "spatial_temporal.npz")
    evaluation.transit_times.plot(plots / "transit_times.png")
    if pictures is not None:
        appearance, joint = (rankings[name].distances for name in ("appearance", "joint"))
        changed_sheet(pairs, appearance, joint, pictures, plots / "changed_by_joint.png", queries=sheet_queries)


def announce(report: Report, folder: Path) -> None:
    """Log the main figures and the folder with the others."""
    valid, every = report["appearance"]["num_valid"], report["num_query"]
    queries = f"{every} queries" if valid == every else f"{valid} valid of {every} queries"
    protocol = report["protocol"]["name"]
    for line in lines(f"{report['dataset']}, protocol {protocol}: {queries}", report["appearance"]):
        logger.info(line)
    rows = rankings_in(report)
    if len(rows) > 1:
        for line in table(rows):
            logger.info(line)
    for what, over in gains_in(report).items():
        logger.info(
            f"{what}: rank-1 {100 * over['rank1']:+.1f}, mAP {100 * over['mAP']:+.1f} points "
            f"({say_interval(over['interval95']['mAP'], '+.1f', 100)})"
        )
    logger.info(f"report:   {folder / 'report.json'}")
    logger.info(f"pictures: {', '.join(str(p) for p in sorted((folder / 'plots').glob('*.png')))}")
    logger.info(f"both on one page: python -m st_reid.report {folder}")
