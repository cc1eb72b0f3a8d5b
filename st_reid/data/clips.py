"""Clip sampling: which frames of a tracklet make a clip. Pure functions of the tracklet's length.

A sampler maps ``(n_frames, seq_len, rng)`` to :class:`ClipIndices`. Indices count from 0 and never decrease inside a
clip, except if the sampler is documented to loop short tracklets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import numpy as np

from st_reid.data.sampling import derived_rng
from st_reid.errors import UserError
from st_reid.registry import Registry

FRAMES = {
    "ordered": "",
    "shuffled": "the frames of a tracklet shuffled",
    "separate": "each frame a clip of its own",
    "one": "the middle frame of a tracklet alone",
}
"""What an evaluation sees of a tracklet, in words for the report."""
SINGLE_FRAMES = ("separate", "one")
"""Those whose clips have one frame."""
SHUFFLE_KEY = 11  # of the random numbers that shuffle the frames of a tracklet
STRIDES = (8, 4, 2, 1)  # tried in this order by PSTA's samplers


class ClipIndices(NamedTuple):
    """The clips drawn from one tracklet.

    Attributes:
        indices: (n_clips, seq_len) frame numbers, int64.
        weights: (n_clips,) number of different frames in each clip, float64: its share in a mean over clips.
    """

    indices: np.ndarray
    weights: np.ndarray


Sampler = Callable[[int, int, "np.random.Generator | None"], ClipIndices]
SAMPLERS: Registry[Sampler] = Registry("sampler")
"""All clip samplers, by name."""
RANDOM_SAMPLERS: set[str] = set()
"""Names of the samplers that draw from ``rng``; the others give the same clips every time."""


def _sampler(name: str, *, random: bool = False) -> Callable[[Callable[..., np.ndarray]], Sampler]:
    """Register a function that returns indices as a sampler that checks its arguments and adds the weights."""

    def decorate(function: Callable[..., np.ndarray]) -> Sampler:
        @wraps(function)
        def sample(n_frames: int, seq_len: int, rng: np.random.Generator | None = None) -> ClipIndices:
            if n_frames < 1:
                raise UserError(f"sampler {name!r} got a tracklet of {n_frames} frames; expected at least 1")
            if seq_len < 1:
                raise UserError(f"seq_len is {seq_len}; a clip needs at least 1 frame")
            if random and rng is None:
                raise UserError(f"sampler {name!r} is random and got no rng; pass a numpy Generator")
            indices = function(n_frames, seq_len, rng) if random else function(n_frames, seq_len)
            indices = np.atleast_2d(indices).astype(np.int64)
            weights = np.array([len(np.unique(clip)) for clip in indices], dtype=np.float64)
            return ClipIndices(indices, weights)

        SAMPLERS.add(name, sample)
        if random:
            RANDOM_SAMPLERS.add(name)
        return sample

    return decorate


@_sampler("random_interval", random=True)
def random_interval(n_frames: int, seq_len: int, rng: np.random.Generator) -> np.ndarray:
    """One clip: a random start, then one random frame inside each of ``seq_len`` strides (PSTA's training).

    The stride is the first of 8, 4, 2, 1 with ``n_frames >= seq_len * stride``. A shorter tracklet gives ``seq_len``
    draws with replacement, sorted.
    """
    stride = next((s for s in STRIDES if n_frames >= seq_len * s), None)
    if stride is None:
        return np.sort(rng.integers(n_frames, size=seq_len))
    start = rng.integers(n_frames - seq_len * stride + 1)
    return start + stride * np.arange(seq_len) + rng.integers(stride, size=seq_len)


@_sampler("begin_interval")
def begin_interval(n_frames: int, seq_len: int) -> np.ndarray:
    """One clip: frames from the beginning with a fixed stride (PSTA's test on MARS).

    The stride is the first of 8, 4, 2, 1 with ``n_frames >= stride * (seq_len - 1) + 1``. A shorter tracklet is looped.
    """
    stride = next((s for s in STRIDES if n_frames >= s * (seq_len - 1) + 1), 1)
    return stride * np.arange(seq_len) % n_frames


@_sampler("dense")
def dense(n_frames: int, seq_len: int) -> np.ndarray:
    """``n_frames // seq_len`` clips; clip i takes every such frame from i on (PSTA's test on DukeMTMC-VideoReID).

    The last ``n_frames % seq_len`` frames are not used. A tracklet of ``seq_len`` frames or fewer is one clip, looped.
    """
    interval = n_frames // seq_len
    if n_frames <= seq_len:
        return np.arange(seq_len) % n_frames
    return np.arange(interval)[:, None] + interval * np.arange(seq_len)


@_sampler("restricted_random", random=True)
def restricted_random(n_frames: int, seq_len: int, rng: np.random.Generator) -> np.ndarray:
    """One clip: one random frame in each of ``seq_len`` chunks, equal up to rounding.

    In a tracklet shorter than ``seq_len`` a chunk is a part of one frame: frame ``i * n_frames // seq_len``.
    """
    bounds = np.arange(seq_len + 1) * n_frames // seq_len
    first = bounds[:-1]
    return rng.integers(first, np.maximum(bounds[1:], first + 1))


@_sampler("evenly")
def evenly(n_frames: int, seq_len: int) -> np.ndarray:
    """One clip: frames at equal distances, from the first to the last frame inclusive.

    A clip of one frame is the middle one. In a tracklet shorter than ``seq_len`` the frames are repeated in
    order, equally often up to rounding.
    """
    if seq_len == 1:
        return np.array([(n_frames - 1) // 2])
    gaps = seq_len - 1
    return (2 * np.arange(seq_len) * (n_frames - 1) + gaps) // (2 * gaps)  # rounds half up


@_sampler("all")
def all_frames(n_frames: int, seq_len: int) -> np.ndarray:
    """Consecutive clips of ``seq_len`` frames that hold every frame once; the last clip repeats its last frame.

    A tracklet shorter than ``seq_len`` is one clip that repeats its last frame.
    """
    n_clips = -(-n_frames // seq_len)
    return np.minimum(np.arange(n_clips * seq_len), n_frames - 1).reshape(n_clips, seq_len)


def evaluation_clips(
    sampler: str, n_frames: int, seq_len: int, *, frames: str = "ordered", seed: int = 0, number: int = 0
) -> ClipIndices:
    """Return the clips by which an evaluation sees a tracklet.

    Args:
        sampler: its name.
        n_frames: of the tracklet.
        seq_len: frames in a clip, T.
        frames: ``ordered``: the sampler's clips. ``shuffled``: the same places of a tracklet whose frames have been
            permuted, so that a clip's frames come from anywhere in it and in any order. ``separate``: every different
            frame of each of the sampler's clips as a clip of one frame. ``one``: the middle frame,
            ``(n_frames - 1) // 2``, as the only clip.
        seed: of random samplers and of the permutation, which is ``derived_rng(seed, SHUFFLE_KEY, number)``'s.
        number: of the tracklet among those evaluated.

    Raises:
        UserError: an unknown sampler, or a number of frames below 1.
    """
    clips = SAMPLERS.get(sampler)(n_frames, seq_len, derived_rng(seed, 2, number))
    if frames == "shuffled":
        order = derived_rng(seed, SHUFFLE_KEY, number).permutation(n_frames)
        return ClipIndices(order[clips.indices], clips.weights)
    if frames in SINGLE_FRAMES:
        single = [np.unique(clip) for clip in clips.indices] if frames == "separate" else [[(n_frames - 1) // 2]]
        indices = np.concatenate(single)[:, None]
        return ClipIndices(indices, np.ones(len(indices)))
    return clips
