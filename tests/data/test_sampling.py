"""P x K batches: every identity in turn, different tracklets and cameras where there are any."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_reid.data.sampling import IdentityBatchSampler, derived_rng
from st_reid.errors import UserError


def sampler(labels, cameras=None, P=2, K=2, seed=0, batches=None, **share):
    return IdentityBatchSampler(
        labels, cameras, persons_per_batch=P, clips_per_person=K, seed=seed, batches=batches, **share
    )


@st.composite
def problems(draw):
    """Labels and cameras of tracklets, P, K, seed, batches."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=12))
    labels = [10 * label for label, size in enumerate(sizes) for _ in range(size)]
    cameras = draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)))
    P = draw(st.integers(1, len(sizes)))
    return labels, cameras, P, draw(st.integers(1, 7)), draw(st.integers(0, 9)), draw(st.none() | st.integers(1, 20))


@given(problems())
def test_batches(problem):
    labels, cameras, P, K, seed, n_batches = problem
    batch_sampler = sampler(labels, cameras, P, K, seed, n_batches)
    batches = list(batch_sampler)
    assert len(batches) == len(batch_sampler) == (n_batches or -(-len(set(labels)) // P))
    assert [draw.number for batch in batches for draw in batch] == list(range(len(batches) * P * K))

    identities = []
    for batch in batches:
        groups = [[draw.tracklet for draw in batch[p * K : p * K + K]] for p in range(P)]
        owners = [{labels[t] for t in group} for group in groups]
        assert all(len(owner) == 1 for owner in owners)
        assert len(set.union(*owners)) == P  # different persons
        identities += [owner.pop() for owner in owners]
        for group in groups:
            check_group(group, labels, cameras)
    # Before an identity is dealt for the nth time, all are dealt n - 1 times.
    n = len(set(labels))
    for start in range(0, len(identities) - n + 1, n):
        assert len(set(identities[start : start + n])) == n


def check_group(group, labels, cameras):
    own = [t for t, label in enumerate(labels) if label == labels[group[0]]]
    times = Counter(group)
    assert max(times.values()) - min(times[t] for t in own) <= 1  # each equally often up to rounding
    own_cameras = {cameras[t] for t in own}
    assert len({cameras[t] for t in group}) == min(len(own_cameras), len(group))


@given(problems(), st.integers(2, 4))
def test_processes_share_the_batches_of_one(problem, processes):
    labels, cameras, P, K, seed, n_batches = problem
    if P % processes:
        with pytest.raises(UserError, match=f"{processes} processes share {P} persons"):
            sampler(labels, cameras, P, K, seed, n_batches, processes=processes)
        return
    whole = list(sampler(labels, cameras, P, K, seed, n_batches))
    shares = [
        list(sampler(labels, cameras, P, K, seed, n_batches, rank=r, processes=processes)) for r in range(processes)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        for rank, part in enumerate(parts):
            groups = [batch[p * K : p * K + K] for p in range(rank, P, processes)]  # identities r::W
            assert part == [draw for group in groups for draw in group]


@given(problems(), st.integers(0, 20))
def test_an_epoch_is_gone_on_with(problem, start):
    whole = list(sampler(*problem))
    rest = sampler(*problem)
    rest.set_epoch(0, start)
    assert list(rest) == whole[start:]
    assert len(rest) == len(whole)


def test_epochs_differ_and_repeat():
    labels = [i // 3 for i in range(30)]
    first, second = sampler(labels, seed=4), sampler(labels, seed=4)
    assert list(first) == list(second)
    first.set_epoch(1)
    assert [d.tracklet for b in first for d in b] != [d.tracklet for b in second for d in b]
    second.set_epoch(1)
    assert list(first) == list(second)
    assert {draw.epoch for batch in first for draw in batch} == {1}
    assert [d.tracklet for b in sampler(labels, seed=5) for d in b] != [d.tracklet for b in sampler(labels) for d in b]


def test_chance_decides_which_tracklets():
    counts = Counter()
    batch_sampler = sampler([0] * 4, [0, 0, 1, 1], P=1, K=1)
    for epoch in range(2000):
        batch_sampler.set_epoch(epoch)
        counts.update(draw.tracklet for batch in batch_sampler for draw in batch)
    assert all(400 < counts[t] < 600 for t in range(4))


def test_random_numbers_of_different_keys_differ():
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
    draws = [derived_rng(seed, *key).random() for seed in (0, 1) for key in keys]
    assert len(set(draws)) == len(draws)
    assert derived_rng(3, 1, 2).random() == derived_rng(3, 1, 2).random()


def test_errors():
    with pytest.raises(UserError, match=r"2 identities.*needs 3"):
        sampler([0, 0, 1], P=3)
    with pytest.raises(UserError, match="0 identities"):
        sampler([], P=1)
    with pytest.raises(UserError, match="at least 1"):
        sampler([0, 1], K=0)
    with pytest.raises(UserError, match="at least 1"):
        sampler([0, 1], batches=0)
    with pytest.raises(UserError, match="seed is -1"):
        list(sampler([0, 1], seed=-1))
