"""The rankings beside appearance: mask, joint metric, re-ranking, and when they are left out."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from st_reid import train as train_command
from st_reid.config import EvalConfig, JointConfig, RerankConfig
from st_reid.data.tracklet import Labels
from st_reid.errors import UserError
from st_reid.evaluation import report
from st_reid.evaluation.rankings import fit_transit_times, prepare, rank_all
from st_reid.retrieval import choose_constants, cosine_distance, joint_score, rerank


def take(labels, which):
    """Return some of the tracklets."""
    return Labels(**{name: getattr(labels, name)[which] for name in ("tracklet", "person", "camera", "time", "frames")})


def without_times(labels, which=slice(None)):
    """Return the tracklets, the times of some not known."""
    times = labels.time.copy()
    times[which] = np.nan
    return replace(labels, time=times)


def test_joint_is_above_mask_is_above_appearance(network):
    train, pairs, features = network
    model = fit_transit_times(train, pairs, JointConfig())
    rankings = rank_all(pairs, *pairs.split(features), model, EvalConfig(rerank=RerankConfig(use=True, k1=5, k2=2)))
    names = ["appearance", "camera_mask", "joint"]
    assert list(rankings) == [*names, *(f"{name}_reranked" for name in names)]
    mean_ap = {name: ranking.result.mAP for name, ranking in rankings.items()}
    assert mean_ap["joint"] > mean_ap["camera_mask"] + 0.02 > mean_ap["appearance"] + 0.05
    over = report.gain(rankings["joint"].result, rankings["camera_mask"].result)
    assert over["mAP"] == pytest.approx(mean_ap["joint"] - mean_ap["camera_mask"], abs=1e-6)
    assert over["interval95"]["mAP"][0] < over["mAP"] < over["interval95"]["mAP"][1]


def test_the_matrices_are_what_they_are_called(network):
    train, pairs, features = network
    model = fit_transit_times(train, pairs, JointConfig())
    config = EvalConfig(joint=JointConfig(gamma_time=50.0), rerank=RerankConfig(use=True, k1=5, k2=2))
    rankings = rank_all(pairs, *pairs.split(features), model, config)
    query, gallery = pairs.split(features)
    appearance = cosine_distance(query.features, gallery.features)
    np.testing.assert_array_equal(rankings["appearance"].distances, appearance)
    np.testing.assert_array_equal(
        rankings["appearance_reranked"].distances, rerank(query.features, gallery.features, k1=5, k2=2)
    )
    same = pairs.query.camera[:, None] == pairs.gallery.camera
    mask = np.asarray(rankings["camera_mask"].distances)
    np.testing.assert_array_equal(mask[~same], appearance[~same])
    assert mask[same].min() > appearance.max()
    p = model.probability(pairs.query.camera, pairs.query.time, pairs.gallery.camera, pairs.gallery.time)
    np.testing.assert_allclose(
        1 - np.asarray(rankings["joint"].distances), joint_score(1 - appearance, p, gamma_time=50.0), atol=1e-6
    )


def test_choosing_sigma_and_gamma_finds_that_times_tell_much(network):
    train = network[0]
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((len(train), 16))  # appearance tells nothing: times have to
    columns = train.passings
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
        ({"joint": JointConfig(model="x.npz")}, "no file x.npz"),
    ],
)
def test_what_an_evaluation_would_stumble_over_is_found_before(network, change, message):
    with pytest.raises(UserError, match=message):
        prepare(*network[:2], EvalConfig(**change))
    with pytest.raises(UserError, match="3 identities are too few"):
        prepare(take(network[0], slice(9)), network[1], EvalConfig(joint=JointConfig(choose=True)))


@pytest.mark.parametrize("change", [{"bin_width": 0}, {"sigma": -3}, {"gamma_time": "nan"}, {"lambda_time": "inf"}])
def test_constants_out_of_range(change):
    ((name, value),) = change.items()
    with pytest.raises(UserError, match=f"eval.joint.{name} is .*expected a positive number"):
        train_command.parse([f"--eval.joint.{name}", str(value)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train, pairs: (without_times(train, slice(3)), pairs), "3 of 90 training tracklets have no time"),
        (lambda train, pairs: (Labels.of([]), pairs), "no person of 0 was seen by two"),
        (
            lambda train, pairs: (take(train, train.camera == "a"), pairs),
            "no person of 30 was seen by two of the 1 cameras",
        ),
        (
            lambda train, pairs: (replace(train, camera=np.char.add("x", train.camera)), pairs),
            "the test cameras are a, b, c, the transit times are of xa, xb, xc; they have none in common",
        ),
        (
            lambda train, pairs: (
                train,
                replace(pairs, query=without_times(pairs.query, 0), gallery=without_times(pairs.gallery, 0)),
            ),
            "1 of 75 query and gallery tracklets have no time",
        ),
    ],
)
def test_no_joint_metric_says_why_or_fails_when_it_is_wanted(network, change, message, caplog):
    train, pairs = change(*network[:2])
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(train, pairs, JointConfig()) is None
    assert message in caplog.text
    with pytest.raises(UserError, match=message):
        fit_transit_times(train, pairs, JointConfig(use="always"))
    caplog.clear()
    assert fit_transit_times(train, pairs, JointConfig(use="never")) is None
    assert not caplog.text


def test_without_any_times_nothing_is_said(network, caplog):
    train, pairs, _ = network
    nothing = replace(pairs, query=without_times(pairs.query), gallery=without_times(pairs.gallery))
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(without_times(train), nothing, JointConfig()) is None
    assert not caplog.text


def test_transit_times_of_another_dataset(network, caplog):
    train, pairs, _ = network
    with caplog.at_level(logging.INFO):
        assert fit_transit_times(train, pairs, JointConfig(), same_network=False) is None
    assert "of another dataset" in caplog.text


def test_fitted_transit_times_serve_where_nothing_can_be_fitted(network, tmp_path, caplog):
    train, pairs, _ = network
    model = fit_transit_times(take(train, train.camera != "c"), pairs, JointConfig())
    assert "to and from camera c are not known" in caplog.text
    model.save(tmp_path / "m.npz")
    again = fit_transit_times(Labels.of([]), pairs, JointConfig(model=str(tmp_path / "m.npz")))
    np.testing.assert_array_equal(again.curves, model.curves)
    with pytest.raises(UserError, match="no file"):
        fit_transit_times(train, pairs, JointConfig(model=str(tmp_path / "no.npz")))
