"""Intervals of means over queries, by drawing persons: the queries of one person are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_interval(
    values: NDArray[np.floating], persons: NDArray, *, level: float = 0.95, samples: int = 1000
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a mean, over persons drawn with replacement.

    Args:
        values: (Q,) a query each.
        persons: (Q,) the person of each query.
        level: of the interval.
        samples: how often to draw.

    Returns:
        Its bounds; ``None`` for fewer than two persons.
    """
    codes = np.unique(persons, return_inverse=True)[1]
    count = int(codes.max(initial=-1)) + 1
    if count < 2:
        return None
    sums, sizes = np.bincount(codes, values, count), np.bincount(codes, minlength=count)
    draws = np.random.default_rng(0).integers(count, size=(samples, count))
    low, high = np.percentile(sums[draws].sum(axis=1) / sizes[draws].sum(axis=1), [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def person_means(values: NDArray[np.floating], persons: NDArray) -> NDArray[np.float64]:
    """Return the mean of the values (Q,) of each person (P,), the persons (Q,) in sorted order."""
    codes = np.unique(persons, return_inverse=True)[1]
    return np.bincount(codes, values) / np.bincount(codes)


def person_mean_interval(
    values: NDArray[np.floating], persons: NDArray, *, level: float = 0.95, samples: int = 1000
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean over persons of each person's mean.

    Every person counts the same, however many values there are of it: a query of each split and seed, say.

    Args:
        values: (Q,).
        persons: (Q,) the person of each value.
        level: of the interval.
        samples: how often persons are drawn, with replacement.

    Returns:
        Its bounds; ``None`` for fewer than two persons.
    """
    means = person_means(values, persons)
    return mean_interval(means, np.arange(len(means)), level=level, samples=samples)
