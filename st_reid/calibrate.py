"""``python -m st_reid.calibrate``: from labelled tracklets to the similarity from which on two are one person."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from st_reid import cli
from st_reid.errors import UserError
from st_reid.files import check_output, folder_written_whole

NAME = "python -m st_reid.calibrate"
logger = logging.getLogger(__name__)


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

    features: str
    output: str
    far: float = 0.001
    sure_of: float = 0.95
    across: bool = False
    samples: int = 200
    seed: int = 0


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    calibrate(cli.parse(CalibrateConfig, argv, NAME))


def calibrate(config: CalibrateConfig) -> Path:
    """Write the calibration and return its folder.

    Raises:
        UserError: a rate that cannot be had from so few pairs, features without persons, an output in the way.
    """
    from st_reid import plots, report
    from st_reid.calibration import RATES, Calibration, bootstrap_threshold, label_pairs, open_set
    from st_reid.features import FeatureSet

    output = Path(config.output)
    for name in ("far", "sure_of"):
        if not 0 < getattr(config, name) < 1:
            raise UserError(f"{name} is {getattr(config, name)}; expected a share, between 0 and 1")
    if output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output)
    features = FeatureSet.load(config.features)
    pairs = label_pairs(features, config.across)
    same = pairs.threshold(config.far)
    if same is None:
        raise UserError(
            f"far is {config.far:g}, and there are {len(pairs.different)} pairs of two persons; expected at least "
            f"{1 / len(pairs.different):.2g}, or more labelled tracklets"
        )
    unsure = min(float(pairs.same[int((1 - config.sure_of) * len(pairs.same))]), same)
    rates = {}
    for rate in RATES:
        threshold = pairs.threshold(rate)
        rates[f"{rate:g}"] = (
            None if threshold is None else {"threshold": threshold, "tar": pairs.true_accepts(threshold)}
        )
    about: dict[str, Any] = {
        "fingerprint": features.fingerprint,
        "features": config.features,
        "across": config.across,
        "pairs_of_one_person": len(pairs.same),
        "pairs_of_two": len(pairs.different),
    }
    calibration = Calibration(same, unsure, config.far, about)
    interval = bootstrap_threshold(
        features, pairs, config.far, across=config.across, samples=config.samples, seed=config.seed
    )
    open_rates = open_set(features, same, config.across)
    content = {
        **asdict(calibration),
        "true_accept_rate": pairs.true_accepts(same),
        "interval95": interval,
        "tar_at_far": rates,
        "open_set": asdict(open_rates),
    }
    with folder_written_whole(output) as partial:
        calibration.save(partial / "calibration.json")
        report.write_json(content, partial / "report.json")
        plots.calibration_curves(pairs, calibration, partial / "calibration.png")
    _announce(content, output)
    return output


def _announce(content: dict[str, Any], output: Path) -> None:
    about, rates = content["about"], content["open_set"]
    logger.info(
        "%d pairs of one person, %d of two%s",
        about["pairs_of_one_person"],
        about["pairs_of_two"],
        ", of two cameras each" if about["across"] else "",
    )
    for rate, row in content["tar_at_far"].items():
        said = "too few pairs to tell" if row is None else f"{row['tar']:.1%}  (threshold {row['threshold']:.3f})"
        logger.info("TAR at FAR %-6s: %s", rate, said)
    interval = content["interval95"]
    logger.info(
        "same from %.3f on%s: FAR %g, TAR %.1f%%; unsure from %.3f on",
        content["same"],
        f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else "",
        content["false_accept_rate"],
        100 * content["true_accept_rate"],
        content["unsure"],
    )
    logger.info(
        "open set, %d queries: found %.1f%%, missed %.1f%%, wrong person %.1f%%; "
        "somebody who is not there is called somebody: %.1f%%",
        rates["queries"],
        *(100 * rates[key] for key in ("found", "missed", "wrong", "false_alarms")),
    )
    logger.info("calibration: %s, picture: %s", output / "calibration.json", output / "calibration.png")


if __name__ == "__main__":
    cli.run(main, NAME)
