"""Features of tracklets, by models whose features are known."""

import numpy as np
import pytest
import torch
from torch import nn

from st_reid.config import ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.features.extraction import extract_features
from st_reid.runtime.compute import Compute

CPU = Compute(torch.device("cpu"), torch.float32)


class MeanColor(nn.Module):
    """The mean colour of a clip: a feature that can be computed by hand."""

    def __init__(self, uses_time):
        super().__init__()
        self.uses_time = uses_time
        self.frames_seen = []

    def forward(self, clips):
        self.frames_seen.append(clips.shape[1])
        return clips.mean(dim=(1, 3, 4))


def extract(model, tracklets, sampler="all", batch=4):
    spec = ClipSpec(64, 32, 4, sampler=sampler, batch=batch)
    return extract_features(model, tracklets, spec, ReadConfig(workers=0), CPU).features


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return read_dataset("manifest", dataset_folder)


def test_a_frame_level_feature_is_the_exact_mean_over_frames(dataset):
    features = extract(MeanColor(uses_time=False), dataset.gallery)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for tracklet, feature in zip(dataset.gallery, features, strict=True):
        pixels = np.stack([read_frame(p) for p in tracklet.paths]).mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(feature, (pixels - mean) / std, atol=1e-4)


def test_a_clip_model_sees_clips_and_padding_weighs_nothing_extra(dataset):
    model = MeanColor(uses_time=True)
    tracklet = dataset.gallery[0]  # 5 frames: a clip of 4, and one of the last frame, four times
    (feature,) = extract(model, [tracklet])
    assert set(model.frames_seen) == {4}
    (expected,) = extract(MeanColor(uses_time=False), [tracklet])
    np.testing.assert_allclose(feature, expected, atol=1e-5)


@pytest.mark.parametrize("sampler", ["all", "evenly", "dense"])
def test_batches_do_not_matter(dataset, sampler):
    one, many = (extract(MeanColor(uses_time=True), dataset.gallery, sampler, batch) for batch in (1, 7))
    np.testing.assert_allclose(one, many, atol=1e-6)
