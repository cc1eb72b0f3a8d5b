"""Features of tracklets whose frames come one by one."""

import numpy as np
import pytest

from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.errors import UserError
from st_reid.features.extractor import TrackletExtractor


def test_tracks_side_by_side_are_as_one_after_the_other(weights, expected, dataset_folder):
    tracklets = list(read_dataset("manifest", dataset_folder).gallery)[:5]
    extractor = TrackletExtractor(str(weights), device="cpu", precision="float32", batch=2)
    for i in range(6):
        for tracklet in tracklets:
            if i < len(tracklet):
                extractor.add(tracklet.name, read_frame(tracklet.paths[i]))
    for tracklet in tracklets[:4]:
        extractor.close(tracklet.name)
    extractor.flush()
    found = dict(extractor.done())
    found[tracklets[4].name] = extractor.finish(tracklets[4].name)
    for tracklet, feature in zip(tracklets, expected(weights, tracklets), strict=True):
        np.testing.assert_allclose(found[tracklet.name], feature, atol=1e-5)
    assert not list(extractor.done())


def test_frames_that_are_no_pictures(one_weights):
    extractor = TrackletExtractor(str(one_weights), device="cpu")
    with pytest.raises(UserError, match="has no feature; add one first"):
        extractor([])
    for frame in (np.zeros((4, 4)), np.zeros((4, 4, 3)), "x", np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UserError, match="a frame is "):
            extractor([frame])
