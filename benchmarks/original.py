"""The literal formulations against the ports, on the same weights and inputs: how much faster, and how much different?

    python -m benchmarks.original --compile --output benchmarks/results/MACHINE/original.json
    python -m benchmarks.original --tasks ranking re-ranking

``inference`` and ``training`` are PSTA's on ResNet-50 at 256 x 128: the literal formulation in float32 and contiguous,
as its authors ran it, and the port likewise, with channels last, and in bfloat16; ``--compile`` adds compiled ones. The
rest is retrieval on Market-1501's real cameras and times (see :mod:`tests.parity.real_times`): ST-ReID's literal loops,
and for ranking and re-ranking torchreid's Python, which is the published code. The variants of a task are timed in
turns, and ratios are taken within a round. Beside each ratio is the greatest difference from the literal's output. A
second table says where PSTA's time goes: the seconds of one profiled call in convolutions, batch norm and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

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
from benchmarks.speed import BUFFERS, Case, inference, place, training
from benchmarks.timing import OPERATIONS, REST, math_of, ratios, seconds_by_kind, time_in_turns
from legacy_ports import convert_psta
from legacy_ports import st_reid as literal_st
from legacy_ports.psta import LegacyPSTA
from st_reid import create_model
from st_reid.config import Count, PositiveInt, Workers
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.transforms import to_float
from st_reid.drawing.markdown import markdown_table
from st_reid.errors import UserError
from st_reid.features.extraction import for_extraction
from st_reid.retrieval import (
    CosineDistance,
    SpatialTemporalModel,
    cosine_distance,
    evaluate_rank,
    joint_distance,
    rerank_distances,
)
from st_reid.retrieval.ranking import encode_labels
from st_reid.runtime.compute import Compute
from st_reid.torchreid_compat import submodule
from tests.parity.real_times import RealTimes

CLASSES = 625  # identities of MARS' training set
SIZE = (256, 128)  # which the literal formulation is built for
LITERAL = "literal, float32"
ON_GPUS = {"literal, TF32": ("tf32", "eager")}
"""What PyTorch makes of the literal formulation there by default: its convolutions are rounded to TF32."""
PORTS = {
    "port, float32": ("float32", "eager"),
    "port, float32, channels last": ("float32", "channels_last"),
    "port, TF32, channels last": ("tf32", "channels_last"),
    "port, bfloat16, channels last": ("bfloat16", "channels_last"),
}
FOLDED = {
    "port, float32, folded": ("float32", "folded"),
    "port, bfloat16, folded": ("bfloat16", "folded"),
}
"""As features are extracted: batch norms are part of the convolutions before them."""
COMPILED = {
    "port, float32, compiled": ("float32", "compile"),
    "port, TF32, compiled": ("tf32", "compile"),
    "port, bfloat16, compiled": ("bfloat16", "compile"),
}
CAMERAS, BINS = 8, 5000  # of ST-ReID's table for Market-1501


class Task(NamedTuple):
    """What is timed.

    Attributes:
        variants: calls by name, the literal one first.
        compare: makes arrays of what a call returns, of which the greatest difference is taken.
        relative: whether differences are relative to the literal's greatest value, array by array.
        profiled: whether the seconds of each kind of operation are taken too.
    """

    variants: dict[str, Callable[[], Any]]
    compare: Callable[[Any], Sequence[NDArray]]
    relative: bool = False
    profiled: bool = False


def literal_psta() -> nn.Module:
    """Return the literal PSTA with random weights.

    Its residual branches are a quarter of what they begin with: they are small in a trained network too, and in a
    random one of 50 layers every rounding grows until it is all that is to be seen.
    """
    torch.manual_seed(0)
    literal = LegacyPSTA(CLASSES)
    with torch.no_grad():
        for name, parameter in literal.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.fill_(0.25)
    return literal


def port_psta(weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the port with the literal's weights."""
    port = create_model("psta", CLASSES, loss="triplet")
    port.load_state_dict(convert_psta(dict(weights)))
    return port


