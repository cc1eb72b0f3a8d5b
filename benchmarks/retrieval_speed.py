"""How long do fitting, ranking and re-ranking take at the size of Market-1501, beside torchreid's?

    python -m benchmarks.retrieval_speed --output benchmarks/results/MACHINE/retrieval_speed.json

Identities, cameras and times are the real ones, features synthetic (see :mod:`tests.parity.real_times`). ``--peers``
adds torchreid's evaluation in Python, as its package runs it, and its re-ranking, which takes minutes and 13 GB;
``--large`` re-ranks 2,000 queries against 98,000 gallery features.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.machine import ScriptParser, environment, output_file, peak_gigabytes, run_script, write
from st_reid.retrieval import (
    CosineDistance,
    SpatialTemporalModel,
    cosine_distance,
    evaluate_rank,
    joint_distance,
    rerank,
)
from st_reid.torchreid_compat import submodule
from tests.parity.real_times import RealTimes


def timed(name: str, function: Callable[[], object], rounds: int) -> tuple[dict[str, float], object]:
    """Return the seconds of the median round, and the peak memory of the process after it."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    row = {"seconds": float(np.median(seconds)), "rounds": rounds, "process_peak_gb": peak_gigabytes()}
    print(f"{name:58} {row['seconds']:8.2f} s   {row['process_peak_gb']:5.2f} GB peak so far", flush=True)
    return row, result


def fit_join_rank(data: RealTimes) -> object:
    """Do all that the joint metric needs: transit times, scores, CMC and mAP."""
    model = SpatialTemporalModel.fit(*data.train)
    probability = model.between(*data.query[1:], *data.gallery[1:])
    appearance = CosineDistance(data.query_features, data.gallery_features, np.float64)
    return evaluate_rank(
        joint_distance(appearance, probability), data.query[0], data.gallery[0], data.query[1], data.gallery[1]
    )


def torchreid_rerank(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Re-rank as torchreid's engine does, but by Euclidean distances, as published."""
    distances = [
        np.sqrt(np.maximum(2 * cosine_distance(a, b), 0))
        for a, b in ((query, gallery), (query, query), (gallery, gallery))
    ]
    return submodule("utils.rerank").re_ranking(*distances)


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--peers", action="store_true", help="time torchreid too")
    parser.add_argument("--large", action="store_true", help="re-rank 2,000 x 98,000 too")
    parser.add_argument("--output", type=output_file, help="JSON file for the result")
    args = parser.parse_args()

    machine = environment("retrieval_speed")
    data = RealTimes("market")
    labels = data.query[0], data.gallery[0], data.query[1], data.gallery[1]
    rows = {}

    def save() -> None:  # as it comes: the last rows take minutes, and may not fit into memory
        if args.output:
            write(args.output, {"environment": machine, "size": [len(labels[0]), len(labels[1])], "results": rows})

    rows["fit, joint scores, CMC and mAP"], _ = timed("fit, joint scores, CMC and mAP", lambda: fit_join_rank(data), 5)
    distances = cosine_distance(data.query_features, data.gallery_features)
    rows["ranking alone"], ours = timed("ranking alone", lambda: evaluate_rank(distances, *labels), 5)
    for dim in (256, 2048):
        wide = RealTimes("market", dim)
        name = f"re-ranking, {dim} dimensions"
        rows[name], again = timed(name, partial(rerank, wide.query_features, wide.gallery_features), 1)
        del again
    save()
    if args.peers:
        numbers = [np.unique(np.concatenate(pair), return_inverse=True)[1] for pair in (labels[:2], labels[2:])]
        split = [part for both in numbers for part in np.split(both, [len(data.query[0])])]
        name = "torchreid: ranking alone, in Python"
        rows[name], theirs = timed(
            name, lambda: submodule("metrics").evaluate_rank(distances, *split, use_cython=False), 1
        )
        print(f"difference in mAP {abs(theirs[1] - ours.mAP):.1e}, in CMC {np.abs(theirs[0] - ours.cmc).max():.1e}")
        save()
    if args.large:
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((5000, 256), dtype=np.float32)
        features = centres[rng.integers(5000, size=100_000)] + 2 * rng.standard_normal((100_000, 256), dtype=np.float32)
        name = "re-ranking, 256 dimensions, 2,000 x 98,000"
        rows[name], again = timed(name, lambda: rerank(features[:2000], features[2000:]), 1)
        del again, features
        save()
    if args.peers:
        wide = RealTimes("market", 256)
        name = "torchreid: re-ranking, 256 dimensions"
        rows[name], theirs = timed(name, lambda: torchreid_rerank(wide.query_features, wide.gallery_features), 1)
        mine = rerank(wide.query_features, wide.gallery_features)
        rows[name]["share_within_1e-4"] = float(np.mean(np.abs(theirs - mine) < 1e-4))
        print(f"{rows[name]['share_within_1e-4']:.4%} of the distances are equal to 1e-4")
        save()


if __name__ == "__main__":
    run_script(main)
