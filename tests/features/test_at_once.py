"""What one camera saw at the same time is two persons: it is never proposed as one, however similar it looks."""

import json
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import make_features

from st_reid import search as command
from st_reid.features.filters import Filters
from st_reid.features.grouping import group, seen_at_once
from st_reid.features.search import _find
from st_reid.retrieval import CosineDistance


def by_loops(a, b):
    """Return whether one camera saw tracklets ``a`` and ``b`` (camera, first, last) in one moment."""
    moments = [moment for moment in (*a[1:], *b[1:]) if a[1] <= moment <= a[2] and b[1] <= moment <= b[2]]
    return a[0] == b[0] and bool(moments)


@st.composite
def passings(draw):
    """Features of 2 to 12 tracklets: of few persons, few cameras, with gaps within them, some without times."""
    count = draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    features = make_features(persons=1, each=count, noise=0.3, seed=int(rng.integers(1000)))
    time = rng.integers(0, 40, count) + rng.choice([0, 0.5], count)
    lasts = time + rng.integers(0, 12, count)
    time[rng.random(count) < 0.15] = np.nan
    camera = rng.choice(["a", "b"], count)
    return replace(features, camera=camera, time=time, last=np.where(np.isnan(time), np.nan, lasts))


@settings(deadline=None, max_examples=60)
@given(passings(), st.integers(1, 12), st.sampled_from([-1.0, 0.5]))
def test_no_pair_that_one_camera_saw_at_once_is_proposed(features, top, threshold):
    rows = list(zip(features.camera, features.time, features.last, strict=True))
    together = np.array([[i != j and by_loops(a, b) for j, b in enumerate(rows)] for i, a in enumerate(rows)])
    np.testing.assert_array_equal(seen_at_once(features), together)
    some = Filters(after=20) if (features.last >= 20).any() else Filters()
    allowed = some.allowed(features)
    assert some.count_at_once(features, features, allowed) == (together & allowed).sum()
    groups = group(features, threshold, seen_at_once(features))
    assert not (together & (groups[:, None] == groups)).any()

    def measure(queries, gallery):
        return CosineDistance(queries.features, gallery.features)

    for filters in (Filters(), Filters(at_once=True)):
        excluded = filters.excluded(features, features, filters.allowed(features))
        found, _ = _find(None, measure, features, features, top, excluded)
        similarity = features.features.astype(float)
        similarity /= np.linalg.norm(similarity, axis=1, keepdims=True)
        for q, row in enumerate(found):
            others = [g for g in range(len(rows)) if g != q and (filters.at_once or not together[q, g])]
            others.sort(key=lambda g, q=q: -float(similarity[q] @ similarity[g]))
            np.testing.assert_allclose(
                [similarity[q] @ similarity[g] for g in row if g >= 0],
                [similarity[q] @ similarity[g] for g in others[:top]],
                atol=1e-6,
            )
            assert set(row[row >= 0]) <= set(others)


def search(tmp_path, features, output, *argv):
    features.save(tmp_path / f"{output}.npz")
    argv = ["--features", tmp_path / f"{output}.npz", "--output", tmp_path / output, "--top", 50, *argv]
    command.main([str(a) for a in argv])
    report = json.loads((tmp_path / output / "search.json").read_text())
    return report, [[row["tracklet"] for row in query["found"]] for query in report["queries"]]


def lost_and_found():
    """Four tracklets of 3 frames; in camera 1 the first is there all the time, and the fourth after it."""
    time, last = np.array([0.0, 40, 0, 101]), np.array([100.0, 50, 100, 120])
    features = make_features(persons=1, each=4, noise=0.01)
    return replace(features, camera=np.array(["1", "1", "2", "1"]), time=time, last=last, frames=np.full(4, 3))


def test_a_search_leaves_out_what_was_seen_at_once_and_says_so(tmp_path, caplog):
    with caplog.at_level("INFO"):
        report, found = search(tmp_path, lost_and_found(), "a", "--query", "t0")
    assert (sorted(found[0]), report["seen_at_once"]) == (["t2", "t3"], 1)
    assert "1 pairs of a query and a tracklet that its camera saw at the same time are left out" in caplog.text
    assert [report["queries"][0]["query"][key] for key in ("time", "last", "frames")] == [0, 100, 3]
    report, found = search(tmp_path, lost_and_found(), "b", "--query", "t0", "--at-once")
    assert (sorted(found[0]), report["seen_at_once"]) == (["t1", "t2", "t3"], 0)


def test_a_query_of_another_file_may_be_of_another_day(tmp_path):
    """Its clock is not known, so what seems to be at once is not left out."""
    asked = lost_and_found()
    replace(asked, tracklet=np.char.add("other", asked.tracklet)).save(tmp_path / "monday.npz")
    report, found = search(tmp_path, asked, "a", "--query", tmp_path / "monday.npz")
    assert {len(row) for row in found} == {4}
    assert report["seen_at_once"] == 0


def test_a_window_of_time_holds_whoever_is_seen_in_it(tmp_path):
    features = replace(lost_and_found(), camera=np.array(["1", "2", "3", "4"]))
    for argv, names in (
        (["--after", 60], ["t0", "t2", "t3"]),  # t0 and t2 begin before, and last until 100
        (["--before", 40], ["t0", "t2"]),
        (["--after", 60, "--before", 101], ["t0", "t2"]),
        (["--after", 101], ["t3"]),
    ):
        asked = "t1" if "t1" not in names else "t0"
        _, found = search(tmp_path, features, "".join(map(str, argv)), "--query", asked, *argv)
        assert sorted(found[0]) == names
