"""How fast do frames come from the disk to the device, and how long does the device wait for them in a training run?

    python -m benchmarks.pipeline --workers 0 1 2 4 --output benchmarks/results/MACHINE/pipeline.json
    python -m benchmarks.pipeline --runs runs/psta-walkers-seed1
    python -m benchmarks.pipeline -- --arch psta_osnet_x0_25 --epochs 2

Loading: batches of clips of 64 x 128 JPEGs, resized to 256 x 128 and augmented, up to the normalised float32 batch on
the device, by st_reid's loader, which sends uint8 and normalises there, and by torchreid's dataset in a ``DataLoader``
as its data manager makes it. The clock is the wall's; starting workers is left out; a round of each in turn.

Training: the share of the time in which the device waited for clips, out of the ``metrics.jsonl`` of the runs given, or
of a short run on walkers made for it. What follows ``--`` goes to ``python -m st_reid.train``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from benchmarks.clip_loading import SEQ_LEN, made_up_tracklets, st_reid_dataset, torchreid_dataset
from benchmarks.machine import (
    ScriptParser,
    draw_bars,
    environment,
    in_range,
    output_file,
    quartiles,
    run_script,
    settings_of,
    write,
)
from benchmarks.timing import ratios
from st_reid import train
from st_reid.config import Count, Workers
from st_reid.data.loader import train_loader
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import to_float
from st_reid.drawing.markdown import markdown_table
from st_reid.runtime.compute import Compute

Batches = tuple[DataLoader, Callable[[Any], Tensor]]
AHEAD = 2  # batches that a worker has ready or under way


def st_reid_batches(tracklets: list[Tracklet], workers: int, batch: int, count: int, device: torch.device) -> Batches:
    """Return our loader, and what brings one of its batches to the device."""
    loader = train_loader(
        st_reid_dataset(tracklets),
        persons_per_batch=batch,
        clips_per_person=1,
        batches=count,
        workers=workers,
        device=device,
    )
    return loader, lambda item: to_float(item.clip.to(device, non_blocking=True))


def torchreid_batches(tracklets: list[Tracklet], workers: int, batch: int, count: int, device: torch.device) -> Batches:
    """Return torchreid's, likewise."""
    dataset = torchreid_dataset(tracklets)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        sampler=RandomSampler(dataset, replacement=True, num_samples=count * batch),  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )
    return loader, lambda item: item["img"].to(device, non_blocking=True)


PIPELINES = {"torchreid": torchreid_batches, "st_reid": st_reid_batches}


def frames_per_second(batches: Batches, skipped: int, counted: int, compute: Compute) -> float:
    """Go through a loader, and return the frames that arrived a second in the batches counted, after those skipped."""
    loader, bring = batches
    frames, start, seconds = 0, 0.0, 0.0
    for i, item in enumerate(loader, 1):
        clips = bring(item)
        if skipped < i <= skipped + counted:
            frames += clips.shape[0] * clips.shape[1]
        if i in (skipped, skipped + counted):
            compute.synchronize()
            start, seconds = time.perf_counter(), time.perf_counter() - start
    return frames / seconds


def measure_loading(
    tracklets: list[Tracklet], workers: Sequence[int], batch: int, count: int, rounds: int, compute: Compute
) -> list[dict[str, Any]]:
    """Return a row for each number of workers and pipeline: quartiles of frames a second, and over torchreid's.

    Before the clock starts, workers have started and their first batches are gone; when it stops, as many are ready as
    were then, and there are more to be made: else what was counted would not be what was made meanwhile.
    """
    rows = []
    for number in workers:
        ready = max(1, AHEAD * number)
        skipped, counted = 2 * ready, max(count, 5 * ready)
        rates: dict[str, list[float]] = {name: [] for name in PIPELINES}
        for _ in range(rounds):
            for name, make in PIPELINES.items():
                batches = make(tracklets, number, batch, skipped + counted + ready, compute.device)
                rates[name].append(frames_per_second(batches, skipped, counted, compute))
        for name, values in rates.items():
            row = {"workers": number, "pipeline": name, "frames_per_second": quartiles(values)}
            rows.append(row | {"over_torchreid": ratios(values, rates["torchreid"])})
    return rows


