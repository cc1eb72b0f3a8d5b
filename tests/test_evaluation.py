"""The rankings beside appearance: mask, joint metric, re-ranking, and when they are left out."""

import dataclasses
import logging

import numpy as np
import pytest
from PIL import Image

from st_reid import plots, report
from st_reid.config import EvalConfig, JointConfig, RerankConfig, TrainConfig, check_ranges
from st_reid.data.tracklet import Tracklet
from st_reid.errors import UserError
from st_reid.evaluation import Retrieval, fit_transit_times, prepare, rank_all
from st_reid.retrieval import SpatialTemporalModel, cosine_distance, joint_score, rerank

DELAYS = {"a": 0, "b": 10_000, "c": 40_000}


def passing(person, camera, time):
    return Tracklet(f"{person}{camera}{time}", ("none.jpg",), person, camera, time)


@pytest.fixture(scope="module")
def network():
    """Three cameras that persons pass in order; training and test persons, and noisy features of the latter."""
    rng = np.random.default_rng(0)

    def walk(person):
        start = rng.integers(0, 200_000)
        return [passing(person, camera, float(start + delay)) for camera, delay in DELAYS.items()]

    train = [t for i in range(30) for t in walk(f"train{i}")]
    test = [t for i in range(25) for t in walk(f"test{i}")]
    centres = {t.person: rng.standard_normal(16) for t in test}
    retrieval = Retrieval.of(test[::3], test, EvalConfig())
    features = np.stack([centres[t.person] + 1.2 * rng.standard_normal(16) for t in retrieval.tracklets])
    return train, retrieval, features


def test_joint_is_above_mask_is_above_appearance(network):
    train, retrieval, features = network
    model = fit_transit_times(train, retrieval, JointConfig())
    rankings = rank_all(retrieval, features, model, EvalConfig(rerank=RerankConfig(use=True, k1=5, k2=2)))
    names = ["appearance", "camera_mask", "joint"]
    assert list(rankings) == [*names, *(f"{name}_reranked" for name in names)]
    mean_ap = {name: ranking.result.mAP for name, ranking in rankings.items()}
    assert mean_ap["joint"] > mean_ap["camera_mask"] + 0.02 > mean_ap["appearance"] + 0.05
    over = report.gain({name: ranking.result for name, ranking in rankings.items()})
    assert over["mAP"] == pytest.approx(mean_ap["joint"] - mean_ap["camera_mask"], abs=1e-6)
    assert over["interval95"]["mAP"][0] < over["mAP"] < over["interval95"]["mAP"][1]


def test_the_matrices_are_what_they_are_called(network):
    train, retrieval, features = network
    model = fit_transit_times(train, retrieval, JointConfig())
    config = EvalConfig(joint=JointConfig(gamma_time=50.0), rerank=RerankConfig(use=True, k1=5, k2=2))
    rankings = rank_all(retrieval, features, model, config)
    query, gallery = retrieval.split(features)
    appearance = cosine_distance(query, gallery)
    np.testing.assert_array_equal(rankings["appearance"].distances, appearance)
    np.testing.assert_array_equal(rankings["appearance_reranked"].distances, rerank(query, gallery, k1=5, k2=2))
    same = np.array([[q.camera == g.camera for g in retrieval.gallery] for q in retrieval.query])
    mask = np.asarray(rankings["camera_mask"].distances)
    np.testing.assert_array_equal(mask[~same], appearance[~same])
    assert mask[same].min() > appearance.max()
    q, g = (
        [[getattr(t, key) for t in part] for key in ("camera", "time")] for part in (retrieval.query, retrieval.gallery)
    )
    p = model.probability(*q, *g)
    np.testing.assert_allclose(
        1 - np.asarray(rankings["joint"].distances), joint_score(1 - appearance, p, gamma_time=50.0), atol=1e-6
    )


def test_choosing_sigma_and_gamma_finds_that_times_tell_much(network):
    from st_reid.retrieval import choose_constants

    train = network[0]
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((len(train), 16))  # appearance tells nothing: times have to
    columns = [[getattr(t, key) for t in train] for key in ("person", "camera", "time")]
    choice = choose_constants(noise, *columns)
    assert choice.gamma_time > 5
    assert choice.mAP == max(choice.tried.values()) > choice.tried[50.0, 5.0]
    assert choose_constants(noise, *columns) == choice
    with pytest.raises(UserError, match="4 identities are too few for cross-validation; expected at least 10"):
        choose_constants(noise[:12], *[column[:12] for column in columns])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rerank": RerankConfig(use=True, k1=200)}, "k1 is 200; expected 1 up to 99"),
        ({"rerank": RerankConfig(use=True, k1=3, k2=9)}, "k2 is 9"),
        ({"joint": JointConfig(choose=True, model="x.npz")}, "pass one of them"),
        ({"joint": JointConfig(model="x.npz")}, "x.npz is not there"),
    ],
)
def test_what_an_evaluation_would_stumble_over_is_found_before(network, change, message):
    with pytest.raises(UserError, match=message):
        prepare(*network[:2], EvalConfig(**change))
    with pytest.raises(UserError, match="3 identities are too few"):
        prepare(network[0][:9], network[1], EvalConfig(joint=JointConfig(choose=True)))


