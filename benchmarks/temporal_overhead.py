"""What do temporal models cost, compared to the mean over frames on the same backbone, and to what their FLOPs say?

    python -m benchmarks.temporal_overhead --output benchmarks/results/MACHINE/temporal_overhead.json
    python -m benchmarks.temporal_overhead --families ap3d nonlocal --backbone mobilenet_v2 --size 128 64

Each model is timed in turns with the mean, so that a machine that slows down slows both, and ratios are taken within a
round. ``beyond FLOPs`` is the ratio of times over the ratio of FLOPs: 1 where a model is as slow as its operations say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import ScriptParser, environment, in_range, output_file, run_script, write
from benchmarks.speed import MODES, TASKS, ZOO, Case, cost, inference, place, training
from benchmarks.timing import DTYPES, math_of, ratios, time_in_turns
from st_reid.config import Count, Pixels, Workers
from st_reid.drawing.markdown import markdown_table
from st_reid.models.factory import check_model
from st_reid.runtime.compute import Compute

FAMILIES = (*(name.partition("_")[0] for name in ZOO[1:]), "psta")


def compare(case: Case, mean: Case, device: torch.device, rounds: int, warm_up: int) -> dict[str, Any]:
    """Return a row: what ``case`` adds to the mean, and how many times as long it takes."""
    functions = {}
    for each in (mean, case):
        model = each.build()
        compute = place(model, each.precision, each.mode, device)
        run = training if each.task == "training" else inference
        functions[each.model] = run(model, compute, each.clips(device, 1))
    costs, base = cost(case, device), cost(mean, device)
    seconds = time_in_turns(functions, device, rounds, warm_up)
    time = ratios(seconds[case.model], seconds[mean.model])
    flops = costs["flops_per_clip"] / base["flops_per_clip"]
    return {
        "model": case.model,
        "task": case.task,
        "parameters_added": costs["parameters"] - base["parameters"],
        "flops_ratio": flops,
        "time_ratio": time,
        "beyond_flops": time["median"] / flops,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    head = ("model", "task", "M parameters added", "FLOPs over the mean's", "time over the mean's", "beyond FLOPs")
    return markdown_table(
        head,
        (
            (
                row["model"],
                row["task"],
                f"{row['parameters_added'] / 1e6:.2f}",
                f"{row['flops_ratio']:.2f}",
                "{median:.2f} ({q1:.2f} to {q3:.2f})".format(**row["time_ratio"]),
                f"{row['beyond_flops']:.2f}",
            )
            for row in rows
        ),
    )


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--families", nargs="+", default=FAMILIES, help="default: all")
    parser.add_argument("--backbone", default="resnet50", help="of all of them, and of the mean")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: both")
    parser.add_argument("--frames", type=in_range(Count), default=8, help="frames of a clip")
    parser.add_argument("--batch", type=in_range(Count), default=2, help="clips, at least 2 to train")
    parser.add_argument("--size", type=in_range(Pixels), nargs=2, default=(256, 128), help="height and width in pixels")
    parser.add_argument("--precision", default="float32", choices=DTYPES, help="of the passes")
    parser.add_argument("--mode", default="channels_last", choices=MODES, help="how a model is run")
    parser.add_argument("--rounds", type=in_range(Count), default=7, help="timed passes of each")
    parser.add_argument("--warm-up", type=in_range(Workers), default=1, help="passes of each that are not timed")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", type=output_file, default=Path("temporal_overhead.json"), help="JSON; .md beside it"
    )
    args = parser.parse_args()

    device = Compute.choose(args.device, "float32").device
    names = [f"{family}_{args.backbone}" for family in args.families]
    for name in names:
        check_model(name, {})
    content: dict[str, Any] = {"environment": environment("temporal_overhead", device), "rows": []}
    content["settings"] = {key: value for key, value in vars(args).items() if key != "output"}
    for task in args.tasks:
        mean = Case(f"mean_{args.backbone}", task, args.frames, args.batch, args.precision, args.mode, *args.size)
        for name in names:
            case = Case(name, task, args.frames, args.batch, args.precision, args.mode, *args.size)
            with math_of(args.precision):
                content["rows"].append(compare(case, mean, device, args.rounds, args.warm_up))
            print(table(content["rows"][-1:]).splitlines()[-1], flush=True)
            write(args.output, content)
    args.output.with_suffix(".md").write_text(table(content["rows"]), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
