"""Thresholds and rates against their definitions, pair by pair."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from small_data import make_features

from st_reid import calibrate, group
from st_reid.errors import UserError
from st_reid.features import calibration as module
from st_reid.features import pairs as blocks
from st_reid.features.calibration import Calibration, bootstrap_threshold, open_set
from st_reid.features.pairs import STEP, label_pairs
from st_reid.retrieval import cosine_distance
from st_reid.retrieval.matrix import row_blocks


def by_hand(features, across=False):
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    same, different = [], []
    for i in range(len(unit)):
        for j in range(i):
            if not across or features.camera[i] != features.camera[j]:
                (same if features.person[i] == features.person[j] else different).append(unit[i] @ unit[j])
    return sorted(same), sorted(different)


def every(similarities):
    """Return each of the similarities that were counted."""
    return np.repeat(similarities.values, similarities.counts)


def in_blocks_of(rows, monkeypatch):
    """Let pairs be looked at by so many tracklets at a time."""
    monkeypatch.setattr(blocks, "row_blocks", lambda shape: row_blocks(shape, rows * 8 * shape[1]))


@pytest.mark.parametrize("across", [False, True])
def test_pairs(across):
    features = make_features()
    pairs = label_pairs(features, across=across)
    same, different = by_hand(features, across)
    np.testing.assert_allclose(every(pairs.same), same, atol=1e-6)
    np.testing.assert_allclose(every(pairs.different), different, atol=1e-6)


@pytest.mark.parametrize("far", [0.5, 0.03, 0.002])
def test_thresholds_are_those_of_sorted_similarities_to_the_last_digit(far):
    """Nothing is rounded by counting: a threshold is the number next to one of the pairs' own."""
    features = make_features(persons=40, noise=1.2)
    similarity = (1 - cosine_distance(features.features, features.features)).astype(float)
    is_pair = np.triu(np.ones(similarity.shape, bool), 1)
    same = features.person[:, None] == features.person
    different = np.sort(similarity[is_pair & ~same])
    pairs = label_pairs(features)
    np.testing.assert_array_equal(every(pairs.different), different)
    np.testing.assert_array_equal(every(pairs.same), np.sort(similarity[is_pair & same]))
    threshold = np.nextafter(different[-int(far * len(different)) - 1], np.inf)
    assert pairs.threshold(far) == threshold
    assert pairs.true_accepts(threshold) == (similarity[is_pair & same] >= threshold).mean()
    assert [pairs.same.ranked(i) for i in (0, 7, -1)] == every(pairs.same)[[0, 7, -1]].tolist()


def test_similarities_are_counted_at_their_ends_and_of_zero_features():
    features = make_features(persons=3, each=2)
    axis = np.eye(16, dtype=np.float32)[0]
    features = replace(features, features=np.stack([axis, -axis, 3 * axis, -axis, 0 * axis, 0 * axis]))
    pairs = label_pairs(features)
    assert every(pairs.same).tolist() == [-1, -1, 0]
    assert every(pairs.different).tolist() == [-1] * 2 + [0] * 8 + [1] * 2
    assert (every(label_pairs(make_features()).different) / STEP % 1 == 0).all()


@pytest.mark.parametrize("across", [False, True])
def test_the_blocks_do_not_change_what_is_found(across, monkeypatch):
    features = make_features(persons=20, noise=1.2, cameras=3)

    def found():
        pairs = label_pairs(features, across)
        interval = bootstrap_threshold(features, pairs, 0.05, across=across, samples=10)
        return len(pairs.same), pairs.threshold(0.1), interval, vars(open_set(features, 0.4, across))

    whole = found()
    in_blocks_of(7, monkeypatch)
    parts = found()
    assert parts[0] == whole[0]
    np.testing.assert_allclose([parts[1], *parts[2]], [whole[1], *whole[2]], atol=1e-6)
    assert parts[3] == pytest.approx(whole[3])


def test_an_interval_that_needs_too_many_pairs_is_left_out_and_this_is_said(monkeypatch, caplog):
    features = make_features(noise=1.2)
    pairs = label_pairs(features)
    assert bootstrap_threshold(features, pairs, 0.5, samples=5) is not None
    monkeypatch.setattr(module, "MAX_KEPT", 400)  # of 448
    assert bootstrap_threshold(features, pairs, 0.5, samples=5) is None
    assert "no interval of the threshold: it needs the 448 most similar pairs, and 400 are held at most" in caplog.text
    monkeypatch.setattr(module, "MAX_KEPT", 448)
    assert bootstrap_threshold(features, pairs, 0.1, samples=5) is not None


def test_rates_are_those_of_scikit_learn():
    pairs = label_pairs(make_features(noise=1.2))
    scores = np.concatenate([every(pairs.same), every(pairs.different)])
    labels = np.repeat([1, 0], [len(pairs.same), len(pairs.different)])
    far, tar, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    for f, t, threshold in zip(far[1:], tar[1:], thresholds[1:], strict=True):
        assert pairs.false_accepts(threshold) == pytest.approx(f)
        assert pairs.true_accepts(threshold) == pytest.approx(t)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01])
def test_a_threshold_has_its_rate_and_a_lower_one_has_not(rate):
    pairs = label_pairs(make_features(noise=1.2))
    threshold = pairs.threshold(rate)
    assert pairs.false_accepts(threshold) <= rate
    assert pairs.false_accepts(np.nextafter(threshold, -np.inf)) > rate
    assert pairs.threshold(1e-4) is None


