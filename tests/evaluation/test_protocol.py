"""Who is looked for among whom: junk, and what there is to rank."""

import numpy as np
import pytest

from st_reid.config import EvalConfig
from st_reid.data.tracklet import DISTRACTOR, Dataset, Labels, Tracklet, conditions_of
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


def seen(name, person, camera, clothes="", **conditions):
    return Tracklet(name, ("x.jpg",), person, camera, clothes=clothes, conditions=conditions_of(**conditions))


WARDROBE = [
    seen("q", "1", "1", "red", view="aerial"),
    seen("camera", "1", "1", "blue", view="ground"),
    seen("same", "1", "2", "red", view="ground"),
    seen("other", "1", "2", "blue", view="aerial"),
    seen("stranger", "2", "2", "red", view="ground"),
]


@pytest.mark.parametrize(
    ("protocol", "found"),
    [
        ("standard", ["same", "other"]),
        ("clothes_changing", ["other"]),
        ("same_clothes", ["same"]),
        ("aerial_to_ground", ["same"]),
        ("aerial_to_aerial", ["other"]),
    ],
)
def test_a_protocol_says_who_may_be_found(protocol, found):
    asked = pairs(WARDROBE[:1], WARDROBE, protocol=protocol)
    own = asked.gallery.person == "1"
    assert asked.gallery.tracklet[own & ~asked.junk_of(0)].tolist() == found
    assert "stranger" in asked.gallery.tracklet[~asked.junk_of(0)] or protocol == "aerial_to_aerial"
    assert asked.describe()["name"] == protocol
    distances = np.arange(len(asked.gallery), dtype=float)[None]
    assert asked.rank(distances).num_valid == 1


def test_other_protocols_of_the_same_query_and_gallery():
    standard = pairs(WARDROBE[:1], WARDROBE)
    found = standard.under(["clothes_changing", "same_clothes"])
    assert [p.gallery.tracklet[~p.junk_of(0)].tolist() for p in found.values()] == [
        ["other", "stranger"], ["same", "stranger"]
    ]  # fmt: skip
    assert found["same_clothes"].describe()["junk"].endswith("and those of the query's person that differ in clothes")
    with pytest.raises(UserError, match="takes other tracklets than standard"):
        standard.under(["aerial_to_ground"])


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("same_scale", "same_scale needs the scale of every tracklet, and 1 of 1 have none, 'q' first; pass another"),
        ("ground_to_aerial", "needs ground query tracklets, and none of 1 is; views: aerial"),
    ],
)
def test_labels_that_are_missing(protocol, message):
    with pytest.raises(UserError, match=message):
        pairs(WARDROBE[:1], WARDROBE, protocol=protocol)


def test_distractors_need_no_clothes():
    nobody = seen("nobody", DISTRACTOR, "2")
    assert pairs(WARDROBE[:1], [*WARDROBE, nobody], protocol="same_clothes").rank(np.arange(6.0)[None]).mAP == 1
