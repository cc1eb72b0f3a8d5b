"""Who is looked for among whom: junk, and what there is to rank."""

import numpy as np
import pytest

from st_reid.config import EvalConfig
from st_reid.data.tracklet import Dataset, Labels, Tracklet
from st_reid.errors import UserError
from st_reid.evaluation.protocol import QueryGallery
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import cosine_distance


def tracklet(name, person, camera):
    return Tracklet(name, ("x.jpg",), person, camera)


def pairs(query, gallery, **options):
    return QueryGallery.of(Labels.of(query), Labels.of(gallery), EvalConfig(**options))


def test_junk_is_same_camera_with_two_cameras_and_same_tracklet_with_one():
    a, b, c = tracklet("a", "1", "1"), tracklet("b", "1", "1"), tracklet("c", "2", "1")
    one = pairs([a], [a, b, c])
    assert one.junk == "same_tracklet"
    assert one.rank(np.array([[0.0, 0.1, 0.2]])).mAP == 1  # a itself is left out, b is found
    two = pairs([a], [a, b, tracklet("d", "1", "2")])
    assert two.junk == "same_camera"
    assert two.rank(np.array([[0.0, 0.1, 0.2]])).num_valid == 1
    said_outright = QueryGallery.of(two.query, two.gallery, EvalConfig(junk="same_tracklet"))
    assert said_outright.rank(np.array([[0.0, 0.1, 0.2]])).first_rank[0] == 1
    with pytest.raises(UserError, match="no query has a match"):
        pairs([a], [a, b, c], junk="same_camera")


def test_tracklets_in_both_splits_are_extracted_once():
    a, b = tracklet("a", "1", "1"), tracklet("b", "1", "2")
    dataset = Dataset("test", query=(a,), gallery=(b, a))
    assert dataset.test == (a, b)
    features = FeatureSet.of_tracklets(dataset.test, np.eye(2, dtype=np.float32))
    query, gallery = pairs(dataset.query, dataset.gallery).split(features)
    np.testing.assert_allclose(cosine_distance(query.features, gallery.features), [[1, 0]])


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ([], [tracklet("a", "1", "1")], "0 query and 1 gallery"),
        ([tracklet("a", "", "1")], [tracklet("b", "1", "1")], "1 tracklets have no person"),
    ],
)
def test_nothing_to_evaluate(query, gallery, message):
    with pytest.raises(UserError, match=message):
        pairs(query, gallery)