def test_open_set_by_hand():
    features = make_features(persons=5, each=2, noise=1.0)
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    threshold = 0.4
    found = wrong = missed = alarms = 0
    for i, row in enumerate(similarity):
        match = features.person == features.person[i]
        best = row.argmax()
        if row[best] < threshold:
            missed += 1
        elif match[best]:
            found += 1
        else:
            wrong += 1
        alarms += row[~match].max() >= threshold
    rates = open_set(features, threshold)
    assert (rates.found, rates.wrong, rates.missed) == (found / 10, wrong / 10, missed / 10)
    assert rates.false_alarms == alarms / 10
    assert rates.found + rates.wrong + rates.missed == pytest.approx(1)


@pytest.mark.parametrize("across", [False, True])
def test_the_bootstrap_is_that_of_pairs_drawn_again(across):
    features, rate, samples = make_features(noise=1.2, cameras=3), 0.1, 20
    rng = np.random.default_rng(5)
    expected = []
    for _ in range(samples):
        drawn = rng.choice(8, 8)
        index = np.concatenate([np.flatnonzero(features.person == f"p{p}") for p in drawn])
        _, different = by_hand(features.take(index), across)
        expected.append(different[-int(rate * len(different)) - 1])
    pairs = label_pairs(features, across)
    found = bootstrap_threshold(features, pairs, rate, across=across, samples=samples, seed=5)
    np.testing.assert_allclose(found, np.percentile(expected, [2.5, 97.5]), atol=1e-6)


def test_tracklets_without_a_label_are_nobody_s_false_alarm():
    features = make_features(each=4, noise=0.05)
    some = replace(features, person=np.where(np.arange(len(features)) % 4 < 2, features.person, ""))
    rates = open_set(some, 0.7)
    assert (rates.found, rates.wrong, rates.false_alarms, rates.queries) == (1, 0, 0, 16)


def test_the_interval_holds_the_threshold():
    features = make_features(noise=0.8, persons=12)
    low, high = bootstrap_threshold(features, label_pairs(features), 0.05, samples=100)
    assert low <= label_pairs(features).threshold(0.05) <= high
    assert low < high


def test_commands(tmp_path, caplog):
    features = make_features(noise=0.9)
    features.save(tmp_path / "f.npz")
    with caplog.at_level("INFO"):
        argv = ["--features", str(tmp_path / "f.npz"), "--output", str(tmp_path / "cal"), "--far", "0.05"]
        calibrate.main([*argv, "--samples", "20"])
    content = json.loads((tmp_path / "cal" / "report.json").read_text())
    calibration = Calibration.load(tmp_path / "cal" / "calibration.json", features)
    assert content["same"] == calibration.same >= calibration.unsure
    assert content["true_accept_rate"] == label_pairs(features).true_accepts(calibration.same)
    assert content["tar_at_far"]["0.0001"] is None
    assert (tmp_path / "cal" / "calibration.png").stat().st_size > 10_000
    assert "TAR at FAR 0.01" in caplog.text
    argv = ["--features", str(tmp_path / "f.npz"), "--output", str(tmp_path / "g.csv")]
    group.main([*argv, "--calibration", str(tmp_path / "cal" / "calibration.json")])
    rows = (tmp_path / "g.csv").read_text().splitlines()
    assert rows[0] == "tracklet,group,camera,time,frames,person"
    assert len(rows) == 33


def test_decisions():
    calibration = Calibration(0.8, 0.5, 0.01)
    assert [calibration.decide(s) for s in (0.9, 0.8, 0.6, 0.5, 0.1)] == [
        "same", "same", "unsure", "unsure", "nobody here",
    ]  # fmt: skip
    with pytest.raises(UserError, match="expected the first below"):
        Calibration(0.5, 0.8, 0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--far": 0}, "far is 0"),
        ({"--far": 0.0001}, "far is 0.0001, and there are 448 pairs of two persons"),
        ({"--features": "missing.npz"}, "no file missing.npz"),
        ({"--features": "f.txt"}, "features are written to .npz or .parquet"),
    ],
)
def test_mistakes(changes, message, tmp_path, command_error, monkeypatch):
    make_features().save(tmp_path / "f.npz")
    settings = {"--features": tmp_path / "f.npz", "--output": tmp_path / "cal"} | changes
    error = command_error(calibrate.main, [a for pair in settings.items() for a in pair], monkeypatch)
    assert message in error
    assert not (tmp_path / "cal").exists()


def test_a_calibration_of_another_model_is_refused(tmp_path):
    Calibration(0.5, 0.4, 0.01, {"fingerprint": "other"}).save(tmp_path / "c.json")
    with pytest.raises(UserError, match="is of the model other, the features are of abc"):
        Calibration.load(tmp_path / "c.json", make_features())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "object missing required field same"),
        ('{"same": NaN, "unsure": 0.1, "false_accept_rate": 0.01}', "no JSON"),
        ('{"same": "0.5", "unsure": 0.1, "false_accept_rate": 0.01}', "same: expected float, got str"),
        ('{"same": 7, "unsure": 0.1, "false_accept_rate": 0.01}', "same: expected float <= 1.001"),
        ('{"same": 0.1, "unsure": 0.2, "false_accept_rate": 0.01}', "expected the first below"),
        ('{"same": 0.2, "unsure": 0.1, "false_accept_rate": 0.01, "about": 3}', "about: expected object, got int"),
        ('{"about": {"x": ' + "[" * 10_000 + "]" * 10_000 + "}}", "nested too deeply"),
        ("", "cut short"),
    ],
)
def test_what_is_no_calibration(text, message, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Calibration.load(path, make_features())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_persons_unknown():
    features = make_features()
    features.person[:] = ""
    with pytest.raises(UserError, match="0 pairs of one person"):
        label_pairs(features)