def picture_clips(case: Case, device: torch.device, count: int) -> list[Tensor]:
    """Return ``count`` batches of uint8 clips of large spots, each clip with its own colours.

    White noise will not do: all clips of it have one feature, and what differs is rounding.
    """
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        spots = torch.rand(case.batch * case.frames, 3, 8, 4, generator=generator)
        spots = F.interpolate(spots, (case.height, case.width), mode="bicubic").unflatten(0, (case.batch, case.frames))
        colours = torch.rand(case.batch, 1, 3, 1, 1, generator=generator)
        batches.append((128 * (spots + colours)).clamp(0, 255).to(torch.uint8).to(device))
    return batches


def warm_statistics(model: nn.Module, clips: Tensor) -> None:
    """Set the running statistics of maps to a batch's, so that activations are of the size of a trained network's.

    Those of the necks, which few clips would make up, stay 0 and 1.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(to_float(clips))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def psta_task(kind: str, device: torch.device, frames: int, batch: int, compiled: bool) -> Task:
    """Return PSTA's ``inference`` or ``training`` in all variants; each has a model of its own.

    Raises:
        UserError: a number of frames that the literal formulation does not take.
    """
    if frames % 8:
        raise UserError(f"frames is {frames}; the literal formulation takes multiples of 8")
    case = Case("psta", kind, frames, batch, "float32", "eager", *SIZE)
    clips = picture_clips(case, device, BUFFERS)
    literal = literal_psta().to(device)
    warm_statistics(literal, picture_clips(replace(case, batch=2), device, 1)[0])
    weights = {name: value.cpu() for name, value in literal.state_dict().items()}
    make = training if kind == "training" else inference

    def call(model: nn.Module, precision: str, mode: str) -> Callable[[], Any]:
        compute = place(model, precision, mode, device)
        if mode == "folded":
            model = for_extraction(model, ClipSpec(*SIZE, frames), compute)
        step = make(model, compute, clips)

        def in_its_precision() -> Any:
            with math_of(precision):
                return step()

        return in_its_precision

    on_gpu = device.type == "cuda"
    variants = {LITERAL: call(literal, "float32", "eager")}
    ports = PORTS | (FOLDED if kind == "inference" else {}) | (COMPILED if compiled else {})
    for name, how in (ON_GPUS | ports).items():
        if on_gpu or how[0] != "tf32":
            variants[name] = call(deepcopy(literal) if name in ON_GPUS else port_psta(weights), *how)
    both = {"relative": True, "profiled": True}
    if kind == "training":  # the first step's loss and gradient: later ones are of other weights
        return Task(variants, lambda figures: [np.array(figures[n]) for n in ("loss", "grad_norm")], **both)
    return Task(variants, lambda feature: [feature.float().cpu().numpy()], **both)


class RetrievalInput:
    """Market-1501's identities, cameras and times, thinned out.

    Args:
        queries: how many.
        gallery: how many.
    """

    def __init__(self, queries: int, gallery: int) -> None:
        data = RealTimes("market")
        self.train = data.train
        (self.query, self.query_features), (self.gallery, self.gallery_features) = (
            _thinned(columns, features, count)
            for columns, features, count in (
                (data.query, data.query_features, queries),
                (data.gallery, data.gallery_features, gallery),
            )
        )
        self.distances = cosine_distance(self.query_features, self.gallery_features)
        self.labels = self.query[0], self.gallery[0], self.query[1], self.gallery[1]

    def transit_times(self) -> Task:
        """Fitting the smoothed histograms."""
        persons, cameras, times = self.train
        labels, places = encode_labels(persons)[0], cameras.astype(int) - 1

        def literal() -> NDArray[np.float64]:
            counts = literal_st.spatial_temporal_distribution(places, labels, times, CAMERAS, BINS)
            return literal_st.smooth_distribution(counts)

        def table(result: NDArray[np.float64] | SpatialTemporalModel) -> list[NDArray]:
            if isinstance(result, np.ndarray):
                return [result]
            whole = np.zeros((CAMERAS, CAMERAS, BINS))
            place = result.cameras.astype(int)[result.pairs] - 1
            whole[place[:, 0], place[:, 1], : result.bins] = result.curves[:, :BINS]
            return [whole]

        return Task({"literal": literal, "port": lambda: SpatialTemporalModel.fit(*self.train)}, table)

    def joint_scores(self) -> Task:
        """Scores of all queries and gallery items, from fitted transit times."""
        model = SpatialTemporalModel.fit(*self.train)
        counts = literal_st.spatial_temporal_distribution(
            self.train[1].astype(int) - 1, encode_labels(self.train[0])[0], self.train[2], CAMERAS, BINS
        )
        distribution = literal_st.smooth_distribution(counts)
        (q_cameras, q_times), (g_cameras, g_times) = (
            ((part[1].astype(int) - 1).tolist(), part[2].tolist()) for part in (self.query, self.gallery)
        )

        def literal() -> NDArray[np.float64]:
            everything = self.gallery_features, g_cameras, g_times, distribution
            queries = zip(self.query_features, q_cameras, q_times, strict=True)
            return np.stack([literal_st.joint_scores(*query, *everything) for query in queries])

        def port() -> NDArray[np.float64]:
            appearance = CosineDistance(self.query_features, self.gallery_features, np.float64)
            return 1 - joint_distance(appearance, model.between(*self.query[1:], *self.gallery[1:]))[:]

        return Task({"literal": literal, "port": port}, lambda scores: [scores])

    def ranking(self) -> Task:
        """CMC and mAP of appearance."""
        persons, cameras = encode_labels(*self.labels[:2]), encode_labels(*self.labels[2:])
        evaluate = submodule("metrics").evaluate_rank
        return Task(
            {
                "torchreid": lambda: evaluate(self.distances, *persons, *cameras, use_cython=False),
                "port": lambda: evaluate_rank(self.distances, *self.labels),
            },
            lambda r: [np.append(r[0], r[1]) if isinstance(r, tuple) else np.append(r.cmc, r.mAP)],
        )

    def reranking(self) -> Task:
        """Distances after re-ranking, from Euclidean ones of all items to all."""
        items = np.concatenate([self.query_features, self.gallery_features])
        every = np.sqrt(np.maximum(2 * cosine_distance(items, items), 0))
        every = np.maximum(every, every.T)  # rounding made it the least bit asymmetric
        np.fill_diagonal(every, 0)
        q = len(self.query_features)
        rerank = submodule("utils.rerank").re_ranking
        return Task(
            {
                "torchreid": lambda: rerank(every[:q, q:], every[:q, :q], every[q:, q:]),
                "port": lambda: rerank_distances(every, q),
            },
            lambda distances: [distances],
        )


def _thinned(columns: Sequence[NDArray], features: NDArray, count: int) -> tuple[tuple[NDArray, ...], NDArray]:
    kept = np.unique(np.linspace(0, len(features) - 1, min(count, len(features))).round().astype(int))
    return tuple(column[kept] for column in columns), features[kept]


RETRIEVAL = {
    "transit times": RetrievalInput.transit_times,
    "joint scores": RetrievalInput.joint_scores,
    "ranking": RetrievalInput.ranking,
    "re-ranking": RetrievalInput.reranking,
}
TASKS = ("inference", "training", *RETRIEVAL)


def difference(got: Sequence[NDArray], expected: Sequence[NDArray], relative: bool) -> float:
    """Return the greatest difference, relative to the greatest expected value of its array if that is asked for."""
    return max(
        float(np.abs(a - b).max() / (np.abs(b).max() if relative else 1)) for a, b in zip(got, expected, strict=True)
    )


def measure(task: Task, device: torch.device, rounds: int, warm_up: int) -> dict[str, Any]:
    """Time a task's variants in turns; return seconds, how many times as fast as the first, and the difference.

    A variant that fails when it is called first has the reason as ``failed``, and no figures.
    """
    outputs, failed = {}, {}
    for name, call in task.variants.items():
        try:
            outputs[name] = task.compare(call())
        except Exception as error:  # out of memory, no compiler: the others go on
            failed[name] = {"failed": reason(error), "seconds_by_kind": None}
    first = next(iter(task.variants))
    if first in failed:  # to which all are compared
        return failed
    variants = {name: call for name, call in task.variants.items() if name in outputs}
    seconds = time_in_turns(variants, device, rounds, warm_up)
    kinds = {name: seconds_by_kind(call, device) for name, call in variants.items() if task.profiled}
    return failed | {
        name: {
            "seconds": quartiles(values),
            "times_as_fast": ratios(seconds[first], values),
            "difference": difference(outputs[name], outputs[first], task.relative),
            "relative": task.relative,
            "seconds_by_kind": kinds.get(name),
        }
        for name, values in seconds.items()
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as Markdown."""
    head = ("task", "variant", "seconds (quartiles)", "times as fast (quartiles)", "greatest difference")
    return markdown_table(
        head,
        (
            (
                task,
                name,
                *("{median:.4g} ({q1:.4g} to {q3:.4g})".format(**row[key]) for key in ("seconds", "times_as_fast")),
                f"{row['difference']:.1e}" + (" of the greatest value" if row["relative"] else ""),
            )
            if "failed" not in row
            else (task, name, row["failed"], "", "")
            for task, rows in results.items()
            for name, row in rows.items()
        ),
    )


