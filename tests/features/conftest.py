"""What the tests of features share: small models, features by them, and a video."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_models import MODELS, write_weights
from small_runs import to_argv

from st_reid import extract
from st_reid.config import ReadConfig
from st_reid.features.extraction import extract_features
from st_reid.features.feature_set import FeatureSet
from st_reid.models.loading import load_for_evaluation
from st_reid.runtime.compute import Compute


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory):
    """Checkpoints by the names of their models. Read only."""
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_weights(name, folder / f"{name}.pth") for name in MODELS}


@pytest.fixture(params=list(MODELS))
def weights(request, weights_of):
    """A checkpoint of a model that uses time, and of one that does not."""
    return weights_of[request.param]


@pytest.fixture
def one_weights(weights_of):
    """A checkpoint, where it does not matter of which model."""
    return weights_of["osnet_x0_25"]


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory):
    """A checkpoint of the same model as ``one_weights``, with other weights."""
    return write_weights("osnet_x0_25", tmp_path_factory.mktemp("weights") / "other.pth", seed=1)


@pytest.fixture(scope="session")
def run_extract():
    """Run the command and return the features that it wrote."""

    def run(weights, output, **settings):
        settings = {"weights": weights, "output": output, "device": "cpu", "precision": "float32", **settings}
        settings = {name.replace("_", "-"): value for name, value in settings.items()} | {"data.workers": 0}
        extract.main(to_argv(settings))
        return FeatureSet.load(output)

    return run


@pytest.fixture(scope="session")
def expected():
    """Return the features of tracklets as evaluation extracts them."""

    def extracted(weights, tracklets):
        loaded = load_for_evaluation(str(weights))
        spec = replace(loaded.spec, batch=3)
        cpu = Compute(torch.device("cpu"), torch.float32)
        return extract_features(loaded.model, tracklets, spec, ReadConfig(workers=0), cpu).features

    return extracted


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """A video of 12 frames in which two tracks move, and its boxes: one of a single frame, one beyond the end."""
    folder = tmp_path_factory.mktemp("video")
    writer = cv2.VideoWriter(str(folder / "gate.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    lines = []
    for i in range(12):
        frame = np.full((120, 160, 3), 60, np.uint8)
        for track, color in ((1, (40, 40, 220)), (2, (40, 220, 40))):
            left = 10 + 6 * i + 40 * (track - 1)
            cv2.rectangle(frame, (left, 30), (left + 20, 90), color, -1)
            if track == 1 or i < 5:
                lines.append(f"{i + 1},{track},{left},30,20,60,1,-1,-1,-1")
        writer.write(frame)
    writer.release()
    lines += ["4,3,50,30,20,60,1,-1,-1,-1", *(f"{n},4,10,30,20,60,1" for n in range(10, 30)), "20,5,10,30,20,60,1"]
    (folder / "boxes.txt").write_text("\n".join(lines) + "\n")
    return folder
