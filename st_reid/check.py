"""``python -m st_reid.check``: what is in a dataset, before training on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from st_reid import cli
from st_reid.config import Count, NonNegativeInt, Options, Text

NAME = "python -m st_reid.check"


@dataclass
class CheckConfig:
    """Say what is in a dataset, and what is wrong with it: exit status 2 if training or evaluation would fail.

    Attributes:
        root: the folder of the dataset; it may be given first, without --root.
        sources: the dataset's name; null for manifest where there is a manifest.csv, else folders.
        output: the folder for check.json and pictures; null for runs/check-NAME. It must not exist.
        purpose: what the dataset is for; null for everything that it has tracklets for.
        persons: identities in a training batch; the dataset must have at least as many.
        tiny: images with fewer pixels in height or width are called tiny.
        read: whether to decode every image, which takes long, or to look at none.
        follow_links: take images that links lead to outside of the dataset's folder; otherwise they are an error.
        options: the dataset reader's own options.
    """

    root: Text | None = None
    sources: Text | None = None
    output: Text | None = None
    purpose: Literal["train", "evaluate", "extract"] | None = None
    persons: Count = 8
    tiny: NonNegativeInt = 16
    read: bool = True
    follow_links: bool = False
    options: Options = field(default_factory=dict)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    if argv and not argv[0].startswith("-"):
        argv = ["--root", *argv]
    config = cli.parse(CheckConfig, argv, NAME)
    from st_reid.evaluation.check import check

    check(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
