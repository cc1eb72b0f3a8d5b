"""What the tests of evaluation share."""

import numpy as np
import pytest
from small_data import write_dataset
from small_runs import to_argv

from st_reid import extract
from st_reid.config import EvalConfig
from st_reid.data.tracklet import Dataset, Labels, Tracklet
from st_reid.evaluation.protocol import QueryGallery
from st_reid.features.feature_set import FeatureSet


@pytest.fixture(scope="session")
def crowd_folder(tmp_path_factory):
    """A manifest dataset of 24 persons, four of each colour, so that no ranking is perfect. Read only."""
    return write_dataset(tmp_path_factory.mktemp("crowd"), persons=24, frames=2, apart=3000)


@pytest.fixture(scope="session")
def every_split(finished_run, crowd_folder, tmp_path_factory):
    """A file of the features of all splits, by the model of the finished run. Read only."""
    output = tmp_path_factory.mktemp("features") / "features.npz"
    settings = {"weights": finished_run / "checkpoints" / "best.pth", "root": crowd_folder, "output": output}
    settings |= {"split": "train+query+gallery", "device": "cpu", "precision": "float32", "data.workers": 0}
    extract.main(to_argv(settings))
    return output


DELAYS = {"a": 0, "b": 10_000, "c": 40_000}


def passing(person, camera, time):
    return Tracklet(f"{person}{camera}{time}", ("none.jpg",), person, camera, time)


@pytest.fixture(scope="session")
def network():
    """Training tracklets, query and gallery, and noisy features of both: three cameras that persons pass in order."""
    rng = np.random.default_rng(0)

    def walk(person):
        start = rng.integers(0, 200_000)
        return [passing(person, camera, float(start + delay)) for camera, delay in DELAYS.items()]

    train = [t for i in range(30) for t in walk(f"train{i}")]
    test = [t for i in range(25) for t in walk(f"test{i}")]
    centres = {t.person: rng.standard_normal(16) for t in test}
    dataset = Dataset("network", query=tuple(test[::3]), gallery=tuple(test))
    pairs = QueryGallery.of(Labels.of(dataset.query), Labels.of(dataset.gallery), EvalConfig())
    noisy = np.stack([centres[t.person] + 1.2 * rng.standard_normal(16) for t in dataset.test])
    return Labels.of(train), pairs, FeatureSet.of_tracklets(dataset.test, noisy)
