"""CMC, mAP and mINP against torchreid, scikit-learn and counting by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from st_reid.errors import UserError
from st_reid.retrieval import evaluate_rank
from st_reid.torchreid_compat import submodule


def random_problem(seed, queries=12, gallery=60, persons=6, cameras=4, levels=None):
    rng = np.random.default_rng(seed)
    if levels:
        distances = rng.integers(levels, size=(queries, gallery)) / levels
    else:
        distances = rng.permutation(queries * gallery).reshape(queries, gallery).astype(float)
    labels = [rng.integers(n, size=size) for n, size in [(persons, queries), (persons, gallery)]]
    cams = [rng.integers(cameras, size=size) for size in (queries, gallery)]
    return distances, labels[0], labels[1], cams[0], cams[1]


@pytest.mark.parametrize("seed", range(8))
def test_equals_torchreid_where_distances_are_distinct(seed):
    problem = random_problem(seed)
    cmc, mean_ap = submodule("metrics").evaluate_rank(*problem, max_rank=20, use_cython=False)
    ours = evaluate_rank(*problem, max_rank=20)
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-6)
    assert ours.mAP == pytest.approx(mean_ap, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 2, 5, 20]))
def test_ap_is_scikit_learns(seed, levels):
    distances, qp, gp, qc, gc = random_problem(seed, levels=levels)
    expected = []
    for i in range(len(qp)):
        kept = ~((gp == qp[i]) & (gc == qc[i]))
        relevant = gp[kept] == qp[i]
        if relevant.any():
            expected.append(average_precision_score(relevant, -distances[i, kept]))
    np.testing.assert_allclose(evaluate_rank(distances, qp, gp, qc, gc).ap, expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 1, 3]), ap=st.sampled_from(["step", "trapezoid"]))
def test_order_of_the_gallery_changes_nothing(seed, levels, ap):
    distances, qp, gp, qc, gc = random_problem(seed, levels=levels)
    order = np.random.default_rng(seed).permutation(len(gp))
    a = evaluate_rank(distances, qp, gp, qc, gc, ap=ap)
    b = evaluate_rank(distances[:, order], qp, gp[order], qc, gc[order], ap=ap)
    np.testing.assert_array_equal(a.cmc, b.cmc)
    assert (a.mAP, a.mINP, a.num_valid) == (b.mAP, b.mINP, b.num_valid)


def test_by_hand():
    # Ranking of query 0: other, match, junk, match -> ranks 2 and 3. Query 1 has no match and is not valid.
    result = evaluate_rank(
        [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], [1, 9], [5, 1, 1, 1], [0, 0], [0, 1, 0, 2], max_rank=3
    )
    assert result.num_valid == 1
    np.testing.assert_allclose(result.cmc, [0, 1, 1])
    assert result.mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)


def test_distances_that_keep_a_gradient():
    distances = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    assert evaluate_rank(distances, [7], [5, 7, 7], [1], [2, 2, 1]).mAP == 0.5


def test_trapezoid_by_hand_divides_by_all_queries():
    # Matches at ranks 1 and 3: ((1 + 1) / 2 + (2/3 + 1/2) / 2) / 2, halved by the query without a match.
    result = evaluate_rank(
        [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], [1, 9], [1, 5, 1], [0, 0], [1, 1, 2], max_rank=1, ap="trapezoid"
    )
    assert result.mAP == pytest.approx((1 + (2 / 3 + 1 / 2) / 2) / 2 / 2)
    np.testing.assert_allclose(result.cmc, [0.5])


def test_a_constant_feature_ranks_behind_every_other_person():
    result = evaluate_rank(np.zeros((1, 10)), [1], [1] + [2] * 9, [0], [1] * 10, max_rank=10)
    assert result.first_rank[0] == 10
    assert result.mAP == pytest.approx(0.1)


@pytest.mark.parametrize("ap", ["step", "trapezoid"])
def test_interval_holds_the_figure(ap):
    distances, qp, gp, qc, gc = random_problem(0, queries=100)
    qp[:40] = 99  # in no gallery
    result = evaluate_rank(distances, qp, gp, qc, gc, ap=ap)
    assert (result.num_queries, result.num_valid) == (100, 60)
    for key, value in (("mAP", result.mAP), ("rank1", result.cmc[0])):
        low, high = result.interval()[key]
        assert low < value < high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distmat": np.zeros((2, 3))}, r"expected \(1, 2\)"),
        ({"distmat": [[np.nan, 0]]}, "NaN"),
        ({"g_pids": [3, 3]}, "no query has a match"),
        ({"max_rank": 0}, "max_rank"),
        ({"ap": "stpe"}, "did you mean 'step'"),
        ({"distmat": np.zeros((0, 2)), "q_pids": [], "q_camids": []}, "0 queries"),
    ],
)
def test_errors(change, message):
    good = {"distmat": [[0.1, 0.2]], "q_pids": [1], "g_pids": [1, 2], "q_camids": [0], "g_camids": [1, 1]}
    evaluate_rank(**good)
    with pytest.raises(UserError, match=message):
        evaluate_rank(**{**good, **change})
