"""What does accuracy cost? Rank-1 of finished runs over the speed of their models; and what a checkpoint lives on.

    python -m benchmarks.compare runs/ilids/* --output benchmarks/results/MACHINE/compare.json
    python -m benchmarks.compare --ablate runs/psta-walkers-seed* --output ablation.json
    python -m benchmarks.compare --ablate runs/evaluate-osnet_x0_25-mars --root /data

The first takes accuracy from the runs' ``report.json`` and measures the speed of each model there and then, as
:mod:`benchmarks.speed` does. Runs whose folders differ in seed and split only are one point, their mean.

``--ablate`` evaluates the checkpoint of a run, or of a folder of ``st_reid.evaluate``, again: with other numbers of
frames in a clip, with the frames of each clip or of each tracklet shuffled, with one frame repeated, and with every way
to sample test clips. Of several runs, of other seeds say, it writes the means. Written are a JSON file, and a Markdown
table and a picture beside it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.accuracy import KEYS, summarise
from benchmarks.machine import (
    ScriptParser,
    draw_bars,
    environment,
    in_range,
    output_file,
    run_script,
    settings_of,
    write,
)
from benchmarks.speed import MODES, Case, check_device, measure
from benchmarks.timing import Effort
from st_reid import cli
from st_reid.config import Count, EvalConfig, ReadConfig
from st_reid.data.clips import RANDOM_SAMPLERS, SAMPLERS
from st_reid.data.datasets import read_dataset
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Labels, Tracklet
from st_reid.drawing.markdown import markdown_table
from st_reid.errors import UserError
from st_reid.evaluate import EvaluateConfig
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.report import figures
from st_reid.features.extraction import extract_features
from st_reid.models.checkpoints import load_checkpoint
from st_reid.models.loading import load_for_evaluation
from st_reid.runtime.compute import Compute
from st_reid.training.run_folder import BEST

FRAMES = (1, 2, 4, 8, 16)
TEST_SAMPLERS = ("begin_interval", "evenly", "dense", "all")
SHUFFLE_KEY = 11  # of the random numbers that shuffle frames
INPUT = re.compile(r"clips of (\d+) at (\d+) x (\d+)")


def read_runs(folders: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Return the runs' reports by name, seed and split left out, each with its model's ``options`` and its settings.

    Raises:
        UserError: a folder without a report.
    """
    runs = defaultdict(list)
    for folder in folders:
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{folder} has no report.json ({error.strerror}); pass folders of finished runs") from None
        settings = settings_of(folder)
        options = settings.get("model", {}).get("options") or settings.get("options") or {}
        name = re.sub(r"-seed\d+(-split\d+)?$", "", folder.resolve().name)
        how = {"folder": str(folder), "config": settings}
        runs[name].append({"train_seconds": 0.0, **report, "options": options, "how": how})  # an evaluation has none
    return dict(runs)


def case_of(report: Mapping[str, Any], batch: int, precision: str, mode: str) -> Case:
    """Return what to measure of a run's model: inference on clips as long and as large as its report says.

    Raises:
        UserError: a report that does not say it.
    """
    found = INPUT.search(report.get("protocol", {}).get("frames", ""))
    if found is None:
        raise UserError(f"the report of {report.get('arch')} does not say what its clips are; evaluate it again")
    frames, height, width = map(int, found.groups())
    options = tuple(sorted(report["options"].items()))
    return Case(report["arch"], "inference", frames, batch, precision, mode, height, width, options)


def compare(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    speed_of: Callable[[Case], dict[str, Any]],
    make_case: Callable[[Mapping[str, Any]], Case],
) -> list[dict[str, Any]]:
    """Return a row a name: accuracy by ranking, over its runs, and its model's speed; each model is measured once."""
    measured: dict[str, dict[str, Any]] = {}
    rows = []
    for name, reports in runs.items():
        inputs = {repr(make_case(report)): make_case(report) for report in reports}
        if len(inputs) > 1:
            raise UserError(f"the runs of {name} are of different models or inputs; pass them under different names")
        ((label, case),) = inputs.items()
        if label not in measured:
            measured[label] = speed_of(case)
        accuracy = {
            key: value for key, value in summarise([dict(r) for r in reports]).items() if key != "train_seconds"
        }
        dataset = " / ".join(dict.fromkeys(report["dataset"] for report in reports))
        how = [report.get("how") for report in reports]
        rows.append({"name": name, "dataset": dataset, **accuracy, "speed": measured[label], "of": how})
    return rows


