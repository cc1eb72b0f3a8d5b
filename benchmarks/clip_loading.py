"""How fast are training clips read and augmented, beside torchreid's own training pipeline?

Both read the same 64 x 128 JPEGs and make clips of 256 x 128 (height x width) with random crop, flip and erasing:

- ``torchreid``: its ``VideoDataset`` with ``random_crop``, ``random_flip``, ``random_erase``, which ends in normalised
  float32, as it has no other form;
- ``uint8``: st_reid's ``ClipDataset``, up to the uint8 clip that goes to the device;
- ``float32``: the same and then the normalisation on the CPU.

One process, one thread, a round of each in turn; the times are CPU seconds, so frames per second are per core.

    python -m benchmarks.clip_loading --output clip_loading.json
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks.machine import ScriptParser, environment, in_range, output_file, run_script, write
from st_reid.config import Count
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.loader import ClipDataset
from st_reid.data.sampling import Draw
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import TrainTransform, to_float
from st_reid.torchreid_compat import submodule

HEIGHT, WIDTH, SEQ_LEN, TRACKLET = 256, 128, 8, 32
BARS = {"uint8": 5.0, "float32": 3.0}


def write_frames(folder: Path, images: Path | None, count: int) -> list[Path]:
    """Write ``count`` JPEGs of 64 x 128: shrunk from real images, or clouds with grain about as large on disk."""
    rng = np.random.default_rng(0)
    real = sorted(images.rglob("*.jpg")) if images else []
    paths = []
    for i in range(count):
        if real:
            frame = cv2.resize(cv2.imread(str(real[i % len(real)])), (64, 128), interpolation=cv2.INTER_AREA)
        else:
            clouds = cv2.resize(rng.uniform(0, 255, (16, 8, 3)), (64, 128), interpolation=cv2.INTER_CUBIC)
            frame = np.clip(clouds + rng.normal(0, 8, clouds.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{i:05}.jpg")
        cv2.imwrite(str(paths[-1]), frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths


def torchreid_dataset(tracklets: list[Tracklet]) -> Dataset:
    """Return torchreid's own dataset for training, an item a tracklet, whose clip is ``"img"``."""
    transforms, video_dataset = submodule("data.transforms"), submodule("data").VideoDataset
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # it prints
        transform, _ = transforms.build_transforms(HEIGHT, WIDTH, ["random_flip", "random_crop", "random_erase"])
        items = [(tuple(map(str, t.paths)), i, 0) for i, t in enumerate(tracklets)]
        return video_dataset(
            items,
            [(items[0][0], 0, 0)],
            [(items[0][0], 0, 1)],
            seq_len=SEQ_LEN,
            sample_method="random",
            transform=transform,
            mode="train",
            verbose=False,
        )


def st_reid_dataset(tracklets: list[Tracklet]) -> ClipDataset:
    """Return our dataset for training with the like augmentation."""
    transform = TrainTransform(HEIGHT, WIDTH)
    return ClipDataset(tracklets, ClipSpec(HEIGHT, WIDTH, SEQ_LEN, sampler="restricted_random"), transform)


def made_up_tracklets(folder: Path, images: Path | None, count: int) -> list[Tracklet]:
    """Write ``count`` tracklets, each of a person of its own; see :func:`write_frames`."""
    paths = write_frames(folder, images, count * TRACKLET)
    groups = [tuple(paths[i * TRACKLET : (i + 1) * TRACKLET]) for i in range(count)]
    return [Tracklet(str(i), group, str(i), "1") for i, group in enumerate(groups)]


def measure(tracklets: list[Tracklet], rounds: int) -> dict[str, list[float]]:
    """Return frames per CPU second of each pipeline, a value a round."""
    ours, theirs = st_reid_dataset(tracklets), torchreid_dataset(tracklets)
    epoch = 0
    pipelines: dict[str, Callable[[int], torch.Tensor]] = {
        "torchreid": lambda i: theirs[i]["img"],
        "uint8": lambda i: ours[Draw(epoch, i, i)].clip,
        "float32": lambda i: to_float(ours[Draw(epoch, i, i)].clip),
    }
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for epoch in range(rounds + 1):
        for name, make in pipelines.items():
            start = time.process_time()
            for i in range(len(tracklets)):
                clip = make(i)
            seconds = time.process_time() - start
            assert clip.shape == (SEQ_LEN, 3, HEIGHT, WIDTH)
            if epoch > 0:  # the first round warms up
                rates[name].append(len(tracklets) * SEQ_LEN / seconds)
    return rates


def summarise(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return quartiles of the rates and of the ratios to torchreid's rate in the same round."""
    summary = {}
    base = np.array(rates["torchreid"])
    for name, values in rates.items():
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        r1, ratio, r3 = np.percentile(np.array(values) / base, [25, 50, 75])
        row = {"q1": q1, "median": median, "q3": q3, "ratio_q1": r1, "ratio": ratio, "ratio_q3": r3}
        summary[name] = {key: round(float(value), 3) for key, value in row.items()}
    return summary


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--output", type=output_file, default=Path("clip_loading.json"), help="JSON file to write")
    parser.add_argument("--images", type=Path, help="folder of JPEGs to shrink to 64 x 128; default: made-up ones")
    parser.add_argument("--rounds", type=in_range(Count), default=15, help="rounds of each pipeline")
    parser.add_argument("--tracklets", type=in_range(Count), default=16, help="clips per round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = environment("clip_loading")
    random.seed(0)  # torchreid draws from the global generators
    np.random.seed(0)  # noqa: NPY002
    with tempfile.TemporaryDirectory() as folder:
        tracklets = made_up_tracklets(Path(folder), args.images, args.tracklets)
        size = float(np.mean([p.stat().st_size for t in tracklets for p in t.paths]))
        summary = summarise(measure(tracklets, args.rounds))
    report = {
        "environment": machine,
        "frames_per_cpu_second": summary,
        "bars": BARS,
        "mean_jpeg_bytes": round(size),
    }
    write(args.output, report)
    print(f"{'pipeline':<10} {'frames/s/core':>14} {'quartiles':>15} {'x torchreid':>12} {'quartiles':>13}  bar")
    for name, row in summary.items():
        bar = f"{BARS[name]:.0f}" if name in BARS else ""
        print(
            f"{name:<10} {row['median']:>14.0f} {row['q1']:>9.0f}-{row['q3']:.0f} {row['ratio']:>12.2f} "
            f"{row['ratio_q1']:>8.2f}-{row['ratio_q3']:.2f}  {bar}"
        )


if __name__ == "__main__":
    run_script(main)
