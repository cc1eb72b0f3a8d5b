"""``python -m st_reid.train``: train a model, evaluate it, and leave a folder with figures and pictures."""

from __future__ import annotations

from pathlib import Path

from st_reid import cli
from st_reid.config import TrainConfig
from st_reid.errors import UserError

NAME = "python -m st_reid.train"


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = parse(argv)
    from st_reid.training.run import train  # after parsing: torch takes seconds to import

    train(config)


def parse(argv: list[str]) -> TrainConfig:
    """Parse a command line. Defaults come from the dataset, or from the resumed run.

    Raises:
        UserError: see :func:`st_reid.cli.parse`.
    """
    config = cli.parse(TrainConfig, argv, NAME)
    if config.resume is not None:
        folder = _folder_of_run(Path(config.resume))
        config = cli.parse(TrainConfig, ["--config", str(folder / "config.yaml"), *argv], NAME)
        config.output = str(folder)
    return config


def _folder_of_run(resume: Path) -> Path:
    """Return the folder of the run that is resumed from it, or from a checkpoint in it.

    Raises:
        UserError: there is no run, or no such checkpoint.
    """
    folder = resume if resume.is_dir() else resume.parent.parent
    for file in (folder / "config.yaml", *(() if resume.is_dir() else (resume,))):
        if not file.is_file():
            raise UserError(f"nothing to resume at {resume}: no {file}; pass the folder of a run, or its last.pth")
    return folder


if __name__ == "__main__":
    cli.run(main, NAME)