def _figure(row: Mapping[str, Any], key: str) -> tuple[float, float]:
    """Return mean and deviation of a figure of the ranking by appearance, in percent."""
    figure = row["rankings"]["appearance"][key]
    return 100 * figure["mean"], 100 * (figure["deviation"] or 0)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy and speed as Markdown, the best rank-1 first."""
    head = ("run", "dataset", "model", "input", "rank-1", "mAP", "mINP", "runs", "M parameters", "GFLOPs a clip")
    head += ("clips/s", "frames/s")
    lines = []
    for row in sorted(rows, key=lambda row: -_figure(row, "rank1")[0]):
        speed = row["speed"]
        accuracy = [
            f"{mean:.1f}" + (f" ± {deviation:.1f}" if row["runs"] > 1 else "")
            for mean, deviation in (_figure(row, key) for key in ("rank1", "mAP", "mINP"))
        ]
        cost = ["", "", speed.get("failed", ""), ""]
        if "failed" not in speed:
            cost = [f"{speed['parameters'] / 1e6:.1f}", f"{speed['flops_per_clip'] / 1e9:.2f}"]
            cost += [f"{speed['clips_per_second']['median']:.4g}", f"{speed['frames_per_second']:.4g}"]
        lines.append([row["name"], row["dataset"], speed["model"], row["input"], *accuracy, row["runs"], *cost])
    return markdown_table(head, lines)


def draw(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw rank-1 over clips a second, a point a row."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        if "failed" in row["speed"]:
            continue
        clips, (rank1, deviation) = row["speed"]["clips_per_second"], _figure(row, "rank1")
        x = clips["median"]
        axes.errorbar(x, rank1, yerr=deviation, xerr=[[x - clips["q1"]], [clips["q3"] - x]], fmt="o", capsize=2)
        axes.annotate(row["name"], (x, rank1), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set(title=title, xlabel="clips a second (log); bars: quartiles, deviation over runs", ylabel="rank-1, percent")
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter("{x:g}")
    axes.margins(0.25)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


@dataclass(frozen=True)
class Variant:
    """A way to evaluate a checkpoint.

    Attributes:
        name: what is different.
        frames: of a clip.
        sampler: of test clips.
        change: makes another tracklet of the tracklet with that number; ``None`` leaves them.
    """

    name: str
    frames: int
    sampler: str
    change: Callable[[int, Tracklet], Tracklet] | None = None


def shuffled_in_clips(tracklet: Tracklet, sampler: str, frames: int, rng: np.random.Generator) -> Tracklet:
    """Return a tracklet whose clips have the same frames in another order: only the order is gone.

    A clip of the sampler that repeats a frame may come to repeat another one of its frames.
    """
    order = np.arange(len(tracklet))
    for clip in SAMPLERS.get(sampler)(len(tracklet), frames, None).indices:
        places = np.unique(clip)
        order[places] = rng.permutation(order[places])
    return replace(tracklet, paths=tuple(tracklet.paths[i] for i in order))


def shuffled(tracklet: Tracklet, rng: np.random.Generator) -> Tracklet:
    """Return a tracklet with all its frames in another order: a clip's come from anywhere in it."""
    return replace(tracklet, paths=tuple(tracklet.paths[i] for i in rng.permutation(len(tracklet))))


