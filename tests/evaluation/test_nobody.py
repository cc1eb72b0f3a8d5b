"""Tracklets of nobody known: unknown ones may be anybody's, distractors are certainly none of the persons'."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import make_features

from st_reid.config import EvalConfig, ExpandConfig, RerankConfig
from st_reid.data.tracklet import DISTRACTOR, UNKNOWN, Tracklet, learnable
from st_reid.errors import UserError
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import evaluate_features, prepare
from st_reid.evaluation.report import figures
from st_reid.features.calibration import bootstrap_threshold, open_set
from st_reid.features.pairs import label_pairs
from st_reid.retrieval import SpatialTemporalModel, cosine_distance
from st_reid.retrieval.bootstrap import mean_interval


def brute_force(features, unknown):
    """Return rank-1 and mAP over the valid queries, counted one by one; same camera is junk."""
    distances = cosine_distance(features.features, features.features)
    first, precisions = [], []
    for q, person in enumerate(features.person.tolist()):
        if person in (UNKNOWN, DISTRACTOR):
            continue
        order = [
            g
            for g in np.argsort(distances[q], kind="stable").tolist()
            if not (features.person[g] == person and features.camera[g] == features.camera[q])
            and not (features.person[g] == UNKNOWN and unknown == "junk")
        ]
        hits = [i for i, g in enumerate(order, 1) if features.person[g] == person]
        if hits:
            first.append(hits[0] == 1)
            precisions.append(np.mean([n / rank for n, rank in enumerate(hits, 1)]))
    return np.mean(first), np.mean(precisions), len(first)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["junk", "wrong"]))
def test_rankings_against_a_count(seed, unknown):
    features = make_features(persons=6, each=4, noise=1.5, seed=seed)
    rng = np.random.default_rng(seed)
    person = features.person.astype(object)
    person[rng.random(len(person)) < 0.2] = UNKNOWN
    person[rng.random(len(person)) < 0.2] = DISTRACTOR
    features = replace(features, person=person.astype(str))
    config = EvalConfig(unknown=unknown)
    try:
        pairs = QueryGallery.of(features, features, config)
    except UserError:
        return  # nobody is left with a match
    result = evaluate_features(pairs, features, config, None).rankings["appearance"].result
    rank1, mean_ap, valid = brute_force(features, unknown)
    assert (result.cmc[0], result.mAP, result.num_valid) == (pytest.approx(rank1), pytest.approx(mean_ap), valid)


def test_what_became_of_nobody_is_said():
    features = make_features(persons=4, each=4)
    person = features.person.astype("U20")
    person[:2], person[4] = UNKNOWN, DISTRACTOR
    features = replace(features, person=person)
    said = QueryGallery.of(features, features, EvalConfig()).describe()
    assert said["queries"] == "3 of 16 are of nobody known, and not asked"
    assert said["unknown"] == "2 gallery tracklets of unknown persons are left out"
    assert said["distractors"] == "1 gallery tracklets are certainly none of the persons"
    wrong = QueryGallery.of(features, features, EvalConfig(unknown="wrong"))
    assert wrong.describe()["unknown"] == "2 gallery tracklets of unknown persons are counted as wrong"
    assert len(wrong.gallery) == 16
    known = make_features(persons=4, each=4)
    assert set(QueryGallery.of(known, known, EvalConfig()).describe()) == {"name", "junk", "ap"}
    nobody = replace(known, person=np.full(16, UNKNOWN))
    with pytest.raises(UserError, match="32 tracklets have no person"):
        QueryGallery.of(nobody, nobody, EvalConfig())


def with_distractors(features, count, seed=1):
    """Add distractors, all alike, as false detections of one poster are."""
    rng = np.random.default_rng(seed)
    alike = rng.normal(size=features.features.shape[1]) + 0.01 * rng.normal(size=(count, features.features.shape[1]))
    return replace(
        features,
        features=np.concatenate([features.features, alike]).astype(np.float32),
        tracklet=np.array([f"t{i}" for i in range(len(features) + count)]),
        person=np.concatenate([features.person, np.full(count, DISTRACTOR)]),
        camera=np.concatenate([features.camera, np.full(count, "9")]),
        time=np.zeros(len(features) + count),
        frames=np.ones(len(features) + count, int),
        **dict.fromkeys(("last", "split", "clothes", "conditions")),
    )


def test_distractors_are_no_pair_of_one_person():
    """190 pairs of 20 distractors counted as of one person before: TAR 14.4 % where 100 % is right."""
    features = make_features(persons=8, each=4, noise=0.05)
    both = with_distractors(features, 20)
    plain, pairs = label_pairs(features), label_pairs(both)
    np.testing.assert_allclose(pairs.same.values, plain.same.values, atol=1e-6)
    assert len(pairs.same) == len(plain.same)
    assert len(pairs.different) == len(plain.different) + 20 * len(features)
    threshold = pairs.threshold(0.01)
    assert pairs.true_accepts(threshold) == 1.0
    low, high = bootstrap_threshold(both, pairs, 0.05, samples=50)
    assert low <= high
    found = open_set(both, threshold)
    assert (found.queries, found.found) == (len(features), 1.0)
    with pytest.raises(UserError, match="0 pairs of one person"):
        label_pairs(both.take(both.person == DISTRACTOR))


def test_the_interval_is_over_persons():
    """21 queries, 3 of them valid and all of one person: "100 to 100" was said before."""
    assert mean_interval(np.ones(3), np.array(["a"] * 3)) is None
    values, persons = np.array([1.0] * 10 + [0.0] * 10), np.repeat(["a", "b"], 10)
    assert mean_interval(values, persons) == (0.0, 1.0)  # two persons, drawn with replacement
    rng = np.random.default_rng(0)
    values, persons = rng.random(400), np.repeat(np.arange(40), 10)
    low, high = mean_interval(values, persons)
    means = values.reshape(40, 10).mean(axis=1)
    expected = 1.96 * means.std(ddof=1) / np.sqrt(40)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.15)
    features = make_features(persons=1, each=4)
    other = replace(features.take([0]), person=np.array(["other"]), tracklet=np.array(["x"]))
    gallery = features.followed_by(other)
    pairs = QueryGallery.of(features, gallery, EvalConfig())
    result = evaluate_features(pairs, gallery, EvalConfig(), None).rankings["appearance"].result
    assert figures(result)["interval95"] == {"rank1": None, "mAP": None}


def tracklet(person, split="train"):
    return Tracklet(f"{person}{split}", ("x.jpg",), person, "1")


def test_nobody_is_learned(caplog):
    some = [tracklet("ann"), tracklet(UNKNOWN), tracklet(DISTRACTOR), tracklet("bob")]
    with caplog.at_level("INFO"):
        assert [t.person for t in learnable(some, "set")] == ["ann", "bob"]
    assert "set: 2 training tracklets of nobody known are left out" in caplog.text
    with pytest.raises(UserError, match="2 training tracklets have no person"):
        learnable(some[1:3])


def test_unknown_persons_have_no_transit_times():
    features = make_features(persons=6, each=4)
    unknown = replace(features, person=np.where(np.arange(24) % 4 == 3, UNKNOWN, features.person))
    assert len(unknown.passings[0]) == 18
    assert SpatialTemporalModel.fit(*unknown.passings).counts.sum() == 6  # a pair of cameras for each person


def test_the_camera_mask_needs_no_times():
    features = replace(make_features(persons=6, each=4, noise=1.0), time=np.full(24, np.nan))
    pairs = QueryGallery.of(features, features, EvalConfig())
    assert prepare(features, pairs, EvalConfig()) is None
    assert list(evaluate_features(pairs, features, EvalConfig(), None).rankings) == ["appearance", "camera_mask"]
    one = replace(features, camera=np.full(24, "1"))
    pairs = QueryGallery.of(one, one, EvalConfig())
    assert list(evaluate_features(pairs, one, EvalConfig(), None).rankings) == ["appearance"]


@pytest.mark.parametrize(
    ("rerank", "used"),
    [
        (RerankConfig(use=True), "k1 6, k2 2, lambda 0.3"),
        (RerankConfig(use=True, k1=10), "k1 10, k2 3, lambda 0.3"),
        (RerankConfig(use=True, k1=20, k2=6), "k1 20, k2 6, lambda 0.3"),
    ],
)
def test_neighbours_of_the_re_ranking_are_printed(rerank, used, caplog):
    features = make_features(persons=8, each=4, noise=1.0)
    config = EvalConfig(rerank=rerank)
    pairs = QueryGallery.of(features, features, config)
    with caplog.at_level("INFO"):
        found = evaluate_features(pairs, features, config, None)
    assert found.used == {"rerank": used}
    assert f"rerank: {used}" in caplog.text


def test_expansion_leaves_the_query_itself_out():
    features = make_features(persons=8, each=4, noise=1.2, seed=3)
    pairs = QueryGallery.of(features, features, EvalConfig())
    plain, expanded = (
        evaluate_features(pairs, features, EvalConfig(expand=expand), None).rankings["appearance"]
        for expand in (ExpandConfig(), ExpandConfig(queries=1, gallery=1))
    )
    assert np.abs(np.asarray(plain.distances) - expanded.distances).max() > 0.01
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    similarity = unit @ unit.T - 2 * np.eye(len(unit))
    gallery = unit + unit[similarity.argmax(axis=1)]
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    nearest = (unit @ gallery.T - 2 * np.eye(len(unit))).argmax(axis=1)
    query = unit + gallery[nearest]
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(expanded.distances), 1 - query @ gallery.T, atol=1e-5)
