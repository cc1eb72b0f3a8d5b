"""Intervals over persons: against brute force, and how often they hold the truth."""

import numpy as np
import pytest

from st_reid.retrieval.bootstrap import person_mean_interval, person_means


def test_against_brute_force():
    rng = np.random.default_rng(1)
    persons = np.array([f"p{i}" for i in rng.integers(9, size=50)])
    values = rng.normal(size=50)
    names = sorted(set(persons.tolist()))
    means = [float(np.mean([v for v, p in zip(values, persons, strict=True) if p == name])) for name in names]
    np.testing.assert_allclose(person_means(values, persons), means)
    draws = np.random.default_rng(0).integers(len(names), size=(1000, len(names)))
    drawn = sorted(sum(means[i] for i in row) / len(names) for row in draws.tolist())
    expected = np.percentile(drawn, [2.5, 97.5])
    np.testing.assert_allclose(person_mean_interval(values, persons), expected)


def test_a_person_of_many_queries_counts_once():
    persons = np.array(["a"] * 99 + ["b"])
    assert person_means(np.array([1.0] * 99 + [0.0]), persons).mean() == pytest.approx(0.5)
    assert person_mean_interval(np.ones(3), np.array(["a", "a", "a"])) is None


def test_nine_of_ten_intervals_hold_the_truth():
    """Persons differ in what is gained, and their queries in noise: the interval is of the persons' mean."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        count = 35
        own = rng.normal(0.02, 0.1, count)
        sizes = rng.integers(1, 12, count)
        persons = np.repeat(np.arange(count), sizes)
        low, high = person_mean_interval(own[persons] + rng.normal(0, 0.2, len(persons)), persons)
        held += low < 0.02 < high
    assert 0.90 < held / 300 < 0.98
