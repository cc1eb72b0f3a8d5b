"""The spatial-temporal stream against its literal formulation, by hand, and by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_ports import st_reid as literal
from st_reid.errors import UserError
from st_reid.retrieval import CosineDistance, SpatialTemporalModel, joint_distance, joint_score


def passings(seed, persons=20, cameras=4, span=60_000, size=200):
    rng = np.random.default_rng(seed)
    return rng.integers(persons, size=size), rng.integers(cameras, size=size), rng.integers(span, size=size)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), span=st.sampled_from([300, 5_000, 60_000]), cameras=st.integers(2, 5))
def test_equals_the_literal_formulation(seed, span, cameras):
    pids, camids, times = passings(seed, cameras=cameras, span=span)
    model = SpatialTemporalModel.fit(pids, camids, times, sigma=5)
    distribution = literal.spatial_temporal_distribution(
        camids, pids, times, cameras=cameras, bins=max(model.bins, 700)
    )
    smoothed = literal.smooth_distribution(distribution, sigma=5)
    _, q_cams, q_times = passings(seed + 1, cameras=cameras, span=span, size=7)
    _, g_cams, g_times = passings(seed + 2, cameras=cameras, span=span, size=30)
    features = np.random.default_rng(seed).standard_normal((37, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    ours = joint_distance(
        CosineDistance(features[:7], features[7:], np.float64), model.between(q_cams, q_times, g_cams, g_times)
    )
    for i in range(7):
        expected = literal.joint_scores(features[i], q_cams[i], q_times[i], features[7:], g_cams, g_times, smoothed)
        np.testing.assert_allclose(1 - ours[i], expected, atol=1e-7)


def test_by_hand():
    # Two persons go from a to b in 250 and 260 frames, one back in 1,001: bins 2, 2 and 10.
    model = SpatialTemporalModel.fit(
        ["x", "x", "y", "y", "z", "z"], list("ababba"), [0, 250, 100, 360, 0, 1001], sigma=1
    )
    assert model.cameras.tolist() == ["a", "b"]
    assert model.pairs.tolist() == [[0, 1], [1, 0]]  # (later, earlier)
    assert np.argwhere(model.counts).tolist() == [[0, 10], [1, 2]]
    assert model.counts[1, 2] == 2
    assert model.bins == 10 + 1 + 3
    p = model.probability(["b"], [250], ["a", "a", "b", "c", "a"], [0, -9e9, 0, 0, 500])
    kernel = np.exp(-(np.arange(-2, 4) ** 2) / 2)
    assert p[0, 0] == pytest.approx(1 / kernel.sum(), abs=1e-6)  # the kernel is cut off at bin 0, two bins away
    assert p[0, 1:4].tolist() == [0, 0, 0]  # beyond the table; the same camera; a camera never seen
    assert p[0, 4] == 0  # the other direction, after 250 frames: only 1,000 was seen


def test_a_person_counts_once_for_a_pair_of_cameras_by_its_mean_time():
    model = SpatialTemporalModel.fit([1, 1, 1, 1], [0, 0, 1, 1], [0, 100, 1000, 1301], sigma=1)
    assert np.argwhere(model.counts).tolist() == [[0, 11]]  # 1150.5 - 50


def test_equal_times_count_the_gallery_camera_as_later():
    model = SpatialTemporalModel.fit([1, 1], [0, 1], [0, 10], sigma=1)  # 1 later than 0
    assert model.probability([0], [5], [1], [5]) > 0
    assert model.probability([1], [5], [0], [5]) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.04, 1.0, 25.0]))
def test_the_unit_of_time_and_the_names_of_cameras_change_nothing(seed, scale):
    pids, camids, times = passings(seed)
    names = np.array(["north", "south", "up", "yard"])
    q = passings(seed + 1)[1:]
    a = SpatialTemporalModel.fit(pids, camids, times, sigma=3).probability(*q, *q)
    times, q_times = times * scale, q[1] * scale
    model = SpatialTemporalModel.fit(pids, names[camids], times, bin_width=100 * scale, sigma=3)
    b = model.probability(names[q[0]], q_times, names[q[0]], q_times)
    # A time at a bin's edge may fall on either side of it, and one in the middle may not.
    assert np.mean(np.isclose(a, b, atol=1e-9)) > 0.97


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_curves_are_distributions_and_order_changes_nothing(seed):
    pids, camids, times = passings(seed)
    model = SpatialTemporalModel.fit(pids, camids, times, sigma=4)
    np.testing.assert_allclose(model.curves.sum(axis=1), 1, atol=1e-6)
    assert (model.curves >= 0).all()
    order = np.random.default_rng(seed).permutation(len(pids))
    again = SpatialTemporalModel.fit(pids[order], camids[order], times[order], sigma=4)
    np.testing.assert_allclose(again.curves, model.curves, atol=1e-12)


def test_the_origin_of_the_clock_changes_nothing():
    pids, camids, times = [1] * 11, ["a"] + ["b"] * 10, np.array([0.0] + [30.0] * 10)
    for origin in (0, 1.7e9):  # seconds of this day, or since 1970
        model = SpatialTemporalModel.fit(pids, camids, times + origin, bin_width=4, sigma=1)
        assert np.argwhere(model.counts).tolist() == [[0, 7]]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.7, 50.0])
def test_smoothing_equals_the_literal_one_for_any_sigma(sigma):
    model = SpatialTemporalModel.fit([1, 1, 2, 2], [0, 1, 0, 1], [0, 950, 0, 2350], sigma=sigma)
    expected = literal.gauss_smooth(model.counts[0] / (model.counts[0].sum() + 1e-7), sigma)
    np.testing.assert_allclose(model.curves[0], expected / (expected.sum() + 1e-7), atol=1e-12)


def test_labels_of_any_type_are_saved(tmp_path):
    model = SpatialTemporalModel.fit(
        np.array(["a", "a"], object), np.array(["north", "south"], object), np.array([0, 5], object)
    )
    model.save(tmp_path / "m.npz")
    assert SpatialTemporalModel.load(tmp_path / "m.npz").cameras.tolist() == ["north", "south"]


def test_save_and_load(tmp_path):
    model = SpatialTemporalModel.fit(["a", "a"], ["c1", "c2"], [0, 5.5], bin_width=2, sigma=3)
    model.save(tmp_path / "m.npz")
    again = SpatialTemporalModel.load(tmp_path / "m.npz")
    assert [f.name for f in tmp_path.iterdir()] == ["m.npz"]
    assert (again.bin_width, again.sigma, again.cameras.tolist()) == (2, 3, ["c1", "c2"])
    q = (["c1"], [0.0], ["c2", "c2"], [5.0, 20.0])
    np.testing.assert_array_equal(again.probability(*q), model.probability(*q))


def test_joint_score_by_hand():
    expected = 1 / (1 + np.exp(-5 * 0.4)) * 1 / (1 + 2 * np.exp(-5 * 0.01))
    assert joint_score([[0.4]], [[0.01]])[0, 0] == pytest.approx(expected, abs=1e-15)
    other = joint_score(0.4, 0.01, lambda_appearance=3, gamma_appearance=2, lambda_time=4, gamma_time=6)
    assert other == pytest.approx(1 / (1 + 3 * np.exp(-0.8)) * 1 / (1 + 4 * np.exp(-0.06)), abs=1e-15)


def test_joint_score_rises_with_both():
    x = np.linspace(-1, 1, 50)
    assert (np.diff(joint_score(x, np.full(50, 0.01))) > 0).all()
    assert (np.diff(joint_score(np.zeros(50), np.linspace(0, 0.016, 50))) > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0, None, 5, 6]}, "1 of 4 are missing or not finite in the times to learn from, number 1"),
        ({"times": [0, np.inf, 5, 6]}, "not finite"),
        ({"times": ["noon"] * 4}, "not numbers"),
        ({"times": [0, 1]}, r"expected \(N,\) of each"),
        ({"camids": [0, 0, 0, 0]}, "no person of 2 was seen by two of the 1 cameras"),
        ({"pids": [1, 2, 3, 4]}, "no person of 4 was seen by two"),
        ({"pids": [], "camids": [], "times": []}, "no person of 0"),
        ({"times": [0, 1e15, 5, 6]}, "raise bin_width"),
        ({"bin_width": 0}, "bin_width is 0"),
        ({"sigma": np.nan}, "sigma is nan"),
    ],
)
def test_fit_errors(change, message):
    good = {"pids": [1, 1, 2, 2], "camids": [0, 1, 0, 1], "times": [0, 100, 5, 6]}
    SpatialTemporalModel.fit(**good)
    with pytest.raises(UserError, match=message):
        SpatialTemporalModel.fit(**{**good, **change})


def test_other_errors(tmp_path):
    model = SpatialTemporalModel.fit([1, 1], [0, 1], [0, 10])
    with pytest.raises(UserError, match="the gallery's times, number 0"):
        model.probability([0], [0], [1], [None])
    with pytest.raises(UserError, match="the query has"):
        model.probability([0, 1], [0], [1], [0])
    with pytest.raises(UserError, match="expected one shape"):
        joint_score(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(UserError, match="expected one shape"):
        joint_distance(CosineDistance(np.ones((1, 2)), np.ones((1, 2))), model.between([0], [0], [1, 1], [0, 0]))
    with pytest.raises(UserError, match="no file"):
        SpatialTemporalModel.load(tmp_path / "no.npz")
    for name, write in {"text": lambda p: p.write_text("hello"), "other": lambda p: np.savez(p, a=1)}.items():
        path = tmp_path / f"{name}.npz"
        write(path)
        with pytest.raises(UserError, match="expected a model of transit times"):
            SpatialTemporalModel.load(path)
    model.save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + bytes(300) + whole[500:]):
        (tmp_path / "cut.npz").write_bytes(damaged)
        with pytest.raises(UserError, match="expected a model of transit times"):
            SpatialTemporalModel.load(tmp_path / "cut.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(UserError, match="expected a model of transit times"):
        SpatialTemporalModel.load(tmp_path / "array.npy")
    np.savez(tmp_path / "code.npz", cameras=np.array([object()]))
    with pytest.raises(UserError, match="expected a model of transit times"):
        SpatialTemporalModel.load(tmp_path / "code.npz")
