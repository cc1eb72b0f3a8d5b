"""What does PSTA's head cost? The port's forward pass against its own backbone and against the literal formulation.

    python -m benchmarks.psta_overhead --rounds 15 --output benchmarks/results/psta_overhead.json

The three are timed in turns, so that a machine that slows down slows all of them, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import environment, quartiles, write
from legacy_ports.psta import LegacyPSTA
from st_reid import create_model

CLASSES = 150


def candidates(device: str, frames: int, batch: int, size: tuple[int, int]) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    port = create_model("psta", CLASSES).to(device).eval()
    literal = LegacyPSTA(CLASSES).to(device).eval()
    clips = torch.randn(batch, frames, 3, *size, device=device)
    images = clips.flatten(0, 1)
    return {
        "backbone": lambda: port.backbone(images),
        "port": lambda: port(clips),
        "literal": lambda: literal(clips),
    }


def time_in_turns(functions: dict[str, Callable[[], object]], rounds: int, warm_up: int, device: str) -> dict:
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for step in range(warm_up + rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if device != "cpu":
                torch.cuda.synchronize(device)
            if step >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8, help="frames of a clip")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=15, help="timed passes of each")
    parser.add_argument("--warm-up", type=int, default=3, help="passes of each that are not timed")
    parser.add_argument("--device", default="cpu", help="cpu, or a CUDA device")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/psta_overhead.json"))
    args = parser.parse_args()

    start_environment = environment("psta_overhead", args.device)
    functions = candidates(args.device, args.frames, args.batch, tuple(args.size))
    with torch.inference_mode():
        seconds = time_in_turns(functions, args.rounds, args.warm_up, args.device)
    rows = {
        name: {
            "seconds": quartiles(values),
            "over_backbone": quartiles([v / b for v, b in zip(values, seconds["backbone"], strict=True)]),
        }
        for name, values in seconds.items()
    }
    print(f"{'':10} {'seconds (q1, median, q3)':>30} {'over backbone (q1, median, q3)':>34}")
    for name, row in rows.items():
        cells = ["  ".join(f"{value:7.4f}" for value in part.values()) for part in row.values()]
        print(f"{name:10} {cells[0]:>30} {cells[1]:>34}")
    settings = {"frames": args.frames, "batch": args.batch, "size": list(args.size), "dtype": "float32"}
    report = {"environment": start_environment, "settings": settings, "rounds": args.rounds, "results": rows}
    write(args.output, report)


if __name__ == "__main__":
    main()
