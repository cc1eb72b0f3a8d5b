"""Query expansion and database augmentation against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_reid.errors import UserError
from st_reid.retrieval.expansion import augment_gallery, expand_queries


def unit(x):
    return x / np.linalg.norm(x)


def brute_force(query, gallery, k, skip=lambda q, g: False):
    out = []
    for q, feature in enumerate(query):
        near = sorted(
            (g for g in range(len(gallery)) if not skip(q, g)), key=lambda g: -float(unit(feature) @ unit(gallery[g]))
        )
        out.append(unit(unit(feature) + sum((unit(gallery[g]) for g in near[:k]), np.zeros(len(feature)))))
    return np.array(out)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(1, 6), st.integers(1, 7))
def test_it_is_the_mean_with_the_nearest(seed, k, queries, items):
    rng = np.random.default_rng(seed)
    query, gallery = rng.standard_normal((queries, 5)), 3 * rng.standard_normal((items, 5))
    np.testing.assert_allclose(expand_queries(query, gallery, k), brute_force(query, gallery, k), atol=1e-5)
    itself = brute_force(gallery, gallery, k, lambda q, g: q == g)
    np.testing.assert_allclose(augment_gallery(gallery, k), itself, atol=1e-5)


def test_what_is_excluded_is_no_neighbour():
    query, gallery = np.eye(2)[:1], np.array([[1.0, 0.0], [0.6, 0.8]])
    excluded = np.array([[True, False]])
    np.testing.assert_allclose(
        expand_queries(query, gallery, 1, lambda rows: excluded[rows]), [unit(np.array([1.6, 0.8]))], atol=1e-6
    )
    np.testing.assert_allclose(expand_queries(query, gallery, 1, lambda rows: ~np.zeros((1, 2), bool)), query)


def test_a_negative_number_of_neighbours():
    with pytest.raises(UserError, match="k is -1; expected 0 or more"):
        expand_queries(np.eye(2), np.eye(2), -1)
