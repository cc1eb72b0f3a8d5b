"""Do the commands work on many tracklets within a limit of memory?

    python -m benchmarks.memory --tracklets 20000 --limit 8

Each command runs in a process of its own that may not map more than ``--limit`` GiB of memory (RLIMIT_AS, which also
counts what is mapped and never used, such as PyTorch's libraries). The features are random: persons of ten tracklets
with noise around them, seen by eight cameras. ``extract`` reads images, one for each tracklet, with OSNet x0.25.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.machine import ScriptParser, environment, in_range, output_file, run_script, write
from benchmarks.search_scale import EACH, gallery
from st_reid.config import Positive, PositiveInt
from st_reid.data.datasets.manifest import FrameRow, write_rows
from st_reid.drawing.markdown import markdown_table
from st_reid.models.factory import create_model

CAMERAS = 8
SIZE = (64, 128)  # pixels of an image, width and height
COMMANDS: dict[str, Sequence[str]] = {
    "extract": ("extract", "--sources", "manifest", "--root", "images", "--weights", "weights.pth"),
    "search": ("search", "--features", "features.npz", "--query", "t7"),
    "calibrate": ("calibrate", "--features", "features.npz"),
    "group": ("group", "--features", "features.npz", "--threshold", "0.5"),
    "evaluate": ("evaluate", "--features", "features.npz"),
    "evaluate, re-ranked": ("evaluate", "--features", "features.npz", "--eval.rerank.use", "true"),
}
MODEL = ("--arch", "osnet_x0_25", "--height", "128", "--width", "64")


def prepare(folder: Path, tracklets: int) -> None:
    """Write the features, the images with their manifest, and the weights that the commands read."""
    features = gallery(tracklets, 512)
    person, number = np.arange(tracklets) // EACH, np.arange(tracklets)
    labelled = replace(
        features,
        person=np.char.add("p", person.astype(str)),
        camera=np.char.add("c", (number % CAMERAS).astype(str)),
        time=100.0 * number,
    )
    labelled.save(folder / "features.npz")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(tracklets):
        name = f"{i}.jpg"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (*SIZE[::-1], 3), np.uint8))
        rows.append(FrameRow("query+gallery", f"t{i}", name, f"p{person[i]}", f"c{i % CAMERAS}", 100.0 * i))
    write_rows(folder / "images", rows)
    torch.save(create_model("osnet_x0_25", 10).state_dict(), folder / "weights.pth")


def measure(command: Sequence[str], folder: Path, gibibytes: float) -> dict[str, Any]:
    """Return how a command ended within the limit, what it said last, its time and its peak of memory."""
    limit = int(gibibytes * 2**30)
    model = MODEL if command[0] == "extract" else ()
    output = f"{command[0]}-{len(list(folder.iterdir()))}" + (".npz" if command[0] == "extract" else "")
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"st_reid.{command[0]}", *command[1:], *model, "--output", output],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    said = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "said": said.strip().splitlines()[-1] if said.strip() else "",
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gigabytes": used.ru_maxrss / 2**20,
    }


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--tracklets", type=in_range(PositiveInt), default=20_000)
    parser.add_argument("--limit", type=in_range(Positive), default=8.0, help="GiB of memory that a command may map")
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--output", type=output_file, help="JSON file for the result")
    args = parser.parse_args()

    machine = environment("memory")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args.tracklets)
        for name in args.commands:
            rows[name] = measure(COMMANDS[name], Path(folder), args.limit)
            print(f"{name}: {rows[name]}", flush=True)
    print(
        markdown_table(
            ("command", "exit status", "seconds", "CPU seconds", "peak, GB"),
            (
                (name, row["status"], *(f"{row[key]:.1f}" for key in ("seconds", "cpu_seconds", "peak_gigabytes")))
                for name, row in rows.items()
            ),
        )
    )
    if args.output:
        write(args.output, {"environment": machine, "tracklets": args.tracklets, "limit_gib": args.limit, "rows": rows})


if __name__ == "__main__":
    run_script(main)
