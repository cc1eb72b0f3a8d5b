"""What does PSTA's head cost? The port's forward pass against its own backbone and against the literal formulation.

    python -m benchmarks.psta_overhead --rounds 15 --output benchmarks/results/psta_overhead.json

The three are timed in turns, so that a machine that slows down slows all of them, and ratios are taken within a round.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.machine import ScriptParser, environment, in_range, output_file, quartiles, run_script, write
from benchmarks.timing import DTYPES, math_of, ratios, time_in_turns
from legacy_ports.psta import LegacyPSTA
from st_reid import create_model
from st_reid.config import Count, Pixels, Workers
from st_reid.runtime.compute import Compute

CLASSES = 150


def candidates(compute: Compute, frames: int, batch: int, size: tuple[int, int]) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    port = compute.place(create_model("psta", CLASSES)).eval()
    literal = compute.place(LegacyPSTA(CLASSES)).eval()
    clips = torch.randn(batch, frames, 3, *size, device=compute.device)
    images = clips.flatten(0, 1)

    def of(model: nn.Module, inputs: torch.Tensor) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode(), compute.autocast():
                return model(inputs)

        return call

    return {"backbone": of(port.backbone, images), "port": of(port, clips), "literal": of(literal, clips)}


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--frames", type=in_range(Count), default=8, help="frames of a clip")
    parser.add_argument("--batch", type=in_range(Count), default=2, help="clips")
    parser.add_argument("--size", type=in_range(Pixels), nargs=2, default=(256, 128), help="height and width in pixels")
    parser.add_argument("--rounds", type=in_range(Count), default=15, help="timed passes of each")
    parser.add_argument("--warm-up", type=in_range(Workers), default=3, help="passes of each that are not timed")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="float32", choices=DTYPES, help="of the passes")
    parser.add_argument("--channels-last", action="store_true", help="lay images out with their channels last")
    parser.add_argument("--output", type=output_file, default=Path("benchmarks/results/psta_overhead.json"))
    args = parser.parse_args()

    compute = Compute(Compute.choose(args.device, "float32").device, DTYPES[args.precision], args.channels_last)
    start_environment = environment("psta_overhead", compute.device)
    with math_of(args.precision):
        functions = candidates(compute, args.frames, args.batch, tuple(args.size))
        seconds = time_in_turns(functions, compute.device, args.rounds, args.warm_up)
    rows = {
        name: {
            "seconds": quartiles(values),
            "over_backbone": ratios(values, seconds["backbone"]),
        }
        for name, values in seconds.items()
    }
    print(f"{'':10} {'seconds (q1, median, q3)':>30} {'over backbone (q1, median, q3)':>34}")
    for name, row in rows.items():
        cells = ["  ".join(f"{value:7.4f}" for value in part.values()) for part in row.values()]
        print(f"{name:10} {cells[0]:>30} {cells[1]:>34}")
    settings = {"frames": args.frames, "batch": args.batch, "size": list(args.size), "dtype": args.precision}
    settings["channels_last"] = args.channels_last
    report = {"environment": start_environment, "settings": settings, "rounds": args.rounds, "results": rows}
    write(args.output, report)


if __name__ == "__main__":
    run_script(main)