def as_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables."""
    return "\n".join(part for part in (table(results), kinds_table(results)) if part)


def kinds_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return where the time goes as Markdown; empty where nothing was profiled."""
    lines = [
        (task, name, *(f"{seconds:.3f}" for seconds in row["seconds_by_kind"].values()))
        for task, rows in results.items()
        for name, row in rows.items()
        if row["seconds_by_kind"]
    ]
    return markdown_table(("task", "variant", *(f"{kind}, s" for kind in (*OPERATIONS, REST))), lines) if lines else ""


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: all")
    parser.add_argument("--compile", action="store_true", help="compiled ports too, which takes minutes on a CPU")
    parser.add_argument("--frames", type=in_range(Count), default=8, help="of a clip, a multiple of 8")
    parser.add_argument("--batch", type=in_range(Count), default=2, help="clips of inference")
    parser.add_argument("--train-batch", type=in_range(Count), default=4, help="clips of a training step")
    parser.add_argument("--queries", type=in_range(PositiveInt), default=200, help="of retrieval")
    parser.add_argument("--gallery", type=in_range(PositiveInt), default=2000, help="items of retrieval")
    parser.add_argument("--rounds", type=in_range(Count), default=9, help="timed calls of each variant")
    parser.add_argument("--warm-up", type=in_range(Workers), default=2, help="calls of each that are not timed")
    parser.add_argument("--device", default="auto", help="of PSTA; retrieval is on the CPU")
    parser.add_argument(
        "--output", type=output_file, default=Path("original.json"), help="JSON file; .md and .png beside it"
    )
    args = parser.parse_args()

    device = Compute.choose(args.device, "float32").device
    names = ("frames", "batch", "train_batch", "queries", "gallery", "rounds", "warm_up")
    content: dict[str, Any] = {"environment": environment("original", device)}
    content["settings"] = {name: getattr(args, name) for name in names}
    results: dict[str, Any] = {}
    for name in args.tasks:
        if name in RETRIEVAL:
            task = RETRIEVAL[name](RetrievalInput(args.queries, args.gallery))
            results[name] = measure(task, torch.device("cpu"), args.rounds, args.warm_up)
        else:
            batch = args.batch if name == "inference" else args.train_batch
            task = psta_task(name, device, args.frames, batch, args.compile)
            results[name] = measure(task, device, args.rounds, args.warm_up)
        print(as_text({name: results[name]}), flush=True)
        write(args.output, {**content, "results": results})
    args.output.with_suffix(".md").write_text(as_text(results), encoding="utf-8")
    panels: dict[str, dict[str, Any]] = {}
    for task, rows in results.items():
        for name, row in rows.items():
            if "failed" not in row:
                bar = tuple(row["times_as_fast"][q] for q in ("q1", "median", "q3"))
                panels.setdefault(task, {})[name] = bar
    if panels:
        draw_bars(panels, "times as fast as the first of each", args.output.with_suffix(".png"))


if __name__ == "__main__":
    run_script(main)
