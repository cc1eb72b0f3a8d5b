"""``python -m st_reid.train``: train a model, evaluate it, and leave a folder with figures and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from st_reid import cli
from st_reid.config import DATASET_DEFAULTS, TrainConfig

NAME = "python -m st_reid.train"


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = parse(argv)
    from st_reid.training import train  # after parsing: torch takes seconds to import

    train(config)


def parse(argv: list[str]) -> TrainConfig:
    """Parse a command line; the dataset's defaults stand in for the general ones, a resumed run's for both.

    Raises:
        UserError: see :func:`st_reid.cli.parse`.
    """
    resume = cli.peek(argv, "resume")
    defaults: dict[str, Any] = {}
    if resume is not None:
        folder = Path(resume) if Path(resume).is_dir() else Path(resume).resolve().parents[1]
        argv = ["--config", str(folder / "config.yaml"), *argv]
        defaults = {"output": str(folder)}
    defaults |= DATASET_DEFAULTS.get(cli.peek(argv, "sources") or TrainConfig.sources, {})
    return cli.parse(TrainConfig, argv, NAME, defaults)


if __name__ == "__main__":
    cli.run(main, NAME)
