"""Finds, on labelled tracklets, the similarity from which two tracklets are called the same person."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import numpy as np

from st_reid.drawing.curves import calibration_curves
from st_reid.errors import UserError
from st_reid.features.calibration import RATES, Calibration, bootstrap_threshold, open_set
from st_reid.features.feature_set import FeatureSet
from st_reid.features.pairs import Pairs, label_pairs
from st_reid.files import check_new_folder, folder_written_whole, only_writer, write_json

logger = logging.getLogger(__name__)


class RateRow(TypedDict):
    """The true-accept rate at a false-accept rate."""

    threshold: float
    tar: float


class OpenSetRow(TypedDict):
    """:class:`~st_reid.features.calibration.OpenSet` in ``report.json``."""

    found: float
    missed: float
    wrong: float
    false_alarms: float
    queries: int


class About(TypedDict):
    """What a calibration is of."""

    fingerprint: str
    features: str
    across: bool
    pairs_of_one_person: int
    pairs_of_two: int


class CalibrationReport(TypedDict):
    """``report.json`` of a calibration; its first four entries are ``calibration.json``."""

    same: float
    unsure: float
    false_accept_rate: float
    about: About
    true_accept_rate: float
    interval95: tuple[float, float] | None
    tar_at_far: dict[str, RateRow | None]
    open_set: OpenSetRow


@only_writer
def calibrate(
    features: str,
    output: str,
    *,
    far: float = 0.001,
    sure_of: float = 0.95,
    across: bool = False,
    samples: int = 200,
    seed: int = 0,
) -> Path:
    """Write the calibration and return its folder.

    The arguments are the options of ``python -m st_reid.calibrate``.

    Raises:
        UserError: a rate that cannot be had from so few pairs, features without persons, an output that exists.
    """
    folder = Path(output)
    check_new_folder(folder)
    labelled = FeatureSet.load(features)
    pairs = label_pairs(labelled, across)
    calibration = _choose(pairs, far, sure_of)
    calibration.about.update(
        {
            "fingerprint": labelled.fingerprint,
            "features": features,
            "across": across,
            "pairs_of_one_person": len(pairs.same),
            "pairs_of_two": len(pairs.different),
        }
    )
    interval = bootstrap_threshold(labelled, pairs, far, across=across, samples=samples, seed=seed)
    report: CalibrationReport = {
        **asdict(calibration),  # type: ignore[typeddict-item]
        "true_accept_rate": pairs.true_accepts(calibration.same),
        "interval95": interval,
        "tar_at_far": {f"{rate:g}": _true_accepts_at(pairs, rate) for rate in RATES},
        "open_set": asdict(open_set(labelled, calibration.same, across)),  # type: ignore[typeddict-item]
    }
    with folder_written_whole(folder) as partial:
        calibration.save(partial / "calibration.json")
        write_json(report, partial / "report.json")
        _draw(pairs, calibration, partial / "calibration.png")
    _announce(report, folder)
    return folder


def _choose(pairs: Pairs, far: float, sure_of: float) -> Calibration:
    same = pairs.threshold(far)
    if same is None:
        raise UserError(
            f"far is {far:g}, and there are {len(pairs.different)} pairs of two persons; expected at least "
            f"{1 / len(pairs.different):.2g}, or more labelled tracklets"
        )
    unsure = min(pairs.same.ranked(int((1 - sure_of) * len(pairs.same))), same)
    return Calibration(same, unsure, far)


def _true_accepts_at(pairs: Pairs, rate: float) -> RateRow | None:
    threshold = pairs.threshold(rate)
    return None if threshold is None else {"threshold": threshold, "tar": pairs.true_accepts(threshold)}


def _draw(pairs: Pairs, calibration: Calibration, path: Path) -> None:
    thresholds = sorted(
        some.ranked(place)
        for some in (pairs.same, pairs.different)
        for place in np.linspace(0, len(some) - 1, 1000).astype(int).tolist()
    )
    calibration_curves(
        (pairs.same.values, pairs.same.counts),
        (pairs.different.values, pairs.different.counts),
        same_from=calibration.same,
        unsure_from=calibration.unsure,
        roc=[(pairs.false_accepts(t), pairs.true_accepts(t)) for t in thresholds],
        chosen=(pairs.false_accepts(calibration.same), pairs.true_accepts(calibration.same)),
        path=path,
    )


def _announce(report: CalibrationReport, output: Path) -> None:
    about, rates = report["about"], report["open_set"]
    across = ", of two cameras each" if about["across"] else ""
    logger.info(f"{about['pairs_of_one_person']} pairs of one person, {about['pairs_of_two']} of two{across}")
    for rate, row in report["tar_at_far"].items():
        said = "too few pairs to tell" if row is None else f"{row['tar']:.1%}  (threshold {row['threshold']:.3f})"
        logger.info(f"TAR at FAR {rate:6}: {said}")
    interval = report["interval95"]
    between = f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    logger.info(
        f"same from {report['same']:.3f}{between}: FAR {report['false_accept_rate']:g}, "
        f"TAR {report['true_accept_rate']:.1%}; unsure from {report['unsure']:.3f}"
    )
    logger.info(
        f"open set, {rates['queries']} queries: found {rates['found']:.1%}, missed {rates['missed']:.1%}, wrong person "
        f"{rates['wrong']:.1%}; false alarms (the person is not in the gallery): {rates['false_alarms']:.1%}"
    )
    logger.info(f"calibration: {output / 'calibration.json'}, picture: {output / 'calibration.png'}")
