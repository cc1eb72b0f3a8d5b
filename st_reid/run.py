"""``python -m st_reid.run script.py ARGS``: a torchreid script, unchanged, with our models and datasets known to it."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import st_reid  # noqa: F401 - which teaches torchreid
from st_reid.errors import UserError

NAME = "python -m st_reid.run"
USAGE = f"""usage: {NAME} SCRIPT [ARGS]

Runs a torchreid script, such as torchreid's own scripts/main.py, as `python SCRIPT ARGS` would, after
`import st_reid`: psta and every other model and dataset of st_reid is known to torchreid, its video engines hand
clips to them whole, and git's module names (torchreid.models) work with PyPI's package too."""


def find_script(argv: list[str]) -> Path:
    """Return the script that ``argv`` begins with.

    Raises:
        UserError: none, or one that is not there.
    """
    if not argv:
        raise UserError(f"no script given; pass one, as in {NAME} scripts/main.py --config-file FILE")
    script = Path(argv[0])
    if not script.is_file():
        raise UserError(f"script {script} does not exist; pass the path of a Python script")
    return script


if __name__ == "__main__":
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(USAGE)
        sys.exit(0)
    try:
        script = find_script(sys.argv[1:])
    except UserError as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[0]  # from here on errors and the exit status are the script's own
    sys.path[0] = os.fspath(script.parent.resolve())  # as Python itself does
    runpy.run_path(os.fspath(script), run_name="__main__")
