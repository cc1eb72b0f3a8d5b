"""``python -m st_reid.calibrate``: find the similarity from which two tracklets are called the same person."""

from __future__ import annotations

from dataclasses import dataclass

from st_reid import cli
from st_reid.config import Count, OpenShare, Seed, Text

NAME = "python -m st_reid.calibrate"


@dataclass
class CalibrateConfig:
    """Find the threshold for a wanted rate of false accepts, and say what it costs.

    Attributes:
        features: a file of features whose persons are known, of other persons than the model learned.
        output: the folder for calibration.json, which search reads, report.json and a picture; it must not exist.
        far: the wanted share of pairs of two persons that are called the same.
        sure_of: share of pairs of one person that are called at least unsure.
        across: count only pairs of two cameras.
        samples: of the bootstrap, for the threshold's interval.
        seed: of the bootstrap.
    """

    features: Text
    output: Text
    far: OpenShare = 0.001
    sure_of: OpenShare = 0.95
    across: bool = False
    samples: Count = 200
    seed: Seed = 0


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(CalibrateConfig, argv, NAME)
    from st_reid.features.calibrate import calibrate

    calibrate(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
