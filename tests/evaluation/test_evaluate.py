"""The evaluate command: by weights of every origin, and by features that were extracted before."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from small_data import write_dataset
from small_runs import to_argv

import st_reid
from st_reid import evaluate
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import FRAMES
from st_reid.data.datasets import read_dataset
from st_reid.evaluation.baselines import fewer_frames
from st_reid.evaluation.report import rankings_in
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import SpatialTemporalModel
from st_reid.torchreid_compat import model_factory


def run(weights, root, output, *more):
    argv = ["--weights", weights, "--sources", "manifest", "--root", root, "--output", output, *more]
    evaluate.main([str(a) for a in argv])


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_load_model_gives_the_reported_model(finished_run, dataset_folder, tmp_path):
    model = st_reid.load_model(finished_run / "checkpoints" / "best.pth")
    assert not model.training
    assert model(torch.zeros(1, 4, 3, 64, 32)).shape == (1, model.feature_dim)
    weights = finished_run / "checkpoints" / "best.pth"
    run(weights, dataset_folder, tmp_path / "eval", "--data.workers", 0, "--baselines")
    content, trained = report(tmp_path / "eval"), report(finished_run)
    assert content["appearance"] == trained["appearance"]
    assert content["color_histogram"] == trained["color_histogram"]
    assert content["protocol"] == trained["protocol"]
    assert (tmp_path / "eval/plots/contact_sheet.png").exists()


def test_a_torchreid_checkpoint_is_evaluated_without_its_classifier(dataset_folder, tmp_path, caplog):
    model = model_factory()["osnet_x0_25"](num_classes=33, pretrained=False)
    torch.save({"state_dict": model.state_dict(), "epoch": 1, "rank1": np.float64(0.5)}, tmp_path / "w.pth")
    caplog.set_level("INFO")
    more = ["--arch", "osnet_x0_25", "--height", 64, "--width", 32, "--data.workers", 0]
    run(tmp_path / "w.pth", dataset_folder, tmp_path / "eval", *more)
    assert "left out model.classifier.bias, model.classifier.weight" in caplog.text
    assert report(tmp_path / "eval")["appearance"]["num_valid"] == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"not a checkpoint", "cannot be read|damaged"),
        ({"state_dict": {"w": torch.zeros(1)}}, "does not say which model"),
        ({"state_dict": {"w": torch.zeros(1)}, "model": {"name": "psta_resnet18", "num_classes": 2}}, "none of its 1"),
    ],
)
def test_weights_that_will_not_do(content, message, dataset_folder, tmp_path, command_error, monkeypatch):
    weights = tmp_path / "w.pth"
    if isinstance(content, bytes):
        weights.write_bytes(content)
    elif content:
        torch.save(content, weights)
    argv = ["--weights", weights, "--sources", "manifest", "--root", dataset_folder, "--output", tmp_path / "out"]
    assert re.search(message, command_error(evaluate.main, argv, monkeypatch))
    assert not (tmp_path / "out").exists()


def test_transit_times_are_chosen_and_rankings_re_ranked_on_request(finished_run, dataset_folder, tmp_path):
    weights = finished_run / "checkpoints" / "best.pth"
    options = ["--data.workers", 0, "--eval.rerank.use", "--eval.rerank.k1", 3, "--eval.rerank.k2", 2]
    options += ["--eval.joint.model", finished_run / "spatial_temporal.npz", "--precision", "float32"]
    run(weights, dataset_folder, tmp_path / "a", *options)
    first = report(tmp_path / "a")
    assert first["joint"] | {"constants": 0} == report(finished_run)["joint"] | {"constants": 0}
    assert first["joint_reranked"]["num_valid"] == 6
    assert first["joint"]["over_camera_mask"]["mAP"] == pytest.approx(
        first["joint"]["mAP"] - first["camera_mask"]["mAP"], abs=1e-5
    )


def test_constants_are_chosen(tmp_path, finished_run, caplog):
    (tmp_path / "d").mkdir()
    folder = write_dataset(tmp_path / "d", persons=10, frames=1)
    with caplog.at_level("INFO"):
        run(finished_run / "checkpoints" / "best.pth", folder, tmp_path / "a", "--eval.joint.choose")
    assert "the best of 25 by cross-validation on training identities" in caplog.text
    used = report(tmp_path / "a")["joint"]["constants"]
    assert f"sigma {used['sigma']:g}, gamma_time {used['gamma_time']:g}" in caplog.text


def test_a_file_of_transit_times_brings_its_constants(finished_run, dataset_folder, tmp_path):
    SpatialTemporalModel.fit(["x", "x"], ["cam0", "cam1"], [0, 100], bin_width=4, sigma=5).save(tmp_path / "m.npz")
    weights = finished_run / "checkpoints" / "best.pth"
    run(weights, dataset_folder, tmp_path / "a", "--eval.joint.model", tmp_path / "m.npz")
    used = report(tmp_path / "a")["joint"]["constants"]
    assert (used["bin_width"], used["sigma"], used["gamma_time"]) == (4, 5, 5)


@pytest.mark.parametrize(
    ("frames", "row"),
    [
        ("shuffled", "shuffled"),
        pytest.param("one", "one_frame", marks=pytest.mark.slow),
        pytest.param("separate", None, marks=pytest.mark.slow),
    ],
)
def test_fewer_frames_are_a_row_of_the_run_and_an_option(frames, row, finished_run, dataset_folder, tmp_path):
    weights = finished_run / "checkpoints" / "best.pth"
    run(weights, dataset_folder, tmp_path / "out", "--data.workers", 0, "--eval.frames", frames, "--baselines")
    found, trained = report(tmp_path / "out"), report(finished_run)
    assert found["protocol"]["frames"] == f"{trained['protocol']['frames']}, {FRAMES[frames]}"
    assert not {"one_frame", "shuffled"} & set(found)
    if row is not None:
        gain = trained[row].pop("appearance_over_this")
        assert found["appearance"] == trained[row]
        assert gain["mAP"] == pytest.approx(trained["appearance"]["mAP"] - found["appearance"]["mAP"], abs=1e-5)
        assert gain["rank1"] == pytest.approx(trained["appearance"]["rank1"] - found["appearance"]["rank1"], abs=1e-5)


def test_shuffling_a_mean_is_not_computed(dataset_folder):
    tracklets = read_dataset("manifest", dataset_folder).test
    features = FeatureSet.of_tracklets(tracklets, np.eye(len(tracklets), dtype=np.float32))
    asked = []

    def extract(what, spec):
        asked.append((what, spec.frames))
        return replace(features, features=features.features + len(asked))

    found = fewer_frames(features, ClipSpec(), extract, uses_time=False)
    assert found["shuffled"] is features
    assert asked == [("one frame", "one")]
    fewer_frames(features, ClipSpec(sampler="evenly"), extract, uses_time=False)  # other frames come to be seen
    found = fewer_frames(features, ClipSpec(), extract, uses_time=True)
    assert asked[1:] == [("one frame", "one"), ("shuffled", "shuffled")] * 2
    assert found["shuffled"].features.max() == 6


def rankings_of(folder):
    content = report(folder)
    return rankings_in(content) | {key: content[key] for key in ("protocol", "num_query", "num_gallery")}


OPTIONS = ("--eval.rerank.use", "--eval.rerank.k1", 6, "--eval.rerank.k2", 2)


@pytest.fixture(scope="module")
def by_weights(finished_run, crowd_folder, tmp_path_factory):
    """The folder of an evaluation that extracts. Read only."""
    output = tmp_path_factory.mktemp("evaluations") / "by-weights"
    more = ("--precision", "float32", "--data.workers", 0, *OPTIONS)
    run(finished_run / "checkpoints" / "best.pth", crowd_folder, output, *more)
    return output


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_extracted_features_have_the_figures_of_their_weights(suffix, by_weights, every_split, tmp_path):
    features = FeatureSet.load(every_split)
    features.save(tmp_path / f"f{suffix}")
    evaluate.main([*to_argv({"features": tmp_path / f"f{suffix}", "output": tmp_path / "out"}), *map(str, OPTIONS)])
    found, expected = rankings_of(tmp_path / "out"), rankings_of(by_weights)
    names = ("appearance", "camera_mask", "joint")
    assert found.keys() >= {*names, *(f"{name}_reranked" for name in names)}
    assert found == expected
    assert len({expected[name]["mAP"] for name in names}) == 3, "of no use where all are equal"
    pictures = [sorted(p.name for p in (folder / "plots").iterdir()) for folder in (tmp_path / "out", by_weights)]
    assert pictures[0] == pictures[1]


def test_without_the_training_tracklets_there_is_no_joint_metric(by_weights, every_split, tmp_path):
    features = FeatureSet.load(every_split)
    test = replace(features, split=np.char.replace(features.split, "train+", ""))
    assert set(test.split.tolist()) == {"query+gallery", "gallery"}
    test.save(tmp_path / "f.npz")
    evaluate.main([str(a) for a in ("--features", tmp_path / "f.npz", "--output", tmp_path / "out", *OPTIONS)])
    found, expected = rankings_of(tmp_path / "out"), rankings_of(by_weights)
    for name in ("appearance", "camera_mask", "appearance_reranked", "protocol"):
        assert found[name] == expected[name]
    assert "joint" not in found


def without_split(features, path):
    """Write a file as versions did that knew no splits."""
    features.save(path)
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.drop_columns(["split"]), path)
        return
    with np.load(path) as archive:
        columns = {name: archive[name] for name in archive.files if name != "split"}
    np.savez(path, **columns)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_that_does_not_say_its_splits_is_query_and_gallery(suffix, every_split, tmp_path):
    features = FeatureSet.load(every_split)
    without_split(features, tmp_path / f"f{suffix}")
    old = FeatureSet.load(tmp_path / f"f{suffix}")
    assert set(old.split.tolist()) == {"query+gallery"}
    np.testing.assert_array_equal(old.features, features.features)
    np.testing.assert_array_equal(old.thumbnails, features.thumbnails)
    assert old.tracklet.tolist() == features.tracklet.tolist()
    evaluate.main(to_argv({"features": tmp_path / f"f{suffix}", "output": tmp_path / "out"}))
    content = report(tmp_path / "out")
    assert (content["num_query"], content["num_gallery"]) == (48, 48)
    assert 0 < content["appearance"]["mAP"] <= 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "pass either --weights, to extract and rank, or --features"),
        (["--features", "{features}", "--weights", "w.pth"], "pass either --weights, to extract and rank"),
        (["--features", "{features}", "--baselines"], "baselines need the images"),
        (
            ["--features", "{features}", "--eval.frames", "shuffled"],
            "eval.frames is shuffled, and the features are there",
        ),
        (["--features", "missing.npz"], "no file missing.npz"),
    ],
)
def test_features_that_will_not_do(argv, message, every_split, tmp_path, command_error, monkeypatch):
    argv = [a.format(features=every_split) for a in argv]
    assert message in command_error(evaluate.main, [*argv, "--output", tmp_path / "out"], monkeypatch)
    assert not list(tmp_path.iterdir())
