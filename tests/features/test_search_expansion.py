"""``search --expand``: averaged with the neighbours, against loops; decisions by the features as they are."""

import json

import numpy as np
import pytest
from small_data import make_features

from st_reid import search as command
from st_reid.features.calibration import Calibration


def unit(x):
    return x / np.linalg.norm(x)


def by_loops(features, queries, gallery, skip):
    """Return for each query the names of the others, nearest first, and their similarities."""
    plain = [unit(f.astype(float)) for f in features.features]
    n = len(plain)

    def mean(i, others, k, of):
        near = sorted(others, key=lambda j: -float(plain[i] @ of[j]))[:k]
        return unit(plain[i] + sum((of[j] for j in near), np.zeros_like(plain[i])))

    there = [mean(g, [j for j in range(n) if j != g], gallery, plain) for g in range(n)]
    asked = [mean(q, [j for j in range(n) if not skip(q, j)], queries, there) for q in range(n)]
    found = []
    for q in range(n):
        row = sorted((-float(asked[q] @ there[g]), g) for g in range(n) if not skip(q, g))
        found.append([(f"t{g}", -minus, float(plain[q] @ plain[g])) for minus, g in row])
    return found


@pytest.mark.parametrize(("queries", "gallery"), [(1, 0), (0, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("other_cameras", [False, True])
def test_it_is_what_loops_find(queries, gallery, other_cameras, tmp_path):
    features = make_features(persons=5, each=4, noise=1.2, seed=queries + gallery)
    features.save(tmp_path / "f.npz")
    argv = ["--features", tmp_path / "f.npz", "--query", "all", "--top", 50, "--output", tmp_path / "out"]
    argv += ["--expand.queries", queries, "--expand.gallery", gallery]
    argv += ["--other-cameras"] if other_cameras else []
    command.main([str(a) for a in argv])
    report = json.loads((tmp_path / "out" / "search.json").read_text())
    assert report["expanded"] == f"queries by {queries}, gallery by {gallery} neighbours"

    def skip(q, g):
        return q == g or (other_cameras and features.camera[q] == features.camera[g])

    expected = by_loops(features, queries, gallery, skip)
    for result, row in zip(report["queries"], expected, strict=True):
        found = {item["tracklet"]: (item["score"], item["cosine"]) for item in result["found"]}
        assert found == {name: pytest.approx(tuple(both), abs=2e-6) for name, *both in row}
        np.testing.assert_allclose([score for score, _ in found.values()], [r[1] for r in row], atol=2e-6)


def test_decisions_are_made_without(tmp_path):
    features = make_features(persons=5, each=4, noise=1.2)
    features.save(tmp_path / "f.npz")
    Calibration(0.6, 0.4, 0.01, {"fingerprint": "abc"}).save(tmp_path / "c.json")
    decisions = []
    for name, extra in (("plain", []), ("expanded", ["--expand.queries", 1, "--expand.gallery", 1])):
        argv = ["--features", tmp_path / "f.npz", "--query", "t0", "--top", 50, "--output", tmp_path / name]
        command.main([str(a) for a in [*argv, "--calibration", tmp_path / "c.json", *extra]])
        (result,) = json.loads((tmp_path / name / "search.json").read_text())["queries"]
        decisions.append({row["tracklet"]: (row["cosine"], row["decision"]) for row in result["found"]})
    assert decisions[0] == decisions[1]
    assert len({decision for _, decision in decisions[0].values()}) > 1


def test_more_than_there_are(tmp_path):
    make_features().save(tmp_path / "f.npz")
    argv = ["--features", tmp_path / "f.npz", "--query", "t0", "--output", tmp_path / "out", "--top", 1000]
    command.main([str(a) for a in argv])
    (result,) = json.loads((tmp_path / "out" / "search.json").read_text())["queries"]
    assert len(result["found"]) == 31


def test_mistakes(tmp_path, command_error, monkeypatch):
    make_features().save(tmp_path / "f.npz")
    argv = ["--features", tmp_path / "f.npz", "--query", "t0", "--output", tmp_path / "out"]
    error = command_error(command.main, [*argv, "--index", "--expand.gallery", 1], monkeypatch)
    assert "leave --index or --expand.gallery out" in error
    assert "expand.queries is -1; expected at least 0" in command_error(
        command.main, [*argv, "--expand.queries", -1], monkeypatch
    )
    assert not (tmp_path / "out").exists()
