"""``python -m st_reid.group``: tracklets of all cameras grouped into persons."""

from __future__ import annotations

from dataclasses import dataclass

from st_reid import cli
from st_reid.config import Cosine, Text

NAME = "python -m st_reid.group"


@dataclass
class GroupConfig:
    """Group tracklets into persons by average linkage; no person gets two overlapping tracklets of one camera.

    Attributes:
        features: a file of features.
        output: the CSV to write, a row a tracklet with its group; it must not exist.
        calibration: a file of calibrate; its threshold for the same person is used.
        threshold: the similarity down to which groups are joined, instead of a calibration.
        at_once: allow two tracklets in a group that one camera saw at the same time.
    """

    features: Text
    output: Text
    calibration: Text | None = None
    threshold: Cosine | None = None
    at_once: bool = False


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(GroupConfig, argv, NAME)
    from st_reid.features.grouping import group_tracklets

    group_tracklets(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
