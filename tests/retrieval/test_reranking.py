"""Re-ranking against torchreid's, which is the published code, and by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_reid.errors import UserError
from st_reid.retrieval import LazyMatrix, normalize, rerank, rerank_distances
from st_reid.retrieval.reranking import choose_neighbours
from st_reid.torchreid_compat import submodule


def clusters(seed, items=300, persons=30, noise=1.2):
    rng = np.random.default_rng(seed)
    person = rng.integers(persons, size=items)
    return (rng.standard_normal((persons, 32))[person] + noise * rng.standard_normal((items, 32))).astype(np.float32)


def euclidean(features):
    features = normalize(features).astype(np.float64)
    return np.linalg.norm(features[:, None] - features[None], axis=2).astype(np.float32)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    noise=st.sampled_from([0.5, 1.2, 3.0]),
    k=st.sampled_from([(20, 6), (7, 3), (5, 1), (11, 2)]),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_published_algorithm(seed, noise, k, lambda_value):
    features = clusters(seed, noise=noise)
    distances = euclidean(features)
    q = 60
    published = submodule("utils.rerank").re_ranking(
        distances[:q, q:], distances[:q, :q], distances[q:, q:], k1=k[0], k2=k[1], lambda_value=lambda_value
    )
    options = {"k1": k[0], "k2": k[1], "lambda_value": lambda_value}
    np.testing.assert_allclose(rerank_distances(distances, q, **options), published, atol=1e-4)
    # Features give the same distances up to rounding, which may swap two neighbours and with them parts of some sets.
    difference = np.abs(rerank(features[:q], features[q:], **options) - published)
    assert np.mean(difference < 1e-4) > 0.9


def test_blocks_and_lazy_distances_change_nothing():
    features = clusters(0)
    distances = euclidean(features)
    whole = rerank_distances(distances, 60)
    lazy = LazyMatrix(distances.shape, lambda rows: distances[rows], lambda i, j: distances[i, j])
    np.testing.assert_array_equal(rerank_distances(lazy, 60, block_bytes=5_000), whole)
    np.testing.assert_allclose(
        rerank(features[:60], features[60:], block_bytes=5_000), rerank(features[:60], features[60:]), atol=1e-6
    )


def test_order_of_the_gallery_changes_nothing():
    features = clusters(1)
    order = np.random.default_rng(0).permutation(240)
    a, b = rerank(features[:60], features[60:]), rerank(features[:60], features[60:][order])
    np.testing.assert_allclose(a[:, order], b, atol=1e-5)


def test_it_helps_where_neighbours_agree():
    from st_reid.retrieval import cosine_distance, evaluate_rank

    rng = np.random.default_rng(0)
    person = rng.integers(30, size=300)
    features = (rng.standard_normal((30, 32))[person] + 1.2 * rng.standard_normal((300, 32))).astype(np.float32)
    labels = person[:60], person[60:], np.zeros(60), np.ones(240)
    before = evaluate_rank(cosine_distance(features[:60], features[60:]), *labels).mAP
    assert evaluate_rank(rerank(features[:60], features[60:]), *labels).mAP > before + 0.05


def test_one_point_for_all():
    assert np.isfinite(rerank(np.ones((3, 4)), np.ones((30, 4)), k1=5)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k1": 40}, "k1 is 40; expected 1 up to 39"),
        ({"k1": 0}, "k1 is 0"),
        ({"k2": 0}, "k2 is 0"),
        ({"k2": 99}, "k2 is 99"),
        ({"lambda_value": 1.5}, "lambda_value is 1.5"),
        ({"query_features": np.zeros((0, 4))}, "0 queries and 30 gallery items"),
        ({"gallery_features": np.zeros((0, 4))}, "10 queries and 0 gallery items"),
        ({"gallery_features": np.ones((30, 5))}, "4 dimensions, gallery features 5"),
        ({"gallery_features": np.full((30, 4), np.nan)}, "not finite"),
    ],
)
def test_errors(change, message):
    rng = np.random.default_rng(0)
    good = {"query_features": rng.standard_normal((10, 4)), "gallery_features": rng.standard_normal((30, 4))}
    rerank(**good)
    with pytest.raises(UserError, match=message):
        rerank(**{**good, **change})


def test_errors_of_distances():
    with pytest.raises(UserError, match="all items' to all"):
        rerank_distances(np.zeros((3, 4)), 1)
    with pytest.raises(UserError, match="distances are negative"):
        rerank_distances(-euclidean(clusters(0)), 60)
    with pytest.raises(UserError, match="not finite"):
        rerank_distances(np.full((30, 30), np.nan, dtype=np.float32), 5)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([4] * 8, (6, 2)),  # the piece of MARS
        ([3, 4, 4, 4, 3, 4, 4, 3, 4, 4], (6, 2)),  # PETS
        ([17] * 50, (20, 6)),  # Market-1501: the published ones
        ([1000] * 3, (20, 6)),
        ([1] * 30, (2, 1)),
    ],
)
def test_neighbours_follow_from_the_items_that_a_person_has(counts, expected):
    persons = np.repeat(np.arange(len(counts)), counts)
    assert choose_neighbours(persons, len(persons)) == expected


def test_neighbours_without_labels_follow_from_the_size():
    assert choose_neighbours(None, 36) == (6, 2)
    assert choose_neighbours(None, 100_000) == (20, 6)
    assert choose_neighbours(None, 3) == (2, 1)
