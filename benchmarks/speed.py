"""How fast are frame-level and temporal models, at what size, in which precision and layout, and how are they run best?

    python -m benchmarks.speed --output benchmarks/results/MACHINE/speed.json
    python -m benchmarks.speed --quick
    python -m benchmarks.speed --models psta "psta_osnet*" --tasks inference --modes compile cudagraphs --add

A row is a model at a number of frames, a batch size, a precision and a mode, inference or a whole training step. What
cannot be run is a row with its reason. Rows are written as they come; ``--add`` keeps those of the output file and
measures only what is missing, so that a table can be completed in several sittings; with ``--steady`` what was measured
while something else ran is missing too. Written are the JSON file of
``--output``, and a Markdown table and a picture beside it. docs/benchmarks.md says what each number means.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import cycle, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.machine import (
    ScriptParser,
    draw_bars,
    environment,
    in_range,
    output_file,
    quartiles,
    reason,
    run_script,
    write,
)
from benchmarks.timing import DTYPES, Effort, back_to_back, ceilings, higher, math_of, seconds_of, warmed_up
from st_reid import create_model, list_models
from st_reid.config import Count, NonNegative, OptimConfig, Pixels, Positive, Workers
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.transforms import to_float
from st_reid.drawing.markdown import markdown_table
from st_reid.errors import UserError
from st_reid.features.extraction import for_extraction
from st_reid.models.checkpoints import CLASSIFIERS
from st_reid.models.factory import check_model
from st_reid.runtime.compute import Compute
from st_reid.training.cost import flop_counter
from st_reid.training.learner import Learner
from st_reid.training.losses import ClipLoss
from st_reid.training.optim import make_optimizer, make_scheduler

FRAME_LEVEL = ("osnet_x1_0", "osnet_x0_25", "resnet50", "resnet50mid", "resnet101", "pcb_p6", "hacnn")
TEMPORAL = ("psta", "psta_resnet18", "psta_osnet_x1_0", "psta_osnet_x0_25")
ZOO = tuple(
    f"{family}_resnet50"
    for family in (
        *("mean", "max", "attention", "gru", "transformer", "motion"),
        *("snippet", "tsm", "sanet", "sbm", "p3d", "ap3d", "nonlocal"),
    )
)
"""Temporal models on one backbone; the first is what the others add to."""
SIZES = {"hacnn": (160, 64)}
"""Height and width of what is made for one size only."""
TASKS = ("inference", "training")
MODES = {"eager": None, "channels_last": None, "folded": None, "compile": "default", "cudagraphs": "reduce-overhead"}
"""How a model is run, and the mode of ``torch.compile``. All but the first are in channels-last."""
CLASSES = 625  # identities of MARS' training set
BUFFERS = 4  # different inputs, in turns

# On a CPU compiling takes minutes a row, so it is done on demand.
ON_CPU = {"precisions": ("float32", "bfloat16"), "modes": ("eager", "channels_last", "folded"), "batches": (1, 8)}
ON_CUDA = {"precisions": tuple(DTYPES), "modes": tuple(MODES), "batches": (1, 8, 32, 128)}
USUAL: dict[str, Any] = {"models": (*FRAME_LEVEL, *TEMPORAL, *ZOO), "frames": (4, 8, 16), "tasks": TASKS}
QUICK: dict[str, Any] = {
    "models": ("osnet_x0_25", "resnet50", "psta_osnet_x0_25", "psta"),
    "frames": (4,),
    "tasks": TASKS,
    "batches": (1, 2),
    "modes": ("channels_last",),
}


@dataclass(frozen=True)
class Case:
    """What a row is of.

    Attributes:
        model: its name.
        task: ``inference`` or ``training``.
        frames: of a clip.
        batch: clips.
        precision: one of :data:`~benchmarks.timing.DTYPES`.
        mode: one of :data:`MODES`.
        height: of a frame in pixels.
        width: of a frame in pixels.
        options: the model's own, as pairs.
    """

    model: str
    task: str
    frames: int
    batch: int
    precision: str
    mode: str
    height: int = 256
    width: int = 128
    options: tuple[tuple[str, Any], ...] = ()

    def build(self) -> nn.Module:
        """Return the model with random weights."""
        torch.manual_seed(0)
        size = {"seq_len": self.frames, "height": self.height, "width": self.width}
        return create_model(self.model, CLASSES, loss="triplet", **size, **dict(self.options))

    def clips(self, device: torch.device, count: int = BUFFERS) -> list[Tensor]:
        """Return ``count`` random batches of uint8 clips on the device."""
        generator = torch.Generator(device).manual_seed(0)
        shape = (self.batch, self.frames, 3, self.height, self.width)
        return [torch.randint(256, shape, dtype=torch.uint8, device=device, generator=generator) for _ in range(count)]


def cases(
    models: Sequence[str],
    frames: Sequence[int],
    size: tuple[int, int],
    *,
    tasks: Sequence[str],
    batches: Sequence[int],
    precisions: Sequence[str],
    modes: Sequence[str],
) -> Iterator[Case]:
    """Yield what to measure, one model after the other.

    A frame-level model costs so much a frame however many a clip has, so it is measured with one number of frames, 8
    or the nearest to it. One clip is no training batch, which batch norm needs two for, and no batch norm is folded.
    """
    for model in models:
        height, width = SIZES.get(model, size)
        lengths = frames if model.startswith("psta") or _uses_time(model) else [min(frames, key=lambda t: abs(t - 8))]
        for length, task, precision, mode, batch in product(lengths, tasks, precisions, modes, batches):
            if task == "inference" or (batch > 1 and mode != "folded"):
                yield Case(model, task, length, batch, precision, mode, height, width)


@cache
def _uses_time(model: str) -> bool:
    try:
        return getattr(create_model(model, 1), "uses_time", True)
    except UserError:  # not of this size; its rows will say so
        return False


def check_device(device: torch.device, names: Iterable[str]) -> None:
    """Raise :class:`UserError` for precisions and modes that a CPU does not have."""
    only_on_gpus = sorted({"tf32", "cudagraphs"} & {*names})
    if only_on_gpus and device.type != "cuda":
        raise UserError(f"{' and '.join(only_on_gpus)} needs a GPU, and the device is {device}; leave it out")


def place(model: nn.Module, precision: str, mode: str, device: torch.device) -> Compute:
    """Bring a model to the device in a mode; return the precision and layout it is to be called in."""
    compute = Compute(device, DTYPES[precision], channels_last=mode != "eager")
    compute.place(model)
    if MODES[mode] is not None:
        model.compile(mode=MODES[mode], dynamic=False)  # a size a row: what is dynamic is slower
    return compute


def inference(model: nn.Module, compute: Compute, batches: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Return the call that makes features of the next batch of uint8 clips on the device."""
    model.eval()
    turns = cycle(batches)

    def call() -> Tensor:
        with torch.inference_mode(), compute.autocast():
            return model(to_float(next(turns)))

    return call


