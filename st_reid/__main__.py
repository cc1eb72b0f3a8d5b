"""``st-reid COMMAND``, or ``python -m st_reid COMMAND``: every command by one name."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import st_reid
from st_reid.errors import UserError, unknown_name

NAME = "st-reid"


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
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in known:
        del sys.argv[1]
        runpy.run_module(f"st_reid.{name}", run_name="__main__", alter_sys=True)
    elif name in ("-h", "--help"):
        print(f"usage: {NAME} COMMAND [OPTIONS]\n")
        for command, about in known.items():
            print(f"  {command:<{max(map(len, known))}}  {about}")
        print(f"\n{NAME} COMMAND --help explains its options.")
    elif name == "--version":
        print(NAME, st_reid.__version__)
    else:
        names = ", ".join(known)
        error = UserError(f"no command; pass one of {names}") if name is None else unknown_name("command", name, known)
        print(f"{NAME}: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
