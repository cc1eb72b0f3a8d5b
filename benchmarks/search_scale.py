"""How large a gallery does exact search serve, and what does an index buy?

    python -m benchmarks.search_scale --sizes 10000 100000 1000000 --index-up-to 100000

For galleries of random features on disk (persons with noise around them, so that there is something to find): seconds
to read the file, to answer one query and a hundred, exactly and through an index, what building it takes, how many of
the ten nearest it finds, and memory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ScriptParser, environment, in_range, output_file, peak_gigabytes, run_script, write
from st_reid.config import Count, NonNegativeInt, PositiveInt
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import CosineDistance, Index, nearest

TOP = 10
EACH = 10  # tracklets of a person


def gallery(size: int, width: int, seed: int = 0) -> FeatureSet:
    """Return features (size, width) of persons with ten tracklets each."""
    rng = np.random.default_rng(seed)
    persons = rng.standard_normal((-(-size // EACH), width), dtype=np.float32)
    person = np.arange(size) // EACH
    features = persons[person]
    for start in range(0, size, 50_000):  # by parts: the noise of all would double the memory
        part = features[start : start + 50_000]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
    names = np.char.add("t", np.arange(size).astype(str))
    columns: dict[str, Any] = {"tracklet": names, "person": np.full(size, ""), "camera": np.full(size, "1")}
    times, frames = np.full(size, np.nan), np.ones(size, np.int64)
    return FeatureSet(features=features, **columns, time=times, frames=frames)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that ``work`` takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(size: int, width: int, with_index: bool, folder: Path) -> dict[str, Any]:
    """Return the row of one size."""
    path = folder / "gallery.npz"
    gallery(size, width).save(path)
    row: dict[str, Any] = {"tracklets": size, "dimensions": width, "megabytes": path.stat().st_size / 1e6}
    row["read_seconds"], features = timed(lambda: FeatureSet.load(path))
    rng = np.random.default_rng(1)
    asked = features.features[rng.integers(size, size=100)]
    queries = asked + 0.5 * rng.standard_normal(asked.shape, dtype=np.float32)
    row["prepare_seconds"], distances = timed(lambda: CosineDistance(queries, features.features))
    row["one_query_seconds"], _ = timed(lambda: nearest(CosineDistance(queries[:1], features.features), TOP))
    row["hundred_queries_seconds"], (exact, _) = timed(lambda: nearest(distances, TOP))
    if with_index:
        row["build_seconds"], index = timed(lambda: Index.build(features.features))
        row["index_one_query_seconds"], _ = timed(lambda: index.search(queries[:1], TOP))
        row["index_hundred_queries_seconds"], (found, _) = timed(lambda: index.search(queries, TOP))
        shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        row["recall"] = float(np.mean(shared) / TOP)
    row["peak_gigabytes_so_far"] = peak_gigabytes()
    return row


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--sizes", type=in_range(PositiveInt), nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=in_range(Count), default=512)
    parser.add_argument(
        "--index-up-to",
        type=in_range(NonNegativeInt),
        default=100_000,
        help="larger galleries are searched exactly only",
    )
    parser.add_argument("--output", type=output_file, help="JSON file for the result")
    args = parser.parse_args()

    machine = environment("search_scale")
    rows = []
    for size in sorted(args.sizes):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(size, args.dimensions, size <= args.index_up_to, Path(folder)))
        print(", ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True)
    if args.output:
        write(args.output, {"environment": machine, "rows": rows})


if __name__ == "__main__":
    run_script(main)
