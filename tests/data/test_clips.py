"""Clip samplers: tables of cases worked out by hand, and what must hold for any length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_reid.data.clips import FRAMES, RANDOM_SAMPLERS, SAMPLERS, evaluation_clips
from st_reid.errors import UserError

LENGTHS = st.integers(1, 200)
SEQ_LENS = st.integers(1, 16)
SEEDS = st.integers(0, 2**32 - 1)


def sample(name: str, n_frames: int, seq_len: int, seed: int = 0):
    return SAMPLERS.get(name)(n_frames, seq_len, np.random.default_rng(seed))


def test_names():
    assert SAMPLERS.names() == ["all", "begin_interval", "dense", "evenly", "random_interval", "restricted_random"]
    assert {"random_interval", "restricted_random"} == RANDOM_SAMPLERS


CASES = [
    ("begin_interval", 57, 8, [[0, 8, 16, 24, 32, 40, 48, 56]]),  # 57 = 8 * 7 + 1 just allows stride 8
    ("begin_interval", 56, 8, [[0, 4, 8, 12, 16, 20, 24, 28]]),
    ("begin_interval", 15, 8, [[0, 2, 4, 6, 8, 10, 12, 14]]),
    ("begin_interval", 8, 8, [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ("begin_interval", 3, 8, [[0, 1, 2, 0, 1, 2, 0, 1]]),
    ("begin_interval", 1, 4, [[0, 0, 0, 0]]),
    ("dense", 9, 4, [[0, 2, 4, 6], [1, 3, 5, 7]]),  # frame 8 is not seen
    ("dense", 7, 4, [[0, 1, 2, 3]]),
    ("dense", 4, 4, [[0, 1, 2, 3]]),
    ("dense", 3, 4, [[0, 1, 2, 0]]),
    ("dense", 3, 1, [[0], [1], [2]]),
    ("evenly", 9, 3, [[0, 4, 8]]),
    ("evenly", 10, 4, [[0, 3, 6, 9]]),
    ("evenly", 4, 4, [[0, 1, 2, 3]]),
    ("evenly", 2, 4, [[0, 0, 1, 1]]),
    ("evenly", 1, 3, [[0, 0, 0]]),
    ("evenly", 9, 1, [[4]]),
    ("all", 8, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
    ("all", 5, 4, [[0, 1, 2, 3], [4, 4, 4, 4]]),
    ("all", 2, 4, [[0, 1, 1, 1]]),
    ("restricted_random", 4, 4, [[0, 1, 2, 3]]),  # a chunk of one frame leaves no choice
    ("restricted_random", 3, 6, [[0, 0, 1, 1, 2, 2]]),
    ("random_interval", 4, 4, [[0, 1, 2, 3]]),
    ("random_interval", 1, 3, [[0, 0, 0]]),
]


@pytest.mark.parametrize(("name", "n_frames", "seq_len", "expected"), CASES)
def test_cases(name, n_frames, seq_len, expected):
    clips = sample(name, n_frames, seq_len)
    assert clips.indices.tolist() == expected
    assert clips.weights.tolist() == [len(set(clip)) for clip in expected]


@pytest.mark.parametrize("name", SAMPLERS.names())
@given(n_frames=LENGTHS, seq_len=SEQ_LENS, seed=SEEDS)
def test_shape_range_and_order(name, n_frames, seq_len, seed):
    clips = sample(name, n_frames, seq_len, seed)
    assert clips.indices.shape == (len(clips.weights), seq_len)
    assert clips.indices.dtype == np.int64
    assert clips.indices.min() >= 0
    assert clips.indices.max() < n_frames
    loops = name in ("begin_interval", "dense") and n_frames < seq_len
    assert loops or (np.diff(clips.indices, axis=1) >= 0).all()
    assert (clips.weights >= 1).all()


@given(n_frames=LENGTHS, seq_len=SEQ_LENS)
def test_all_holds_every_frame_once(n_frames, seq_len):
    clips = sample("all", n_frames, seq_len)
    real = [i for clip, weight in zip(clips.indices, clips.weights, strict=True) for i in clip[: int(weight)]]
    assert real == list(range(n_frames))


@given(n_frames=LENGTHS, seq_len=SEQ_LENS)
def test_begin_interval_is_the_widest_stride_that_fits(n_frames, seq_len):
    expected = [i % n_frames for i in range(seq_len)]
    for stride in (1, 2, 4, 8):
        if stride * (seq_len - 1) + 1 <= n_frames:
            expected = list(range(0, stride * seq_len, stride))
    assert sample("begin_interval", n_frames, seq_len).indices.tolist() == [expected]


@given(n_frames=LENGTHS, seq_len=SEQ_LENS)
def test_dense_sees_all_but_the_remainder(n_frames, seq_len):
    seen = np.unique(sample("dense", n_frames, seq_len).indices)
    assert seen.tolist() == list(range(max(min(n_frames, seq_len), n_frames - n_frames % seq_len)))


@given(n_frames=LENGTHS, seq_len=SEQ_LENS, seed=SEEDS)
def test_random_interval_stays_in_its_strides(n_frames, seq_len, seed):
    (clip,) = sample("random_interval", n_frames, seq_len, seed).indices
    stride = next((s for s in (8, 4, 2, 1) if seq_len * s <= n_frames), None)
    if stride is None:
        return
    # Some start must put one frame into each stride.
    starts = range(n_frames - stride * seq_len + 1)
    assert any((((clip - start) // stride) == np.arange(seq_len)).all() for start in starts)


@given(n_frames=LENGTHS, seq_len=SEQ_LENS, seed=SEEDS)
def test_restricted_random_has_one_frame_in_each_chunk(n_frames, seq_len, seed):
    (clip,) = sample("restricted_random", n_frames, seq_len, seed).indices
    for i, frame in enumerate(clip):
        # chunk i is [i, i + 1) * n_frames / seq_len, its bounds rounded down
        assert i * n_frames // seq_len <= frame <= max((i + 1) * n_frames // seq_len - 1, i * n_frames // seq_len)


@pytest.mark.parametrize("name", ["random_interval", "restricted_random"])
def test_random_samplers_reach_every_frame(name):
    seen = {int(i) for seed in range(300) for i in sample(name, 11, 4, seed).indices.ravel()}
    assert seen == set(range(11))


def test_random_interval_draws_short_tracklets_with_replacement():
    clips = {tuple(sample("random_interval", 3, 4, seed).indices[0]) for seed in range(300)}
    assert {(0, 0, 0, 0), (0, 0, 1, 2), (2, 2, 2, 2)} <= clips


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_one_seed_gives_one_clip(name):
    assert np.array_equal(sample(name, 100, 8, 5).indices, sample(name, 100, 8, 5).indices)
    if name in RANDOM_SAMPLERS:
        assert not np.array_equal(sample(name, 100, 8, 5).indices, sample(name, 100, 8, 6).indices)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_errors(name):
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="0 frames"):
        SAMPLERS.get(name)(0, 8, rng)
    with pytest.raises(UserError, match="seq_len is 0"):
        SAMPLERS.get(name)(8, 0, rng)
    if name in RANDOM_SAMPLERS:
        with pytest.raises(UserError, match=f"{name}.*rng"):
            SAMPLERS.get(name)(8, 8, None)
    else:
        SAMPLERS.get(name)(8, 8, None)


def test_an_unknown_sampler_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'evenly'"):
        SAMPLERS.get("evently")


# What an evaluation sees of a tracklet


@pytest.mark.parametrize("name", SAMPLERS.names())
@given(n_frames=LENGTHS, seq_len=SEQ_LENS, seed=SEEDS)
def test_shuffled_clips_are_clips_of_a_shuffled_tracklet(name, n_frames, seq_len, seed):
    def clips(frames):
        return evaluation_clips(name, n_frames, seq_len, frames=frames, seed=seed, number=7)

    ordered, shuffled = clips("ordered"), clips("shuffled")
    places = dict(zip(ordered.indices.ravel().tolist(), shuffled.indices.ravel().tolist(), strict=True))
    assert [[places[i] for i in clip] for clip in ordered.indices.tolist()] == shuffled.indices.tolist()
    assert len(set(places.values())) == len(
        places
    )  # a permutation: what differed differs, what was the same is the same
    assert shuffled.weights.tolist() == ordered.weights.tolist()
    assert np.array_equal(shuffled.indices, clips("shuffled").indices)
    separate = clips("separate")
    assert separate.indices.ravel().tolist() == [i for clip in ordered.indices.tolist() for i in sorted(set(clip))]
    assert (separate.indices.shape[1], set(separate.weights.tolist())) == (1, {1.0})
    one = clips("one")
    assert (one.indices.tolist(), one.weights.tolist()) == ([[(n_frames - 1) // 2]], [1.0])


def test_each_tracklet_and_seed_has_its_own_order():
    def order(**which):
        return evaluation_clips("all", 12, 12, frames="shuffled", **which).indices[0].tolist()

    assert sorted(order()) == list(range(12))
    assert len({tuple(order(number=n)) for n in range(5)} | {tuple(order(seed=s)) for s in range(1, 5)}) == 9
    assert set(FRAMES) == {"ordered", "shuffled", "separate", "one"}
