"""``python -m st_reid.group``: tracklets of all cameras grouped into persons."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st_reid import cli
from st_reid.errors import UserError

NAME = "python -m st_reid.group"
MOST = 20_000  # tracklets: their distances, all against all, are 3.2 GB
logger = logging.getLogger(__name__)


@dataclass
class GroupConfig:
    """Group tracklets into persons: average linkage, and nobody is in one camera twice at once.

    Attributes:
        features: a file of features.
        output: the CSV to write, a row a tracklet with its group; it must not exist.
        calibration: a file of calibrate; its threshold for the same person is taken.
        threshold: the similarity down to which groups are joined, instead of a calibration.
        at_once: allow a group two tracklets that one camera saw at the same time.
    """

    features: str
    output: str
    calibration: str | None = None
    threshold: float | None = None
    at_once: bool = False


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    group_tracklets(cli.parse(GroupConfig, argv, NAME))


def group_tracklets(config: GroupConfig) -> Path:
    """Write the groups and return the file.

    Raises:
        UserError: no threshold or two, features that cannot be read or are too many, an output in the way.
    """
    from st_reid.calibration import Calibration, group, purity_and_coverage, seen_at_once
    from st_reid.features import FeatureSet
    from st_reid.files import check_output, write_text

    output = Path(config.output)
    if output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output.parent)
    if (config.calibration is None) == (config.threshold is None):
        raise UserError("pass either --calibration, from python -m st_reid.calibrate, or --threshold")
    if config.threshold is not None and not -1 <= config.threshold <= 1:
        raise UserError(f"threshold is {config.threshold:g}; expected a cosine similarity, between -1 and 1")
    features = FeatureSet.load(config.features)
    if len(features) > MOST:
        raise UserError(f"{len(features)} tracklets; expected at most {MOST}: group them by day or by place")
    threshold = config.threshold
    if threshold is None:
        threshold = Calibration.load(config.calibration or "", features).same
    groups = group(features, threshold, None if config.at_once else seen_at_once(features))
    output.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("tracklet", "group", "camera", "time", "frames", "person"))
    for i in np.lexsort((features.time, groups)):
        time = "" if np.isnan(features.time[i]) else f"{features.time[i]:.10g}"
        writer.writerow(
            (features.tracklet[i], groups[i], features.camera[i], time, features.frames[i], features.person[i])
        )
    write_text(text.getvalue(), output)
    sizes = np.bincount(groups)
    logger.info(
        "%s: %d tracklets in %d groups, %d of them of one tracklet; similarity from %.3f on",
        output,
        len(groups),
        len(sizes),
        int((sizes == 1).sum()),
        threshold,
    )
    if (features.person != "").any():
        found = purity_and_coverage(groups, features.person)
        logger.info(
            "against %d known persons: purity %.1f%%, coverage %.1f%%",
            found["persons"],
            100 * found["purity"],
            100 * found["coverage"],
        )
    return output


if __name__ == "__main__":
    cli.run(main, NAME)