@pytest.mark.parametrize(
    "change", [{"bin_width": 0}, {"sigma": -3}, {"gamma_time": float("nan")}, {"lambda_time": float("inf")}]
)
def test_constants_out_of_range(change):
    (name,) = change
    config = TrainConfig(eval=EvalConfig(joint=JointConfig(**change)))
    with pytest.raises(UserError, match=f"eval.joint.{name} is .*expected a positive number"):
        check_ranges(config)


def without_times(tracklets):
    return [dataclasses.replace(t, time=None) for t in tracklets]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train, r: (without_times(train[:3]) + train[3:], r), "3 of 90 training tracklets have no time"),
        (lambda train, r: ([], r), "no person of 0 was seen by two"),
        (
            lambda train, r: ([t for t in train if t.camera == "a"], r),
            "no person of 30 was seen by two of the 1 cameras",
        ),
        (
            lambda train, r: ([dataclasses.replace(t, camera=f"x{t.camera}") for t in train], r),
            "the test cameras are a, b, c, the transit times are of xa, xb, xc; they have none in common",
        ),
        (
            lambda train, r: (train, dataclasses.replace(r, query=(*without_times(r.query[:1]), *r.query[1:]))),
            "1 of 76 query and gallery tracklets have no time",
        ),
    ],
)
def test_no_joint_metric_says_why_or_fails_when_it_is_wanted(network, change, message, caplog):
    train, retrieval = change(*network[:2])
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(train, retrieval, JointConfig()) is None
    assert message in caplog.text
    with pytest.raises(UserError, match=message):
        fit_transit_times(train, retrieval, JointConfig(use="always"))
    caplog.clear()
    assert fit_transit_times(train, retrieval, JointConfig(use="never")) is None
    assert not caplog.text


def test_without_any_times_nothing_is_said(network, caplog):
    train, retrieval, _ = network
    nothing = dataclasses.replace(
        retrieval, query=tuple(without_times(retrieval.query)), gallery=tuple(without_times(retrieval.gallery))
    )
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(without_times(train), nothing, JointConfig()) is None
    assert not caplog.text


def test_transit_times_of_another_dataset(network, caplog):
    train, retrieval, _ = network
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(train, retrieval, JointConfig(), same_network=False) is None
    assert "of another dataset" in caplog.text


def test_fitted_transit_times_serve_where_nothing_can_be_fitted(network, tmp_path, caplog):
    train, retrieval, _ = network
    model = fit_transit_times([t for t in train if t.camera != "c"], retrieval, JointConfig())
    assert "to and from camera c are not known" in caplog.text
    model.save(tmp_path / "m.npz")
    again = fit_transit_times([], retrieval, JointConfig(model=str(tmp_path / "m.npz")))
    np.testing.assert_array_equal(again.curves, model.curves)
    with pytest.raises(UserError, match="is not there"):
        fit_transit_times(train, retrieval, JointConfig(model=str(tmp_path / "no.npz")))


def test_pictures(network, tmp_path):
    train, retrieval, features = network
    image = tmp_path / "x.png"
    Image.new("RGB", (16, 32), "gray").save(image)
    seen = [
        tuple(dataclasses.replace(t, paths=(image,)) for t in part) for part in (retrieval.query, retrieval.gallery)
    ]
    retrieval = dataclasses.replace(retrieval, query=seen[0], gallery=seen[1])
    model = fit_transit_times(train, retrieval, JointConfig())
    rankings = rank_all(retrieval, features, model, EvalConfig())
    model.plot(tmp_path / "transit.png")
    matrices = rankings["appearance"].distances, rankings["joint"].distances
    plots.changed_sheet(retrieval, *matrices, tmp_path / "changed.png", queries=4)
    tall = Image.open(tmp_path / "changed.png").height
    plots.changed_sheet(retrieval, matrices[0], matrices[0], tmp_path / "same.png")  # nothing changed
    assert Image.open(tmp_path / "same.png").height < tall
    assert Image.open(tmp_path / "transit.png").width > 300
    one = SpatialTemporalModel.fit(["x", "x"], ["a", "b"], [0, 10])
    one.plot(tmp_path / "one.png")
