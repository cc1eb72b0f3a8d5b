"""The tracklets for training, validation and test of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from st_reid.config import TrainConfig
from st_reid.data.datasets import read_dataset
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Dataset, Labels, Tracklet, learnable, person_labels
from st_reid.errors import UserError
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import prepare
from st_reid.retrieval import SpatialTemporalModel
from st_reid.runtime.distributed import World

VALIDATION_KEY = 4  # of the random numbers that choose the validation identities


@dataclass(frozen=True)
class Splits:
    """The tracklets of a run.

    Attributes:
        source: the dataset that is trained on.
        tested: the dataset that is tested on.
        learned: tracklets to learn from.
        held_out: tracklets of the validation identities.
        test: query and gallery.
        validation: query and gallery of the validation; ``None`` without validation identities.
        transit_times: for the joint metric, if there is one.
    """

    source: Dataset
    tested: Dataset
    learned: Sequence[Tracklet]
    held_out: Sequence[Tracklet]
    test: QueryGallery
    validation: QueryGallery | None
    transit_times: SpatialTemporalModel | None

    @property
    def num_classes(self) -> int:
        """Identities to learn."""
        return len(person_labels(self.learned))

    def describe(self) -> str:
        """Return how much there is of each, in a line."""
        return (
            f"{self.source.name}: {len(self.learned)} tracklets of {self.num_classes} identities to learn from, "
            f"{len(person_labels(self.held_out))} identities for validation; test on {self.tested.name}: "
            f"{len(self.test.query)} queries, {len(self.test.gallery)} gallery tracklets"
        )


def read_splits(config: TrainConfig, world: World) -> Splits:
    """Read the datasets of a run, and check what would make training or evaluation fail.

    Raises:
        UserError: a dataset that cannot be read or used.
    """
    links = config.data.follow_links
    with world.first_of_node():
        source = read_dataset(config.sources, config.root, config.data.options, follow_links=links)
    tested = source
    if config.targets is not None:
        tested = read_dataset(config.targets, config.target_root or config.root, follow_links=links)
    train = learnable(source.train, source.name)
    test = QueryGallery.of(Labels.of(tested.query), Labels.of(tested.gallery), config.eval)
    transit_times = prepare(Labels.of(source.train), test, config.eval, config.targets is None)
    learned, held_out = split_validation(train, config.val_identities, config.seed)
    validation = None
    if held_out:  # one query for each identity and camera, all tracklets as gallery
        first = {(t.person, t.camera): t for t in reversed(held_out)}
        choosing = replace(config.eval, protocol="standard")  # whatever the test asks, it is short of persons
        validation = QueryGallery.of(Labels.of(list(first.values())), Labels.of(held_out), choosing)
    return Splits(source, tested, learned, held_out, test, validation, transit_times)


def split_validation(
    tracklets: Sequence[Tracklet], count: int | None, seed: int
) -> tuple[list[Tracklet], list[Tracklet]]:
    """Take ``count`` identities that two cameras saw out of the training tracklets, for validation.

    Args:
        tracklets: of the training split.
        count: identities; ``None`` for a tenth of all.
        seed: of the run.

    Returns:
        The tracklets to learn from, and those held out: none if fewer than two identities would be.

    Raises:
        UserError: a negative count, or more than there are identities with two cameras.
    """
    cameras = defaultdict(set)
    for tracklet in tracklets:
        cameras[tracklet.person].add(tracklet.camera)
    eligible = sorted(person for person, seen in cameras.items() if len(seen) > 1)
    if count is None:
        count = min(len(cameras) // 10, len(eligible))
    elif count not in (0, *range(2, len(eligible) + 1)):
        raise UserError(
            f"val_identities is {count}; expected 0, or 2 up to the {len(eligible)} training identities "
            "that two cameras saw"
        )
    if count < 2:
        return list(tracklets), []
    held_out = set(derived_rng(seed, VALIDATION_KEY).choice(eligible, size=count, replace=False).tolist())
    return [t for t in tracklets if t.person not in held_out], [t for t in tracklets if t.person in held_out]
