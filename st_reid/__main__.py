"""``st-reid COMMAND``, or ``python -m st_reid COMMAND``: every command by one name."""

from __future__ import annotations

import logging
import re
import runpy
import sys
from pathlib import Path

import st_reid
from st_reid import cli
from st_reid.errors import UserError, unknown_name

NAME = "st-reid"
logger = logging.getLogger(__name__)


def commands() -> dict[str, str]:
    """Return each command and what it does: the modules whose first line is ``python -m`` and their name."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        with open(file, encoding="utf-8") as lines:
            about = re.match(rf'"""``python -m st_reid\.{file.stem}\b[^`]*``: (.+?)\.?"*$', lines.readline())
        if about:
            found[file.stem] = about[1]
    return found


def main() -> None:
    """Run the command that the first argument names, as ``python -m st_reid.COMMAND`` would with the others."""
    if sys.argv[1:2] and sys.argv[1] in commands():
        runpy.run_module(f"st_reid.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)
    else:
        cli.run(_about, NAME)


def _about(argv: list[str]) -> None:
    """Log the commands or the version.

    Raises:
        UserError: anything else was asked for.
    """
    known = commands()
    name = argv[0] if argv else None
    if name in ("-h", "--help"):
        width = max(map(len, known))
        listed = "\n".join(f"  {command:<{width}}  {about}" for command, about in known.items())
        logger.info(f"usage: {NAME} COMMAND [OPTIONS]\n\n{listed}\n\n{NAME} COMMAND --help explains its options.")
    elif name == "--version":
        logger.info(f"{NAME} {st_reid.__version__}")
    elif name is None:
        raise UserError(f"no command; pass one of {', '.join(known)}")
    else:
        raise unknown_name("command", name, known)


if __name__ == "__main__":
    main()
