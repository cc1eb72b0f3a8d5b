"""The drawing behind the ``walkers`` dataset: people, how they walk, the cameras, and what gets in the way.

Lengths are in units of a person's height, angles in radians, times in frames, colours in RGB from 0 to 255. Every
random number comes from :func:`random`, so that no person, camera or tracklet depends on the order of the drawing.
"""

from __future__ import annotations

import numpy as np

STREAMS = ("camera", "look", "person", "route", "tracklet", "passer-by", "outfit")


def random(seed: int, stream: str, *index: int) -> np.random.Generator:
    """Return the generator of one thing: the ``index``-th of a ``stream``."""
    return np.random.default_rng([seed, STREAMS.index(stream), *index])
