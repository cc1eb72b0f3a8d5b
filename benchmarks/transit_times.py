"""What are times worth, and when do they do harm? The joint metric under wrong clocks, few identities, wrong constants.

    python -m benchmarks.transit_times --output benchmarks/results/MACHINE/transit_times.json

Identities, cameras and times of Market-1501 and DukeMTMC-reID are the real ones, appearance is synthetic and weak (see
:mod:`tests.parity.real_times`), so the gains are not those of a trained model; their signs and their order are the
point.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.machine import ScriptParser, environment, output_file, run_script, write
from st_reid.retrieval import (
    CosineDistance,
    SpatialTemporalModel,
    evaluate_rank,
    joint_distance,
    other_cameras_first,
)
from tests.parity.real_times import Columns, RealTimes

FRAMES_A_MINUTE = {"market": 25 * 60, "duke": 60 * 60}


def of_persons(columns: Columns, count: int, seed: int) -> Columns:
    """Return the passings of ``count`` persons drawn at random."""
    persons = np.unique(columns[0])
    kept = np.isin(columns[0], np.random.default_rng(seed).choice(persons, size=count, replace=False))
    return columns[0][kept], columns[1][kept], columns[2][kept]


def with_wrong_clock(columns: Columns, camera: str, late: float) -> Columns:
    """Return passings with the clock of one camera off."""
    return columns[0], columns[1], columns[2] + late * (columns[1] == camera)


def cases(name: str, data: RealTimes) -> Iterator[tuple[str, Columns, Columns, Columns, dict[str, float]]]:
    """Yield name, training, query and gallery passings, and the constants that differ from ST-ReID's."""
    everything = data.train, data.query, data.gallery
    yield "joint", *everything, {}
    for count in (5, 20, 80, 320):
        yield f"fitted on {count} identities", of_persons(data.train, count, 0), data.query, data.gallery, {}
    for minutes in (1, 5, 20):
        late = minutes * FRAMES_A_MINUTE[name]
        wrong = [with_wrong_clock(part, "2", late) for part in (data.query, data.gallery)]
        yield f"clock of camera 2 off by {minutes} min in the test", data.train, *wrong, {}
    for sigma, gamma in ((5, 5), (5, 0.5), (50, 50), (500, 5)):
        yield f"sigma {sigma}, gamma of the time {gamma}", *everything, {"sigma": sigma, "gamma_time": gamma}
    sharp = {"sigma": 5, "gamma_time": 50}
    yield "sigma 5, gamma of the time 50", *everything, sharp.copy()
    yield "the same with 20 identities", of_persons(data.train, 20, 0), data.query, data.gallery, sharp.copy()
    yield f"the same with a clock off by {minutes} min", data.train, *wrong, sharp.copy()
    swap = np.array(["0", "2", "1", "4", "3", "6", "5", "8", "7"])
    renamed = data.train[0], swap[data.train[1].astype(int)], data.train[2]
    yield "cameras of another network (1 and 2, 3 and 4, ... swapped)", renamed, data.query, data.gallery, {}


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--output", type=output_file, help="JSON file for the result")
    args = parser.parse_args()
    machine = environment("transit_times")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("market", "duke"):
        data = RealTimes(name)
        labels = data.query[0], data.gallery[0], data.query[1], data.gallery[1]
        appearance = CosineDistance(data.query_features, data.gallery_features, np.float64)
        matrices = {
            "appearance": appearance,
            "camera_mask": other_cameras_first(appearance, data.query[1], data.gallery[1]),
        }
        for case, train, query, gallery, constants in cases(name, data):
            sigma = constants.pop("sigma", 50.0)
            model = SpatialTemporalModel.fit(*train, sigma=sigma)
            matrices[case] = joint_distance(appearance, model.between(*query[1:], *gallery[1:]), **constants)
        results[name] = {}
        print(f"\n{name:58} rank-1     mAP")
        for case, matrix in matrices.items():
            result = evaluate_rank(matrix, *labels)
            results[name][case] = {"rank1": float(result.cmc[0]), "mAP": result.mAP}
            print(f"{case:58} {result.cmc[0]:6.2%}  {result.mAP:6.2%}", flush=True)
    if args.output:
        write(args.output, {"environment": machine, "results": results})


if __name__ == "__main__":
    run_script(main)