def repeated(tracklet: Tracklet, frames: int) -> Tracklet:
    """Return a tracklet of nothing but its middle frame, one clip long."""
    return replace(tracklet, paths=(tracklet.paths[(len(tracklet) - 1) // 2],) * frames)


def variants(frames: int, sampler: str, seed: int) -> list[Variant]:
    """Return what to evaluate: first what the run did, then each thing changed by itself."""

    def rng(number: int) -> np.random.Generator:
        return derived_rng(seed, SHUFFLE_KEY, number)

    found = [Variant("as the run", frames, sampler)]
    for way in dict.fromkeys((sampler, "evenly")):
        found += [Variant("frames a clip", count, way) for count in FRAMES if (count, way) != (frames, sampler)]
    for way in dict.fromkeys((sampler, "evenly")):
        if way not in RANDOM_SAMPLERS:  # whose clips nobody knows before
            found.append(
                Variant(
                    "shuffled within each clip",
                    frames,
                    way,
                    lambda i, t, way=way: shuffled_in_clips(t, way, frames, rng(i)),
                )
            )
    found.append(Variant("shuffled over the tracklet", frames, sampler, lambda i, t: shuffled(t, rng(i))))
    found.append(Variant("one frame repeated", frames, sampler, lambda i, t: repeated(t, frames)))
    seen = {(v.frames, v.sampler) for v in found if v.change is None}
    found += [Variant("test sampling", frames, way) for way in TEST_SAMPLERS if (frames, way) not in seen]
    return found


def _of(kind: type, settings: Mapping[str, Any], *left_out: str) -> Any:
    """Return a dataclass of those of the settings that are its own."""
    names = {field.name for field in fields(kind)} - set(left_out)
    return kind(**{name: value for name, value in settings.items() if name in names})


def evaluation_of(folder: Path) -> EvaluateConfig:
    """Return the evaluation that a folder is of, by appearance: a training run's of its best checkpoint, or its own.

    Raises:
        UserError: the folder is of neither.
    """
    path = folder / "checkpoints" / BEST
    if path.exists():
        checkpoint = load_checkpoint(path)
        if "config" not in checkpoint:
            raise UserError(f"{path} does not say what it was trained with; pass the folder of a training run")
        settings = checkpoint["config"]
        data, test = _of(ReadConfig, settings["data"]), _of(EvalConfig, settings["eval"], "joint", "rerank")
        where = {"sources": settings["sources"], "root": settings["root"]}
        if settings["targets"] is not None:
            where = {"sources": settings["targets"], "root": settings["target_root"] or settings["root"]}
            data = replace(data, options={})
        more = {"precision": settings["precision"], "seed": settings["seed"], "data": data, "eval": test}
        return EvaluateConfig(weights=str(path), **where, **more)
    if "weights" not in settings_of(folder):
        raise UserError(f"{folder} holds neither checkpoints/{BEST} nor an evaluation; pass a finished run's folder")
    config = cli.parse(EvaluateConfig, ["--config", str(folder / "config.yaml")], "python -m benchmarks.compare")
    return replace(config, eval=replace(config.eval, joint=None, rerank=None))


def ablate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a checkpoint in every variant, by appearance: the first as ``st_reid.evaluate`` does.

    Raises:
        UserError: weights or a dataset that are not there, or do not fit.
    """
    compute = Compute.choose(config.device, config.precision, config.compute)
    clips = {name: getattr(config, name) for name in ("height", "width", "seq_len", "seed")}
    clips |= {"interpolation": config.data.interpolation, "batch": config.eval.batch}
    loaded = load_for_evaluation(str(config.weights), config.arch, config.options, **clips)
    model = compute.place(loaded.model)
    dataset = read_dataset(config.sources, config.root, config.data.options)
    pairs = QueryGallery.of(Labels.of(dataset.query), Labels.of(dataset.gallery), config.eval)
    rows = []
    for variant in variants(loaded.spec.seq_len, config.eval.sampler, config.seed):
        tracklets: Sequence[Tracklet] = dataset.test
        if variant.change is not None:
            tracklets = [variant.change(i, t) for i, t in enumerate(tracklets)]
        spec = replace(loaded.spec, seq_len=variant.frames, sampler=variant.sampler)
        features = extract_features(model, tracklets, spec, config.data, compute, variant.name)
        row = {"variant": variant.name, "frames": variant.frames, "sampler": variant.sampler}
        rows.append(row | figures(pairs.rank_features(features)))
        print(ablation_table(rows[:1] + rows[-1:]).splitlines()[-1], flush=True)
    return {"arch": loaded.arch, "dataset": dataset.name, "uses_time": model.uses_time, "rows": rows}


def mean_of(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ablations of one model as one: means, and as ``range`` the lowest and highest; one alone stays as it is.

    Raises:
        UserError: the runs are of different models, datasets or variants.
    """
    first, *others = runs.values()
    if not others:
        return dict(first)
    what = ("variant", "frames", "sampler")
    kinds = {
        repr([run["arch"], run["dataset"], *([row[key] for key in what] for row in run["rows"])])
        for run in runs.values()
    }
    if len(kinds) > 1:
        raise UserError(f"{', '.join(runs)} are of different models, datasets or settings; ablate them one by one")
    rows = []
    for same in zip(*(run["rows"] for run in runs.values()), strict=True):
        values = {key: [row[key] for row in same] for key in KEYS}
        row = {key: same[0][key] for key in what} | {key: float(np.mean(v)) for key, v in values.items()}
        rows.append(row | {"range": {key: [min(v), max(v)] for key, v in values.items()}})
    return {**first, "rows": rows, "runs": {name: run["rows"] for name, run in runs.items()}}


def ablation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return an ablation as Markdown; the last column is by how many points mAP differs from the first row's."""
    head = ("variant", "frames a clip", "sampler", "rank-1", "mAP", "mINP", "difference in mAP")
    return markdown_table(
        head,
        (
            [row[key] for key in ("variant", "frames", "sampler")]
            + [f"{100 * row[key]:.1f}" for key in ("rank1", *(k for k in KEYS if k != "rank1"))]
            + [f"{100 * (row['mAP'] - rows[0]['mAP']):+.1f}"]
            for row in rows
        ),
    )


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs, or of evaluations")
    parser.add_argument("--ablate", nargs="+", type=Path, metavar="RUN", help="evaluate their checkpoints in variants")
    parser.add_argument("--root", help="of --ablate: where the dataset is now")
    parser.add_argument("--batch", type=in_range(Count), default=16, help="clips a batch, for the speed")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="default: what pays; ablation: the run's")
    parser.add_argument("--mode", choices=MODES, default="folded", help="how models are run, for the speed")
    parser.add_argument("--rounds", type=in_range(Count), default=Effort.rounds, help="timed calls of a model at most")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", type=output_file, default=Path("compare.json"), help="JSON file; .md and .png beside it"
    )
    args = parser.parse_args()
    if bool(args.runs) == (args.ablate is not None):
        parser.error("pass the folders of runs to compare, or pass them with --ablate")

    compute = Compute.choose(args.device, args.precision or "auto")
    content: dict[str, Any] = {"environment": environment("compare", compute.device)}
    picture = args.output.with_suffix(".png")
    if args.ablate is not None:
        given = {"device": args.device, "root": args.root, "precision": args.precision}
        given = {name: value for name, value in given.items() if value is not None}
        evaluations = {str(folder): replace(evaluation_of(folder), **given) for folder in args.ablate}
        content |= mean_of({name: ablate(evaluation) for name, evaluation in evaluations.items()})
        text = ablation_table(content["rows"])
        bars = {
            f"{row['variant']}: {row['frames']} frames, {row['sampler']}": (
                100 * low,
                100 * row["mAP"],
                100 * high,
            )
            for row in content["rows"]
            for low, high in [row["range" if "range" in row else "interval95"]["mAP"]]
        }
        write(args.output, content)
        title = f"{content['arch']} on {content['dataset']}"
        lines = f"range of {len(content['runs'])} runs" if "runs" in content else "95% interval over queries"
        draw_bars({title: bars}, f"mAP in percent; lines: {lines}", picture)
    else:
        check_device(compute.device, [args.mode])
        precision = str(compute.dtype).removeprefix("torch.")
        effort = Effort(args.rounds)
        rows = compare(
            read_runs(args.runs),
            lambda case: measure(case, compute.device, effort),
            lambda report: case_of(report, args.batch, precision, args.mode),
        )
        content["rows"] = rows
        text = table(rows)
        write(args.output, content)
        draw(rows, "accuracy over speed: " + " / ".join(dict.fromkeys(row["dataset"] for row in rows)), picture)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    run_script(main)
