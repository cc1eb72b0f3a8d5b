"""The spatial-temporal stream and the joint metric against the original's numbers, on real cameras and times."""

from pathlib import Path

import numpy as np
import pytest
from parity.real_times import RealTimes

from st_reid.retrieval import CosineDistance, SpatialTemporalModel, evaluate_rank, joint_distance
from st_reid.retrieval.spatial_temporal import _to_one

HERE = Path(__file__).parent


class Problem(RealTimes):
    """A dataset's identities, cameras and times, the synthetic appearance of the parity page, and the reference."""

    def __init__(self, name):
        super().__init__(name)
        self.reference = np.load(HERE / f"spatial_temporal_{name}.npz")
        self.model = SpatialTemporalModel.fit(*self.train)

    def evaluate(self, distances):
        (qp, qc, _), (gp, gc, _) = self.query, self.gallery
        return evaluate_rank(distances, qp, gp, qc, gc, ap="trapezoid")

    @property
    def appearance(self):
        return CosineDistance(self.query_features, self.gallery_features, np.float64)

    @property
    def joint(self):
        return joint_distance(self.appearance, self.model.between(*self.query[1:], *self.gallery[1:]))


@pytest.fixture(scope="module", params=["market", "duke"])
def problem(request):
    return Problem(request.param)


def pair_index(model, later, earlier):
    """Rows of the model's tables for the original's camera numbers from 0, -1 where there is none."""
    cameras = {int(label) - 1: i for i, label in enumerate(model.cameras)}
    rows = {(a, b): i for i, (a, b) in enumerate(model.pairs.tolist())}
    return np.array([rows.get((cameras.get(a), cameras.get(b)), -1) for a, b in zip(later, earlier, strict=True)])


def test_histogram_is_exact(problem):
    index, value = problem.reference["hist_index"], problem.reference["hist_value"]
    expected = np.zeros_like(problem.model.counts)
    expected[pair_index(problem.model, index[:, 0], index[:, 1]), index[:, 2]] = value
    np.testing.assert_array_equal(_to_one(problem.model.counts), expected)


def test_smoothed_values(problem):
    r = problem.reference
    row = pair_index(problem.model, r["sample_to"], r["sample_from"])
    inside = (row >= 0) & (r["sample_bin"] < problem.model.bins)
    ours = np.where(inside, problem.model.curves[row, np.minimum(r["sample_bin"], problem.model.bins - 1)], 0)
    np.testing.assert_allclose(ours, r["sample_value"], rtol=0, atol=1e-12)
    assert np.count_nonzero(ours) > 50


@pytest.mark.parametrize("which", ["joint", "appearance"])
def test_figures(problem, which):
    result = problem.evaluate(getattr(problem, which))
    np.testing.assert_array_equal(result.cmc[[0, 4, 9]], problem.reference[f"{which}_cmc_1_5_10"])
    assert result.mAP == pytest.approx(float(problem.reference[f"{which}_map_trapezoid"]), abs=1e-6)
    if which == "joint":  # a few queries have another person's item 1e-9 beside a match
        np.testing.assert_allclose(result.ap, problem.reference["joint_ap"], rtol=0, atol=2e-5)
        assert np.mean(np.abs(result.ap - problem.reference["joint_ap"]) < 1e-6) > 0.995


def test_probability_equals_a_look_at_the_table(problem):
    (qc, qt), (gc, gt) = (
        [c[::step] for c in part[1:]] for part, step in ((problem.query, 200), (problem.gallery, 500))
    )
    ours = problem.model.probability(qc, qt, gc, gt)
    for i in range(len(qc)):
        for j in range(len(gc)):
            later, earlier = (qc[i], gc[j]) if qt[i] > gt[j] else (gc[j], qc[i])
            row = pair_index(problem.model, [int(later) - 1], [int(earlier) - 1])[0]
            gap = int(abs(qt[i] - gt[j]) / 100)
            expected = problem.model.curves[row, gap] if row >= 0 and gap < problem.model.bins else 0
            assert ours[i, j] == expected
