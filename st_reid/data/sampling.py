"""Batches of P persons x K clips, and the random numbers of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from st_reid.errors import UserError


class Draw(NamedTuple):
    """The index of a training item: its tracklet, and its place in the run, which seeds its random numbers."""

    epoch: int
    number: int
    tracklet: int


def derived_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that belongs to ``key``, for example ``(epoch, index)``, in the run of ``seed``.

    No state is kept between draws, so workers and resuming do not change what is drawn.

    Raises:
        UserError: a negative seed.
    """
    if seed < 0:
        raise UserError(f"seed is {seed}; expected 0 or more")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class IdentityBatchSampler:
    """Yield batches of :class:`Draw`: P different identities with K clips each, those of one identity together.

    Identities are dealt in rounds. A round is a shuffle of all of them; the next begins when it is used up, so each
    identity is dealt once before any is dealt again. If a batch reaches into the next round, it first takes
    identities that are not in it yet. An epoch is the first ``batches`` batches of its own rounds: by default one
    round, filled up to whole batches.

    The K clips of an identity come from different tracklets if it has K, and from as many cameras as possible;
    an identity with fewer tracklets has each drawn equally often up to rounding.

    Args:
        labels: identity of each tracklet.
        cameras: camera of each tracklet; ``None`` to ignore cameras.
        persons_per_batch: P.
        clips_per_person: K.
        seed: of the run; with the epoch it determines every batch.
        batches: batches per epoch.
        rank: number of this process among those that share each batch: it gets the identities ``rank::processes`` of
            the batch, and so whole ones, and no tracklet that another one gets.
        processes: how many share each batch.

    Raises:
        UserError: fewer identities than P, a P, K or ``batches`` below 1, or a P that the processes cannot share.
    """

    def __init__(
        self,
        labels: Sequence[int],
        cameras: Sequence[int] | None = None,
        *,
        persons_per_batch: int,
        clips_per_person: int,
        seed: int,
        batches: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if persons_per_batch < 1 or clips_per_person < 1:
            raise UserError(
                f"a batch of {persons_per_batch} persons x {clips_per_person} clips; both must be at least 1"
            )
        if batches is not None and batches < 1:
            raise UserError(f"batches per epoch is {batches}; expected at least 1")
        # identity -> camera -> tracklets
        self._tracklets: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, label in enumerate(labels):
            self._tracklets[label][0 if cameras is None else cameras[index]].append(index)
        self._identities = np.array(sorted(self._tracklets))
        n = len(self._identities)
        if n < persons_per_batch:
            raise UserError(
                f"{n} identities to train on; a batch needs {persons_per_batch}: lower the persons per batch"
            )
        self.persons_per_batch = persons_per_batch
        self.clips_per_person = clips_per_person
        self.batches = -(-n // persons_per_batch) if batches is None else batches
        if persons_per_batch % processes:
            raise UserError(
                f"{processes} processes share {persons_per_batch} persons a batch; make it a multiple of {processes}"
            )
        self.seed = seed
        self.rank, self.processes = rank, processes
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.batches

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = derived_rng(self.seed, 0, self.epoch)
        epoch, number = self.epoch, 0
        waiting: list[int] = []
        for position in range(self.batches):
            if len(waiting) < self.persons_per_batch:
                shuffled = rng.permutation(self._identities).tolist()
                # Identities that are already in the batch go to the end of the new round; sorting is stable.
                waiting += sorted(shuffled, key=set(waiting).__contains__)
            batch = []
            for place, identity in enumerate(waiting[: self.persons_per_batch]):
                for tracklet in self._deal(identity, rng):  # in every process, so that all draw the same
                    if place % self.processes == self.rank:
                        batch.append(Draw(epoch, number, tracklet))
                    number += 1
            del waiting[: self.persons_per_batch]
            if position >= self.start:
                yield batch

    def _deal(self, identity: int, rng: np.random.Generator) -> list[int]:
        """Draw K tracklets of an identity: one of each camera, then a second of each, and from the start again."""
        dealt: list[int] = []
        while len(dealt) < self.clips_per_person:
            piles = [rng.permutation(pile).tolist() for pile in self._tracklets[identity].values()]
            ranked = [(rank, rng.random(), t) for pile in piles for rank, t in enumerate(pile)]
            dealt += [tracklet for _, _, tracklet in sorted(ranked)]
        return dealt[: self.clips_per_person]
