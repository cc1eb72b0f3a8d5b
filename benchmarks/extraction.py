"""How much of a model's speed is left when tracklets are read, resized, batched and averaged around it?

    python -m benchmarks.extraction --arch psta --frames 4000

Runs the model on clips that are in memory already, and extracts features from images on disk, by turns on the same
frames of walkers, and reports the ratio of their frames per second.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from benchmarks.machine import ScriptParser, environment, in_range, output_file, quartiles, run_script, write
from st_reid.config import Count, Pixels, ReadConfig, Workers
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.datasets import read_dataset
from st_reid.data.loader import eval_loader
from st_reid.data.tracklet import Tracklet
from st_reid.features.extraction import extract_features, features_of_clips, for_extraction
from st_reid.models.factory import create_model
from st_reid.runtime.compute import Compute


def take(tracklets: list[Tracklet], frames: int) -> list[Tracklet]:
    """Return tracklets of about so many frames together, repeated where there are too few."""
    taken: list[Tracklet] = []
    count = 0
    while count < frames:
        t = tracklets[len(taken) % len(tracklets)]
        taken.append(replace(t, name=f"{t.name}-{len(taken)}"))
        count += len(t)
    return taken


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--arch", default="psta_osnet_x0_25", help="the model")
    parser.add_argument("--frames", type=in_range(Count), default=4000)
    parser.add_argument("--rounds", type=in_range(Count), default=7)
    parser.add_argument("--batch", type=in_range(Count), default=16, help="clips in a batch")
    parser.add_argument("--workers", type=in_range(Workers), default=2)
    parser.add_argument("--height", type=in_range(Pixels), default=256)
    parser.add_argument("--width", type=in_range(Pixels), default=128)
    parser.add_argument("--root", help="of the walkers data; by default in the cache folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=output_file, help="JSON file for the result")
    args = parser.parse_args()

    compute = Compute.choose(args.device)
    machine = environment("extraction", compute.device)
    torch.manual_seed(0)
    model = compute.place(create_model(args.arch, 1, height=args.height, width=args.width).eval())
    dataset = read_dataset("walkers", args.root)
    tracklets = take(list(dataset.gallery), args.frames)
    spec, read = ClipSpec(args.height, args.width, batch=args.batch), ReadConfig(workers=args.workers)
    uses_time = getattr(model, "uses_time", True)
    loader = eval_loader(tracklets, spec, read, uses_time=uses_time, device=compute.device)
    clips = [batch.clip for batch in loader]
    frames = sum(len(t) for t in tracklets)

    folded = for_extraction(model, spec, compute)

    def in_memory() -> None:
        for clip in clips:
            features_of_clips(folded, clip, compute).cpu()

    def from_disk() -> None:
        extract_features(model, tracklets, spec, read, compute)

    ratios, speeds = [], {"in_memory": [], "from_disk": []}
    features_of_clips(folded, clips[0], compute)  # warm up
    for i in range(args.rounds):
        seconds = {}
        for work in (in_memory, from_disk) if i % 2 else (from_disk, in_memory):  # neither is always the first
            start = time.perf_counter()
            work()
            compute.synchronize()
            seconds[work.__name__] = time.perf_counter() - start
            speeds[work.__name__].append(frames / seconds[work.__name__])
        ratios.append(seconds["in_memory"] / seconds["from_disk"])
    result = {
        "environment": machine,
        "arch": args.arch,
        "precision": str(compute.dtype).removeprefix("torch."),
        "settings": {name: getattr(args, name) for name in ("rounds", "batch", "workers", "height", "width")},
        "frames": frames,
        "frames_with_padding": sum(clip.shape[0] * clip.shape[1] for clip in clips),
        "share_of_the_models_speed": quartiles(ratios),
        "frames_per_second": {name: quartiles(values) for name, values in speeds.items()},
    }
    share = result["share_of_the_models_speed"]
    spread = f"{share['q1']:.1%} to {share['q3']:.1%}"
    print(f"{args.arch}, {frames} frames: {share['median']:.1%} of the model's speed ({spread})")
    for name, values in result["frames_per_second"].items():
        print(f"{name:10} {values['median']:8.1f} frames/s")
    if args.output:
        write(args.output, result)


if __name__ == "__main__":
    run_script(main)
