"""Groups of persons who are known, and those of another implementation."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from small_data import make_features

from st_reid import group as command
from st_reid.features.grouping import CANNOT_LINK, advise_threshold, group, purity_and_coverage, seen_at_once

CASES = 60


def test_groups_of_clear_persons_are_the_persons():
    features = make_features(noise=0.05)
    groups = group(features, 0.9)
    assert purity_and_coverage(groups, features.person) == {
        "purity": 1.0,
        "coverage": 1.0,
        "groups": 8,
        "persons": 8,
    }
    merged = group(features, -1.1)
    assert set(merged) == {0}
    assert purity_and_coverage(merged, features.person)["purity"] == pytest.approx(4 / 32)


def test_no_person_has_overlapping_tracklets_in_one_camera():
    features = make_features(persons=1, each=4, noise=0.01)
    # 0 and 2 are in camera 0 at once; 1 and 3 in camera 1 after one another
    features = replace(features, time=np.array([0.0, 0, 5, 100]), last=None)
    apart = seen_at_once(features)
    assert [tuple(pair) for pair in np.argwhere(apart)] == [(0, 2), (2, 0)]
    groups = group(features, 0.5, apart)
    assert groups[0] != groups[2]
    assert not seen_at_once(replace(features, time=np.full(4, np.nan), last=None)).any()


def test_a_tracklet_lasts_as_long_as_its_frames_say():
    """A tracker on every fifth frame, or a track that was lost and found: 3 frames, but 100 long."""
    features = make_features(persons=1, each=4, noise=0.01)
    time, last = np.array([0.0, 0, 90, 200]), np.array([100.0, 10, 120, 210])
    features = replace(features, camera=np.full(4, "1"), time=time, last=last, frames=np.full(4, 3))
    pairs = {tuple(sorted(pair)) for pair in np.argwhere(seen_at_once(features)).tolist()}
    assert pairs == {(0, 1), (0, 2)}


def test_advice_without_identities_comes_from_what_was_seen_at_once():
    features = make_features(persons=30, each=1, cameras=1)
    features = replace(features, time=np.zeros(30), last=None, person=np.full(30, ""))
    said = advise_threshold(features)
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(30, 1)]
    assert said.startswith("435 pairs were seen at once by one camera")
    assert f"99 % of them are below {np.quantile(pairs.astype(float), 0.99):.3f}" in said
    assert "nothing tells one: only 0 pairs" in advise_threshold(replace(features, time=np.full(30, np.nan), last=None))


def by_scikit_learn(features, threshold, apart):
    """Group by another implementation of average linkage."""
    unit = features.features.astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distances = np.maximum(1 - unit @ unit.T, 0)
    distances[apart] = CANNOT_LINK
    np.fill_diagonal(distances, 0)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - threshold
    )
    return clustering.fit_predict(distances)


def partition(groups):
    """Return the sets of tracklets that are together, whatever their groups are called."""
    return {tuple(np.flatnonzero(groups == g)) for g in np.unique(groups)}


def case(seed):
    """Return features, a threshold, and pairs that cannot be one person."""
    rng = np.random.default_rng(seed)
    persons, each = rng.integers(1, 9), rng.integers(2, 7)
    features = make_features(int(persons), int(each), noise=rng.uniform(0.2, 1.5), seed=seed)
    apart = np.triu(rng.random((len(features), len(features))) < rng.choice([0, 0.05, 0.3]), 1)
    return features, rng.uniform(0, 0.9), apart | apart.T


@pytest.mark.parametrize("seed", range(CASES))
def test_groups_are_those_of_scikit_learn(seed):
    features, threshold, apart = case(seed)
    found = group(features, threshold, apart)
    assert partition(found) == partition(by_scikit_learn(features, threshold, apart))
    assert not (apart & (found[:, None] == found)).any()
    assert (np.diff(np.bincount(found)) <= 0).all(), "the largest group comes first"


def test_the_cases_are_of_many_kinds():
    cases = [case(seed) for seed in range(CASES)]
    counts = [len(np.unique(group(*c))) / len(c[0]) for c in cases]
    assert sum(0 < count < 1 for count in counts) > CASES / 2
    changed = [partition(group(*c)) != partition(group(*c[:2])) for c in cases]
    assert sum(changed) > CASES / 4


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_tracklets(count):
    features = make_features().take(range(count))
    assert group(features, 0.5).tolist() == [0] * count


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "pass either --calibration, from python -m st_reid.calibrate, or --threshold"),
        (["--calibration", "c.json", "--threshold", 0.5], "pass either --calibration"),
        (["--calibration", "missing.json"], "no file missing.json"),
        (["--threshold", 0.5, "--output", "f.npz"], "f.npz exists; pass another --output"),
    ],
)
def test_mistakes(argv, message, tmp_path, command_error, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_features().save(tmp_path / "f.npz")
    error = command_error(command.main, ["--features", "f.npz", "--output", "g.csv", *argv], monkeypatch)
    assert message in error
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]