def training(model: nn.Module, compute: Compute, batches: Sequence[Tensor]) -> Callable[[], dict[str, float]]:
    """Return the call that takes a whole step on the next batch: forward, loss, backward, Adam; two clips a person."""
    config = OptimConfig()
    optimizer = make_optimizer(model, config)
    scheduler = make_scheduler(optimizer, config, epochs=500, batches=100)
    learner = Learner(model, ClipLoss(), optimizer, scheduler, compute, config)
    learner.train()
    turns = cycle([(clips, torch.arange(len(clips), device=clips.device) // 2) for clips in batches])
    return lambda: learner.step([next(turns)])


class ByteCounter(TorchDispatchMode):
    """Counts the bytes of the tensors that operations read and write: what memory moves where none are fused."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(x.nbytes for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
        return out


@cache
def cost(case: Case, device: torch.device) -> dict[str, Any]:
    """Return parameters, width of the feature, and for a clip the FLOPs and the bytes that operations read and write.

    Multiplications and additions count as one FLOP each. Parameters are those that a feature needs: no classifiers. A
    training step counts as three forward passes in training mode, as its backward pass costs two: what the counter says
    of grouped convolutions backward is too much. Attention is counted as its two matrix products.
    """
    model = case.build()
    compute = place(model, case.precision, "channels_last", device)
    parameters = sum(p.numel() for name, p in model.named_parameters() if not {*CLASSIFIERS} & {*name.split(".")})
    (clips,) = replace(case, batch=2).clips(device, count=1)  # batch norm needs two
    model.train(case.task == "training")
    with (
        torch.no_grad(),
        flop_counter() as flops,
        ByteCounter() as moved,
        compute.autocast(),
    ):
        model(to_float(clips))
    passes = 3 if case.task == "training" else 1
    each = {"flops_per_clip": flops.get_total_flops(), "bytes_per_clip": moved.total}
    each = {name: passes * amount / len(clips) for name, amount in each.items()}
    return {"parameters": parameters, "feature_dim": model.feature_dim, **each}


def measure(case: Case, device: torch.device, effort: Effort) -> dict[str, Any]:
    """Measure a row; one that fails has the reason as ``failed``, and no figures."""
    row = asdict(case)
    try:
        with math_of(case.precision):
            row |= _measured(case, device, effort)
    except Exception as error:  # out of memory, no compiler, a size that will not do: whatever it is, the rest goes on
        if isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError):
            raise  # after which nothing that this process asks of the GPU can be trusted
        row |= {"failed": reason(error)}
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def _measured(case: Case, device: torch.device, effort: Effort) -> dict[str, Any]:
    costs = cost(replace(case, batch=2, mode="channels_last"), device)
    model = case.build()
    compute = place(model, case.precision, case.mode, device)
    if case.mode == "folded":
        model = for_extraction(model, ClipSpec(case.height, case.width, case.frames), compute)
    call = (training if case.task == "training" else inference)(model, compute, case.clips(device))
    memory = None
    if device.type == "cuda":  # before the first call: to play a CUDA graph again allocates nothing
        torch.cuda.reset_peak_memory_stats(device)
    counters.clear()
    first, rounds = warmed_up(call, device, effort)
    if case.mode == "cudagraphs" and (skipped := counters["inductor"]["cudagraph_skips"]):
        raise RuntimeError(f"{skipped} of its CUDA graphs could not be recorded")
    seconds = quartiles(back_to_back(call, device, rounds))
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device) / 2**30
    alone = [seconds_of(call, device) for _ in range(rounds)] if case.batch == 1 and device.type == "cuda" else None
    clips = {q: case.batch / seconds[p] for q, p in (("q1", "q3"), ("median", "median"), ("q3", "q1"))}
    return {
        **costs,
        "rounds": rounds,
        "first_call_seconds": first,
        "seconds": seconds,
        "latency_seconds": (quartiles(alone) if alone else seconds) if case.batch == 1 else None,
        "clips_per_second": clips,
        "frames_per_second": clips["median"] * case.frames,
        "peak_memory_gb": memory,
    }


def add_shares(content: Mapping[str, Any]) -> None:
    """Write into every row its shares of the large matrix product's operations and the large copy's bytes a second."""
    for row in content["rows"]:
        if "failed" not in row:
            found, clips = content["runs"][row["run"]]["ceilings"], row["clips_per_second"]["median"]
            row["share_of_matmul"] = row["flops_per_clip"] * clips / found["matmul"][row["precision"]]
            row["share_of_copy"] = row["bytes_per_clip"] * clips / found["copy"]


def key(row: Mapping[str, Any]) -> str:
    """Return what tells rows apart, whether measured now or read from a file."""
    return json.dumps([row[field.name] for field in fields(Case)])


def steady(row: Mapping[str, Any], ratio: float) -> bool:
    """Say whether a row was measured, and its quartiles are no further apart than ``ratio``."""
    return "failed" not in row and row["clips_per_second"]["q3"] <= ratio * row["clips_per_second"]["q1"]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as Markdown."""
    head = ("model", "frames", "task", "precision", "mode", "batch", "input", "M parameters", "GFLOPs a clip")
    head += ("latency, ms", "clips/s (quartiles)", "frames/s", "peak GB", "of matmul", "of copy", "run")
    return markdown_table(head, (_cells(row) for row in rows))


def runs_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return where and when rows were measured, and the ceilings there, as Markdown."""
    head = (
        "run",
        "device",
        "torch",
        "commit",
        "load before",
        "TFLOP/s of a matrix product",
        "GB/s of a copy",
        "command",
    )
    lines = []
    for i, run in enumerate(runs):
        if "ceilings" in run:  # else nothing was missing
            products = (f"{name} {rate / 1e12:.3g}" for name, rate in run["ceilings"]["matmul"].items())
            copy = f"{run['ceilings']['copy'] / 1e9:.3g}"
            where = [run["environment"][name] for name in ("device", "torch", "commit")]
            load, command = f"{run['environment']['load']:.1f}", f"`{run['environment']['command']}`"
            lines.append([i, *where, load, ", ".join(products), copy, command])
    return markdown_table(head, lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [str(row[name]) for name in ("model", "frames", "task", "precision", "mode", "batch")]
    cells.append(f"{row['height']} x {row['width']}")
    if "failed" in row:
        return [*cells, "", "", "", row["failed"], "", "", "", "", str(row["run"])]
    clips, latency, memory = (row[name] for name in ("clips_per_second", "latency_seconds", "peak_memory_gb"))
    return [
        *cells,
        f"{row['parameters'] / 1e6:.1f}",
        f"{row['flops_per_clip'] / 1e9:.1f}",
        "" if latency is None else f"{1000 * latency['median']:.1f}",
        f"{clips['median']:.4g} ({clips['q1']:.4g} to {clips['q3']:.4g})",
        f"{row['frames_per_second']:.4g}",
        "" if memory is None else f"{memory:.2f}",
        f"{row['share_of_matmul']:.0%}",
        f"{row['share_of_copy']:.0%}",
        str(row["run"]),
    ]


def fastest(rows: Sequence[Mapping[str, Any]], task: str) -> dict[str, tuple[float, float, float]]:
    """Return quartiles of clips a second of each model's fastest row in a task, named by how it was run, best first."""
    best: dict[tuple[str, int], Mapping[str, Any]] = {}
    for row in rows:
        if "failed" not in row and row["task"] == task:
            name = row["model"], row["frames"]
            if name not in best or row["clips_per_second"]["median"] > best[name]["clips_per_second"]["median"]:
                best[name] = row
    return {
        f"{model}, {frames} frames ({row['precision']}, {row['mode']}, batch {row['batch']})": tuple(
            row["clips_per_second"][q] for q in ("q1", "median", "q3")
        )
        for (model, frames), row in sorted(best.items(), key=lambda item: -item[1]["clips_per_second"]["median"])
    }  # type: ignore[return-value]


def in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows as they are read best, in whatever sittings they were measured: what is alike beside each other."""
    models = list(dict.fromkeys(row["model"] for row in rows))

    def place_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
        what = models.index(row["model"]), TASKS.index(row["task"]), row["frames"], row["batch"]
        return *what, row["height"], list(DTYPES).index(row["precision"]), list(MODES).index(row["mode"])

    return sorted(rows, key=place_of)


def read(path: Path, here: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result file's content, to which rows can be added ``here``, in that environment.

    Raises:
        UserError: it is none of this script's, or of another device or PyTorch.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["rows"], content["runs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no result of benchmarks.speed ({error}); leave --add out, or pass another"
        ) from None
    now = _where(here)
    for there in {_where(run["environment"]) for run in content["runs"]} - {now}:
        raise UserError(f"{path} is of {there}, and this is {now}; pass another --output")
    return content


def _where(environment: Mapping[str, Any]) -> str:
    return "{device}, torch {torch}, {threads} threads".format(**environment)


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--models", nargs="+", help="names or shell patterns; default: those of the table")
    parser.add_argument("--frames", nargs="+", type=in_range(Count), help="of a clip; default: 4 8 16")
    parser.add_argument(
        "--batches", nargs="+", type=in_range(Count), help="clips; default: 1 8, and on CUDA 1 8 32 128"
    )
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, help="default: all that the device has")
    parser.add_argument("--modes", nargs="+", choices=MODES, help="default: on CUDA all; on a CPU none that compiles")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, help="default: both")
    parser.add_argument("--size", nargs=2, type=in_range(Pixels), default=(256, 128), help="height and width in pixels")
    parser.add_argument("--quick", action="store_true", help="few models, small batches, no compilation, few rounds")
    parser.add_argument("--rounds", type=in_range(Count), help="timed calls of a row at most (20; quick 3)")
    parser.add_argument(
        "--seconds", type=in_range(NonNegative), help="after which no more are begun, but for three (10; quick 0.5)"
    )
    parser.add_argument("--warm-up", type=in_range(Workers), help="calls of a row that are not timed (3; quick 1)")
    parser.add_argument(
        "--ceiling-size", type=in_range(Count), help="rows of the matrices of the ceilings (2048, on CUDA 8192)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--add", action="store_true", help="keep the output file's rows and measure what is missing")
    parser.add_argument(
        "--steady", type=in_range(Positive), help="with --add, keep only rows with quartiles this close, 1.2 say"
    )
    parser.add_argument(
        "--output", type=output_file, default=Path("speed.json"), help="JSON file; .md and .png beside it"
    )
    args = parser.parse_args()
    if args.steady is not None and not args.add:
        parser.error("--steady chooses among the rows that --add keeps; pass --add too")

    device = Compute.choose(args.device, "float32").device
    chosen = USUAL | (ON_CUDA if device.type == "cuda" else ON_CPU) | (QUICK if args.quick else {})
    chosen |= {name: getattr(args, name) for name in chosen if getattr(args, name) is not None}
    chosen["models"] = [name for pattern in chosen["models"] for name in list_models(pattern) or [pattern]]
    check_device(device, [*chosen["precisions"], *chosen["modes"]])
    for name in chosen["models"]:
        check_model(name, {})
    usual = Effort(rounds=3, seconds=0.5, warm_up=1) if args.quick else Effort()
    given = {name: value for name in asdict(usual) if (value := getattr(args, name, None)) is not None}
    effort = replace(usual, **given)

    here = environment("speed", device)
    content: dict[str, Any] = read(args.output, here) if args.add and args.output.exists() else {"runs": [], "rows": []}
    run: dict[str, Any] = {"environment": here, "effort": asdict(effort), "classes": CLASSES}
    content["runs"].append(run)
    asked_for = list(cases(size=tuple(args.size), **chosen))
    again, ratio = {key(asdict(case)) for case in asked_for}, args.steady or math.inf
    content["rows"] = [row for row in content["rows"] if key(row) not in again or steady(row, ratio)]
    done = {key(row) for row in content["rows"]}
    missing = [case for case in asked_for if key(asdict(case)) not in done]
    model = None
    for case in missing:
        if case.model != model:  # again for each model: on a shared machine one look at the ceilings is too few
            model, found = case.model, ceilings(device, chosen["precisions"], effort, args.ceiling_size)
            run["ceilings"] = higher(found, run.get("ceilings", found))
        content["rows"].append({"run": len(content["runs"]) - 1, **measure(case, device, effort)})
        add_shares(content)
        print(table(content["rows"][-1:]).splitlines()[-1], flush=True)
        write(args.output, content)
    if missing:
        rates = (f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in run["ceilings"]["matmul"].items())
        print(f"ceilings: {', '.join(rates)}, copy {run['ceilings']['copy'] / 1e9:.3g} GB/s")
    text = table(in_order(content["rows"])) + "\n" + runs_table(content["runs"])
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    panels = {task: bars for task in TASKS if (bars := fastest(content["rows"], task))}
    if panels:
        titles = {"inference": "inference, the fastest way of each model", "training": "training step, likewise"}
        draw_bars({titles[t]: bars for t, bars in panels.items()}, "clips a second", args.output.with_suffix(".png"))


if __name__ == "__main__":
    run_script(main)
