"""The nearest items against a full sort, and an index against the exact search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from st_reid.errors import UserError
from st_reid.retrieval import CosineDistance, Index, nearest

matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(0, 6))


@given(matrices, st.integers(1, 15), st.integers(0, 3))
def test_the_nearest_are_the_first_of_a_stable_sort(distances, k, seed):
    out = np.random.default_rng(seed).random(distances.shape) < 0.3 * seed / 3
    found, values = nearest(distances, k, lambda rows: out[rows])
    assert found.shape == values.shape == (len(distances), k)
    for row, junk, near, value in zip(distances, out, found, values, strict=True):
        expected = [i for i in np.argsort(row, kind="stable") if not junk[i]][:k]
        assert near.tolist() == expected + [-1] * (k - len(expected))
        np.testing.assert_array_equal(value[: len(expected)], row[expected])
        assert np.isinf(value[len(expected) :]).all()


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_blocks_do_not_matter(seed):
    features = np.random.default_rng(seed).normal(size=(30, 4)).astype(np.float32)
    lazy = CosineDistance(features[:7], features)
    found, values = nearest(lazy, 5)
    expected, same = nearest(np.asarray(lazy, np.float64), 5)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(values, same)
    np.testing.assert_array_equal(found[:, 0], np.arange(7))


def test_an_index_finds_nearly_all_and_comes_back_from_its_file(tmp_path):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(3000, 24)).astype(np.float32)
    queries = gallery[:50] + 0.1 * rng.normal(size=(50, 24)).astype(np.float32)
    index = Index.build(gallery)
    index.save(tmp_path / "i", b"these")
    assert Index.load(tmp_path / "i", b"other") is None
    found, distances = Index.load(tmp_path / "i", b"these").search(queries, 10)
    exact, values = nearest(CosineDistance(queries, gallery), 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert recall > 0.95
    np.testing.assert_allclose(distances[:, 0], values[:, 0], atol=1e-5)
    assert len(index) == 3000


def test_a_file_that_is_no_index(tmp_path):
    (tmp_path / "i").write_bytes(b"0000no index")
    with pytest.raises(UserError, match="cannot be read; remove it"):
        Index.load(tmp_path / "i", b"0000")
