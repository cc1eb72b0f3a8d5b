"""Distances against SciPy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from st_reid.errors import UserError
from st_reid.retrieval import cosine_distance


def test_cosine_equals_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 16)), rng.standard_normal((7, 16))
    np.testing.assert_allclose(cosine_distance(a, b), cdist(a, b, "cosine"), atol=1e-6)


def test_a_zero_feature_is_at_distance_one():
    np.testing.assert_array_equal(cosine_distance(np.zeros((1, 4)), np.ones((2, 4))), np.ones((1, 2)))


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (np.ones((1, 3)), np.ones((1, 4)), "3 dimensions, gallery features 4"),
        (np.ones(3), np.ones((1, 3)), r"expected \(N, D\)"),
        (np.array([[1.0, np.nan]]), np.ones((1, 2)), "row 0"),
    ],
)
def test_errors(query, gallery, message):
    with pytest.raises(UserError, match=message):
        cosine_distance(query, gallery)
