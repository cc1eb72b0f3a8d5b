"""Extraction and the protocol, with models whose features are known."""

import numpy as np
import pytest
import torch
from torch import nn

from st_reid.compute import Compute
from st_reid.config import EvalConfig, ReadConfig
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.data.tracklet import Tracklet
from st_reid.engine import ClipReader, Totals, extract_features
from st_reid.errors import UserError
from st_reid.evaluation import Retrieval

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


def reader(sampler="all", batch=4, **read):
    return ClipReader(64, 32, 4, 0, ReadConfig(workers=0, **read), EvalConfig(sampler=sampler, batch=batch))


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return read_dataset("manifest", dataset_folder)


def test_a_frame_level_feature_is_the_exact_mean_over_frames(dataset):
    features = extract_features(MeanColor(uses_time=False), dataset.gallery, reader(), CPU)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for tracklet, feature in zip(dataset.gallery, features, strict=True):
        pixels = np.stack([read_frame(p).numpy() for p in tracklet.paths]).mean(axis=(0, 2, 3)) / 255
        np.testing.assert_allclose(feature, (pixels - mean) / std, atol=1e-4)


def test_a_clip_model_sees_clips_and_padding_weighs_nothing_extra(dataset):
    model = MeanColor(uses_time=True)
    tracklet = dataset.gallery[0]  # 5 frames: a clip of 4, and one of the last frame, four times
    (feature,) = extract_features(model, [tracklet], reader(), CPU)
    assert set(model.frames_seen) == {4}
    (expected,) = extract_features(MeanColor(uses_time=False), [tracklet], reader(), CPU)
    np.testing.assert_allclose(feature, expected, atol=1e-5)


@pytest.mark.parametrize("sampler", ["all", "evenly", "dense"])
def test_batches_do_not_matter(dataset, sampler):
    one, many = (
        extract_features(MeanColor(uses_time=True), dataset.gallery, reader(sampler, batch), CPU) for batch in (1, 7)
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


def tracklet(name, person, camera):
    return Tracklet(name, ("x.jpg",), person, camera)


def test_junk_is_same_camera_with_two_cameras_and_same_tracklet_with_one():
    a, b, c = tracklet("a", "1", "1"), tracklet("b", "1", "1"), tracklet("c", "2", "1")
    one = Retrieval.of([a], [a, b, c], EvalConfig())
    assert one.junk == "same_tracklet"
    assert one.rank(np.array([[0.0, 0.1, 0.2]])).mAP == 1  # a itself is left out, b is found
    two = Retrieval.of([a], [a, b, tracklet("d", "1", "2")], EvalConfig())
    assert two.junk == "same_camera"
    assert two.rank(np.array([[0.0, 0.1, 0.2]])).num_valid == 1
    said_outright = Retrieval.of(two.query, two.gallery, EvalConfig(junk="same_tracklet"))
    assert said_outright.rank(np.array([[0.0, 0.1, 0.2]])).first_rank[0] == 1
    with pytest.raises(UserError, match="no query has a match"):
        Retrieval.of([a], [a, b, c], EvalConfig(junk="same_camera"))


def test_tracklets_in_both_splits_are_extracted_once():
    a, b = tracklet("a", "1", "1"), tracklet("b", "1", "2")
    retrieval = Retrieval.of([a], [b, a], EvalConfig())
    assert retrieval.tracklets == [a, b]
    np.testing.assert_allclose(retrieval.distances(np.eye(2)), [[1, 0]])


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ([], [tracklet("a", "1", "1")], "0 query and 1 gallery"),
        ([tracklet("a", "", "1")], [tracklet("b", "1", "1")], "1 tracklets have no person"),
    ],
)
def test_nothing_to_evaluate(query, gallery, message):
    with pytest.raises(UserError, match=message):
        Retrieval.of(query, gallery, EvalConfig())


def test_an_unknown_device():
    with pytest.raises(UserError, match="device 'gpu' cannot be used"):
        Compute.choose("gpu")


def test_means_of_an_epoch_leave_out_what_is_not_finite():
    totals = Totals(data_seconds=1.0, compute_seconds=3.0, clips=8)
    totals.add({"loss": 1.0, "grad_norm": float("inf")})
    totals.add({"loss": 2.0, "grad_norm": 4.0})
    row = totals.row()
    assert (row["loss"], row["grad_norm"], row["steps"], row["clips_per_second"]) == (1.5, 4.0, 2, 2.0)
