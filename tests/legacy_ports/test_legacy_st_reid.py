"""Readers of the original's files, on files of its form that the test writes."""

import numpy as np
import pytest
import scipy.io

from legacy_ports import st_reid as literal
from st_reid.errors import UserError
from st_reid.retrieval import SpatialTemporalModel


def test_read_features(tmp_path):
    rng = np.random.default_rng(0)
    content = {}
    for part, n in (("query", 3), ("gallery", 5)):
        content |= {f"{part}_f": rng.standard_normal((n, 4)), f"{part}_label": list(range(n))}
        content |= {f"{part}_cam": [1] * n, f"{part}_frames": list(range(100, 100 + n))}
    scipy.io.savemat(tmp_path / "pytorch_result.mat", content)
    read = literal.read_features(tmp_path / "pytorch_result.mat")
    np.testing.assert_array_equal(read.gallery_features, content["gallery_f"])
    assert read.query_persons.tolist() == [0, 1, 2]
    assert read.gallery_times.tolist() == [100, 101, 102, 103, 104]
    content["query_cam"] = [1]
    scipy.io.savemat(tmp_path / "short.mat", content)
    with pytest.raises(UserError, match="3 features and 1 values of query_cam"):
        literal.read_features(tmp_path / "short.mat")


@pytest.mark.parametrize("smoothed", [False, True])
def test_read_distribution_gives_the_model_that_was_fitted(tmp_path, smoothed):
    """The original saves the counts brought to a sum of 1, and smooths when it evaluates."""
    rng = np.random.default_rng(0)
    pids, camids, times = rng.integers(20, size=100), rng.integers(3, size=100), rng.integers(9000, size=100)
    table = literal.spatial_temporal_distribution(camids, pids, times, cameras=3, bins=400)
    table = literal.smooth_distribution(table) if smoothed else table
    scipy.io.savemat(tmp_path / "pytorch_result2.mat", {"distribution": table})
    read = literal.read_distribution(tmp_path / "pytorch_result2.mat", smoothed=smoothed)
    fitted = SpatialTemporalModel.fit(pids, camids + 1, times)
    places = camids + 1, times, camids + 1, times
    np.testing.assert_allclose(read.probability(*places), fitted.probability(*places), atol=1e-12)
    read.save(tmp_path / "m.npz")
    again = SpatialTemporalModel.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.probability(*places), read.probability(*places))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": 1}, "has no distribution; it has x"),
        ({"distribution": np.ones((2, 3, 4))}, r"expected \(cameras, cameras, bins\)"),
        ({"distribution": np.zeros((2, 2, 4))}, "all zeros"),
    ],
)
def test_errors(tmp_path, content, message):
    scipy.io.savemat(tmp_path / "d.mat", content)
    with pytest.raises(UserError, match=message):
        literal.read_distribution(tmp_path / "d.mat")


def test_files_that_are_not_matlabs(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        literal.read_distribution(tmp_path / "no.mat")
    (tmp_path / "text.mat").write_text("hello")
    with pytest.raises(UserError, match="cannot be read as a MATLAB file"):
        literal.read_features(tmp_path / "text.mat")
