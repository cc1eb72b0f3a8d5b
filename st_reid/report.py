"""``python -m st_reid.report``: what a command left in its folder as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass

from st_reid import cli
from st_reid.config import Text

NAME = "python -m st_reid.report"


@dataclass
class ReportConfig:
    """Write what a command left in its folder as one self-contained HTML page.

    Attributes:
        folder: of a run, a search, a calibration or a check; it may be given first, without --folder.
        output: the page; null for report.html in the folder.
    """

    folder: Text
    output: Text | None = None


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    if argv and not argv[0].startswith("-"):
        argv = ["--folder", *argv]
    config = cli.parse(ReportConfig, argv, NAME)
    from st_reid.evaluation.pages import write_page

    write_page(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