def waiting(epochs: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return how long a run's device waited for clips, from the rows of its ``metrics.jsonl``.

    The first epoch starts the workers and warms everything up, so the share of the later ones is told apart.
    """

    def share(rows: Sequence[Mapping[str, float]]) -> float | None:
        return sum(row["data_seconds"] for row in rows) / sum(row["seconds"] for row in rows) if rows else None

    seconds = {key: sum(row[key] for row in epochs) for key in ("seconds", "data_seconds")}
    return {"epochs": len(epochs), **seconds, "share": share(epochs), "share_after_first": share(epochs[1:])}


def read_epochs(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's ``metrics.jsonl``."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def of_what(run: Path) -> dict[str, Any]:
    """Return what a run trained, and how, from its ``config.yaml``; nothing where there is none."""
    settings = settings_of(run)
    names = ("arch", "sources", "seq_len", "height", "width", "device", "precision")
    found = {name: settings[name] for name in names if name in settings}
    return found | ({"workers": settings["data"]["workers"]} if "data" in settings else {})


def table(loading: Sequence[Mapping[str, Any]], runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return both parts as Markdown."""
    quartiles_of = "{median:.4g} ({q1:.4g} to {q3:.4g})".format
    parts = []
    if loading:
        rows = (
            (r["workers"], r["pipeline"], quartiles_of(**r["frames_per_second"]), quartiles_of(**r["over_torchreid"]))
            for r in loading
        )
        parts.append(markdown_table(("workers", "pipeline", "frames/s (quartiles)", "over torchreid"), rows))
    if runs:
        head = ("training run", "of", "epochs", "seconds of its steps", "waited for clips", "of the time")
        head += ("after the first epoch",)
        rows = (
            (
                name,
                "{arch}, {seq_len} x {height} x {width}, {workers} workers".format(**run) if "workers" in run else "",
                run["epochs"],
                f"{run['seconds']:.1f}",
                f"{run['data_seconds']:.2f} s",
                *("" if run[key] is None else f"{run[key]:.1%}" for key in ("share", "share_after_first")),
            )
            for name, run in runs.items()
        )
        parts.append(markdown_table(head, rows))
    return "\n".join(parts)


def main() -> None:
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, extra = sys.argv[1:cut], sys.argv[cut + 1 :]
    parser = ScriptParser(__doc__)
    default = sorted({0, 1, 2, 4, os.cpu_count() or 1} & set(range((os.cpu_count() or 1) + 1)))
    parser.add_argument(
        "--workers", nargs="*", type=in_range(Workers), default=default, help="processes that read; none: no loading"
    )
    parser.add_argument("--batch", type=in_range(Count), default=16, help="clips")
    parser.add_argument("--batches", type=in_range(Count), default=20, help="timed batches of a round, at least")
    parser.add_argument("--rounds", type=in_range(Count), default=5, help="of each pipeline and number of workers")
    parser.add_argument("--images", type=Path, help="folder of JPEGs to shrink to 64 x 128; default: made-up ones")
    parser.add_argument("--runs", nargs="*", type=Path, help="finished runs to read; default: one is made; empty: none")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--output", type=output_file, default=Path("pipeline.json"), help="JSON file; .md and .png beside it"
    )
    args = parser.parse_args(own)

    compute = Compute.choose(args.device, "float32")
    content: dict[str, Any] = {"environment": environment("pipeline", compute.device), "seq_len": SEQ_LEN}
    names = ("batch", "batches", "rounds")
    content["settings"] = {name: getattr(args, name) for name in names} | {"train_arguments": extra}
    with tempfile.TemporaryDirectory() as folder:
        loading = []
        if args.workers:
            tracklets = made_up_tracklets(Path(folder), args.images, args.batch)
            loading = measure_loading(tracklets, args.workers, args.batch, args.batches, args.rounds, compute)
            write(args.output, {**content, "loading": loading})
        folders = args.runs
        if folders is None:
            folders = [Path(folder) / "short run"]
            short = ["--epochs", "3", "--baselines", "false", "--device", args.device]
            train.main([*short, *extra, "--output", str(folders[0])])
        runs = {str(run) if args.runs else run.name: waiting(read_epochs(run)) | of_what(run) for run in folders}
    write(args.output, {**content, "loading": loading, "training": runs})
    text = table(loading, runs)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    if loading:
        bars = {
            f"{row['pipeline']}, {row['workers']} workers": tuple(
                row["frames_per_second"][q] for q in ("q1", "median", "q3")
            )
            for row in loading
        }
        draw_bars({"from disk to device": bars}, "frames a second", args.output.with_suffix(".png"))
    print(text, end="")


if __name__ == "__main__":
    run_script(main)
