"""What does PSTA's head cost? The port's forward pass against its own backbone and against the literal formulation.

    python benchmarks/psta_overhead.py --rounds 15 --output benchmarks/results/psta_overhead.json

The three are timed in turns, so that a machine that slows down slows all of them, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

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


def quartiles(values: list[float]) -> dict[str, float]:
    q = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    return dict(zip(("q1", "median", "q3"), q.tolist(), strict=True))


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def environment(device: str) -> dict[str, object]:
    return {
        "command": " ".join(["python -m benchmarks.psta_overhead", *sys.argv[1:]]),
        "device": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


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

    start_environment = environment(args.device)
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
    args.output.parent.mkdir(parents=True, exist_ok=True)
    settings = {"frames": args.frames, "batch": args.batch, "size": list(args.size), "dtype": "float32"}
    report = {"environment": start_environment, "settings": settings, "rounds": args.rounds, "results": rows}
    args.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
