"""Who is looked for is found, by whichever way one asks."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_data import write_dataset

from st_reid import search as command
from st_reid.features import search as features_search
from st_reid.retrieval import SpatialTemporalModel


@pytest.fixture(scope="module")
def galleries(weights_of, run_extract, tmp_path_factory):
    """Features by each model, and their files: of persons who come one after the other. Read only."""
    folder = tmp_path_factory.mktemp("galleries")
    root = write_dataset(folder / "dataset", apart=10)
    paths = {weights: folder / f"{name}.npz" for name, weights in weights_of.items()}
    return {weights: (run_extract(weights, path, root=root), path) for weights, path in paths.items()}


@pytest.fixture
def gallery(galleries, weights):
    return galleries[weights]


@pytest.fixture
def one_gallery(galleries, one_weights):
    return galleries[one_weights]


def search(path, output, *argv):
    command.main([str(a) for a in ["--features", path, "--output", output, "--precision", "float32", *argv]])
    return json.loads((output / "search.json").read_text())["queries"]


def test_every_way_of_asking_finds_the_same(gallery, weights, dataset_folder, tmp_path):
    features, path = gallery
    by_name = search(path, tmp_path / "a", "--query", "p0c0", "p1c1", "--top", 4)
    assert [r["query"]["tracklet"] for r in by_name] == ["p0c0", "p1c1"]
    unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
    similarity = unit[features.tracklet == "p0c0"][0] @ unit.T
    similarity[features.tracklet == "p0c0"] = -2
    expected = features.tracklet[np.argsort(-similarity, kind="stable")][:4].tolist()
    assert [row["tracklet"] for row in by_name[0]["found"]] == expected
    assert (tmp_path / "a" / "contact_sheet.png").stat().st_size > 1000
    assert len((tmp_path / "a" / "search.csv").read_text().splitlines()) == 9
    from_images = search(
        path, tmp_path / "b", "--query", dataset_folder / "images" / "p0c0", "--weights", weights, "--top", 1
    )
    assert from_images[0]["found"][0]["tracklet"] == "p0c0"
    assert from_images[0]["found"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    index = search(path, tmp_path / "c", "--query", "p0c0", "p1c1", "--top", 4, "--index")
    assert [[r["tracklet"] for r in q["found"]] for q in index] == [
        [r["tracklet"] for r in q["found"]] for q in by_name
    ]
    every = search(path, tmp_path / "d", "--query", "all", "--top", 1)
    assert len(every) == 12


def test_filters(gallery, tmp_path):
    _, path = gallery
    (found,) = search(path, tmp_path / "a", "--query", "p0c0", "--cameras", "cam1", "--top", 50)
    assert {row["camera"] for row in found["found"]} == {"cam1"}
    assert len(found["found"]) == 6
    (found,) = search(path, tmp_path / "b", "--query", "p0c0", "--other-cameras", "--top", 50)
    assert {row["camera"] for row in found["found"]} == {"cam1"}
    (found,) = search(path, tmp_path / "c", "--query", "p0c0", "--before", 60, "--top", 50)
    assert {row["camera"] for row in found["found"]} == {"cam0"}
    assert len(found["found"]) == 5


def test_another_video_s_tracklet_of_the_same_name_is_not_the_query(gallery, tmp_path):
    features, path = gallery
    replace(features, camera=np.full(len(features), "elsewhere")).save(tmp_path / "q.npz")
    (found, *_) = search(path, tmp_path / "a", "--query", tmp_path / "q.npz", "--top", 1)
    assert [row["tracklet"] for row in found["found"]] == [found["query"]["tracklet"]]


def test_the_query_is_left_out_where_others_have_its_name(gallery, tmp_path):
    features, _ = gallery
    camera = np.array([f"{c}-{i}" for i, c in enumerate(features.camera)])
    same = replace(features, tracklet=np.full(len(features), "0001"), camera=camera)
    same.save(tmp_path / "same.npz")
    for found in search(tmp_path / "same.npz", tmp_path / "a", "--query", "all", "--top", 50):
        others = [row["camera"] for row in found["found"]]
        assert sorted([*others, found["query"]["camera"]]) == sorted(camera)


def test_an_index_is_of_its_features(gallery, tmp_path):
    features, path = gallery
    path = Path(shutil.copy(path, tmp_path))
    search(path, tmp_path / "a", "--query", "p0c0", "--index")
    rng = np.random.default_rng(0)
    other = replace(features, features=rng.normal(size=features.features.shape).astype(np.float32))
    path.unlink()
    other.save(path)
    os.utime(path, (0, 0))  # older than the index, as a file that is moved here may be
    exact = search(path, tmp_path / "b", "--query", "p0c0")
    assert search(path, tmp_path / "c", "--query", "p0c0", "--index") == exact


def test_an_index_finds_what_filters_leave(gallery, tmp_path, monkeypatch):
    _, path = gallery
    monkeypatch.setattr(features_search, "CANDIDATES", 1)
    asked = ["--query", "p0c0", "--cameras", "cam1", "--top", 6]
    exact = search(path, tmp_path / "a", *asked)
    assert len(exact[0]["found"]) == 6
    assert search(path, tmp_path / "b", *asked, "--index") == exact


def test_who_can_be_found_is_counted(gallery, tmp_path, caplog):
    with caplog.at_level("INFO"):
        search(gallery[1], tmp_path / "a", "--query", "all", "--before", 60)
    assert "of 6 queries whose person is there to be found" in caplog.text  # those of the other camera
    with caplog.at_level("INFO"):
        search(gallery[1], tmp_path / "b", "--query", "all")
    assert "of 12 queries whose person is there to be found" in caplog.text


def test_times_count(gallery, tmp_path):
    _, path = gallery
    SpatialTemporalModel.fit(["x", "x"], ["cam0", "cam1"], [0, 100], bin_width=4, sigma=5).save(tmp_path / "t.npz")
    for extra in ([], ["--index"]):
        (found,) = search(
            path,
            tmp_path / f"a{len(extra)}",
            "--query",
            "p0c0",
            "--transit-times",
            tmp_path / "t.npz",
            "--top",
            6,
            *extra,
        )
        assert {row["camera"] for row in found["found"]} == {"cam1"}
        assert found["found"][0]["score"] != found["found"][0]["cosine"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--query", "p0c9"], "unknown tracklet 'p0c9'; did you mean"),
        (["--query", "{folder}/images/p0c0"], "pass its --weights"),
        (["--query", "{folder}", "--weights", "{weights}"], "no images in it"),
        (["--query", "p0c0", "--cameras", "cam7"], "unknown camera 'cam7'"),
        (["--query", "p0c0", "--after", 9999], "the filters leave no tracklet"),
        (["--query", "p0c0", "--top", 0], "top is 0"),
        (["--query", "0012"], "unknown tracklet '0012'"),
        (["--query", "p0c0", "--cameras", "1"], "unknown camera '1'"),
        (
            ["--query", "p0c0", "{folder}/images/p0c0"],
            "'p0c0' is a tracklet of the gallery, and others are no such",
        ),
        (["--query", "{folder}/images/p0c0", "--weights", "{weights}", "--other-cameras"], "as --query-camera"),
        (
            [
                "--query",
                "{folder}/images/p0c0",
                "--weights",
                "{weights}",
                "--other-cameras",
                "--query-camera",
                "kam0",
            ],
            "unknown camera 'kam0'; did you mean 'cam0'",
        ),
        (["--query", "p0c0", "--calibration", "missing.json"], "no file missing.json"),
    ],
)
def test_mistakes(argv, message, one_gallery, one_weights, dataset_folder, tmp_path, command_error, monkeypatch):
    argv = [str(a).format(folder=dataset_folder, weights=one_weights) for a in argv]
    argv = ["--features", one_gallery[1], "--output", tmp_path / "out", "--device", "cpu", *argv]
    assert message in command_error(command.main, argv, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_images_of_another_model(gallery, other_weights, dataset_folder, tmp_path, command_error, monkeypatch):
    argv = ["--features", gallery[1], "--output", tmp_path / "out", "--query", dataset_folder / "images" / "p0c0"]
    error = command_error(command.main, [*argv, "--weights", other_weights], monkeypatch)
    assert "features of two models cannot be compared" in error
