"""Features of one tracklet, by whichever way they come, and what is done with them."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from processes import run

from st_reid import cli, create_model, extract, search
from st_reid.compute import Compute
from st_reid.config import EvalConfig, ReadConfig
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.engine import ClipReader, extract_features
from st_reid.errors import UserError
from st_reid.extractor import TrackletExtractor
from st_reid.features import FeatureSet, same_model
from st_reid.loading import load_for_evaluation
from st_reid.retrieval import SpatialTemporalModel

MODELS = {"psta_osnet_x0_25": {"dim": 16, "levels": 1}, "osnet_x0_25": {}}
CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module", params=list(MODELS))
def weights(request, tmp_path_factory):
    """A checkpoint of a small model, as training writes it."""
    torch.manual_seed(0)
    made_of = {"name": request.param, "num_classes": 3, "seq_len": 4, "height": 64, "width": 32}
    model = create_model(**made_of, **MODELS[request.param])
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save({"state_dict": model.state_dict(), "model": made_of | MODELS[request.param]}, path)
    return path


def run_extract(weights, output, **settings):
    settings = {"weights": weights, "output": output, "device": "cpu", "precision": "float32", **settings}
    argv = [str(a) for name, value in settings.items() for a in (f"--{name.replace('_', '-')}", value)]
    extract.main([*argv, "--data.workers", "0"])
    return FeatureSet.load(output)


def expected(weights, tracklets):
    loaded = load_for_evaluation(str(weights))
    reader = ClipReader(64, 32, 4, 0, ReadConfig(workers=0), EvalConfig(batch=3))
    return extract_features(loaded.model, tracklets, reader, CPU)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_are_those_of_evaluation_by_every_way(suffix, weights, dataset_folder, tmp_path):
    tracklets = list(read_dataset("manifest", dataset_folder).gallery)
    features = run_extract(weights, tmp_path / f"f{suffix}", root=dataset_folder)
    by_name = dict(zip(features.tracklet.tolist(), features.features, strict=True))
    assert by_name.keys() == {t.name for t in tracklets}
    extractor = TrackletExtractor(str(weights), device="cpu", precision="float32", batch=3)
    for tracklet, feature in zip(tracklets, expected(weights, tracklets), strict=True):
        np.testing.assert_allclose(by_name[tracklet.name], feature, atol=1e-5)
        frames = [read_frame(p).permute(1, 2, 0).numpy() for p in tracklet.paths]
        np.testing.assert_allclose(extractor(frames), feature, atol=1e-5)
    row = features.tracklet.tolist().index("p1c0")
    assert (features.person[row], features.camera[row], features.time[row], features.frames[row]) == (
        "person1", "cam0", 0, 6,
    )  # fmt: skip
    assert features.thumbnails.shape == (12, 64, 96, 3)
    assert features.about["arch"] == weights.stem


def test_tracks_side_by_side_are_as_one_after_the_other(weights, dataset_folder):
    tracklets = list(read_dataset("manifest", dataset_folder).gallery)[:5]
    extractor = TrackletExtractor(str(weights), device="cpu", precision="float32", batch=2)
    for i in range(6):
        for tracklet in tracklets:
            if i < len(tracklet):
                extractor.add(tracklet.name, read_frame(tracklet.paths[i]).permute(1, 2, 0).numpy())
    for tracklet in tracklets[:4]:
        extractor.close(tracklet.name)
    extractor.flush()
    found = dict(extractor.done())
    found[tracklets[4].name] = extractor.finish(tracklets[4].name)
    for tracklet, feature in zip(tracklets, expected(weights, tracklets), strict=True):
        np.testing.assert_allclose(found[tracklet.name], feature, atol=1e-5)
    assert not list(extractor.done())


def test_frames_one_by_one(weights, dataset_folder, tmp_path):
    features = run_extract(weights, tmp_path / "f.npz", root=dataset_folder, per_frame="true")
    tracklets = read_dataset("manifest", dataset_folder).gallery
    assert len(features) == sum(len(t) for t in tracklets)
    assert "p1c0#5" in features.tracklet
    assert set(features.frames.tolist()) == {1}
    with pytest.raises(UserError, match="features of two models cannot be compared"):
        same_model(features, run_extract(weights, tmp_path / "g.npz", root=dataset_folder))


def test_folders_of_images(weights, dataset_folder, tmp_path):
    for name in ("p0c0", "p1c0"):
        shutil.copytree(dataset_folder / "images" / name, tmp_path / "in" / "gate" / name)
    shutil.copytree(dataset_folder / "images" / "p2c0", tmp_path / "in" / "loose")
    features = run_extract(weights, tmp_path / "f.npz", sources="folders", root=tmp_path / "in", split="gallery")
    assert features.tracklet.tolist() == ["loose", "gate/p0c0", "gate/p1c0"]
    assert features.camera.tolist() == ["1", "gate", "gate"]
    tracklets = {t.name: t for t in read_dataset("manifest", dataset_folder).gallery}
    (feature,) = expected(weights, [tracklets["p1c0"]])
    np.testing.assert_allclose(features.features[2], feature, atol=1e-5)


def test_folders_with_odd_names(dataset_folder, tmp_path):
    images = sorted((dataset_folder / "images" / "p0c0").iterdir())
    for name in ("²", "10", "9", "night 12:30", ".hidden"):
        shutil.copytree(images[0].parent, tmp_path / name)
    (tmp_path / "9" / "._000.jpg").write_bytes(b"litter")
    (tmp_path / "9" / "more.jpg").mkdir()
    found = read_dataset("folders", tmp_path).gallery
    assert [t.name for t in found] == ["night 12:30", "²", "9", "10"]
    assert [path.name for path in found[2].paths] == [path.name for path in images]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 12 frames in which two tracks move, and its boxes: one of a single frame, one beyond the end."""
    folder = tmp_path_factory.mktemp("video")
    writer = cv2.VideoWriter(str(folder / "gate.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    lines = []
    for i in range(12):
        frame = np.full((120, 160, 3), 60, np.uint8)
        for track, color in ((1, (40, 40, 220)), (2, (40, 220, 40))):
            left = 10 + 6 * i + 40 * (track - 1)
            cv2.rectangle(frame, (left, 30), (left + 20, 90), color, -1)
            if track == 1 or i < 5:
                lines.append(f"{i + 1},{track},{left},30,20,60,1,-1,-1,-1")
        writer.write(frame)
    writer.release()
    lines += ["4,3,50,30,20,60,1,-1,-1,-1", *(f"{n},4,10,30,20,60,1" for n in range(10, 30)), "20,5,10,30,20,60,1"]
    (folder / "boxes.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_video_with_boxes(weights, video, tmp_path, caplog):
    settings = {"video": video / "gate.avi", "tracks": video / "boxes.txt", "camera": "north", "start_time": 100}
    features = run_extract(weights, tmp_path / "f.npz", batch=2, **settings)
    order = np.argsort(features.tracklet)
    assert features.tracklet[order].tolist() == [f"gate_cnorth_000{i}" for i in (1, 2, 3, 4)]
    assert features.frames[order].tolist() == [12, 5, 1, 3]
    assert features.time[order].tolist() == [100, 100, 103, 109]
    assert set(features.camera.tolist()) == {"north"}
    assert (
        "ends with frame 12: 1 tracks go on beyond it, and are cut, and 1 begin there, and are left out" in caplog.text
    )
    assert "never have a box in the picture" not in caplog.text
    capture, crops = cv2.VideoCapture(str(video / "gate.avi")), []
    for i in range(12):
        frame = capture.read()[1]
        crops.append(frame[30:90, 10 + 6 * i : 30 + 6 * i, ::-1].copy())
    feature = TrackletExtractor(str(weights), device="cpu", precision="float32")(crops)
    np.testing.assert_allclose(features.features[order][0], feature, atol=1e-5)


def _extract_and_die(argv, dies_at):
    extract.PART_SECONDS = 0
    original, calls = extract.Parts._write, iter(range(1000))

    def write(self, rows):
        if next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, rows)

    extract.Parts._write = write
    extract.main(argv)


def test_an_interrupted_extraction_does_not_go_on_with_other_boxes(weights, video, tmp_path, caplog):
    boxes = tmp_path / "boxes.txt"
    shutil.copy(video / "boxes.txt", boxes)
    settings = ["--weights", weights, "--device", "cpu", "--precision", "float32", "--output", tmp_path / "f.npz"]
    argv = [str(a) for a in [*settings, "--video", video / "gate.avi", "--tracks", boxes, "--camera", 1]]
    assert run(_extract_and_die, argv, 2, log=tmp_path / "log") == -9
    assert list(tmp_path.glob(".f.npz.parts/*.npz"))
    text = boxes.read_text()
    boxes.write_text(text.replace(",1,", ",x,").replace(",2,", ",1,").replace(",x,", ",2,"))
    with caplog.at_level("INFO"):
        extract.main(argv)
    assert "from the start" in caplog.text
    features = FeatureSet.load(tmp_path / "f.npz")
    assert features.frames[features.tracklet == "gate_c1_0002"].tolist() == [12]


def _extract_and_ask(argv):
    original, calls = extract.Parts._write, iter(range(1000))

    def write(self, rows):
        original(self, rows)
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    extract.PART_SECONDS, extract.Parts._write = 0, write
    sys.argv = ["extract", *argv]
    cli.run(extract.main, "extract")


def test_sigterm_keeps_what_was_extracted(weights, dataset_folder, tmp_path):
    argv = ["--weights", weights, "--root", dataset_folder, "--output", tmp_path / "f.npz", "--device", "cpu"]
    argv = [str(a) for a in [*argv, "--data.workers", 0]]
    assert run(_extract_and_ask, argv, log=tmp_path / "log") == 143
    assert "stopped by SIGTERM; the same command goes on" in (tmp_path / "log").read_text()
    assert list(tmp_path.glob(".f.npz.parts/*.npz"))


def test_a_killed_extraction_goes_on(weights, dataset_folder, tmp_path, caplog):
    argv = ["--weights", weights, "--root", dataset_folder, "--output", tmp_path / "f.npz", "--device", "cpu"]
    argv = [str(a) for a in [*argv, "--precision", "float32", "--data.workers", 0]]
    assert run(_extract_and_die, argv, 5, log=tmp_path / "log") == -9
    assert not (tmp_path / "f.npz").exists()
    with caplog.at_level("INFO"):
        extract.main(argv)
    assert "7 of them now" in caplog.text
    features = FeatureSet.load(tmp_path / "f.npz")
    tracklets = {t.name: t for t in read_dataset("manifest", dataset_folder).gallery}
    whole = expected(weights, [tracklets[name] for name in features.tracklet])
    np.testing.assert_allclose(features.features, whole, atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npz", "log"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "f.txt"}, "features are written to .npz or .parquet"),
        ({"weights": "missing.pth"}, "missing.pth is no file"),
        ({"split": "gallery+test"}, "with 'test'"),
        ({"split": "nowhere"}, "with 'nowhere'"),
        ({"batch": 0}, "batch is 0"),
        ({"sampler": "every"}, "unknown sampler"),
        ({"video": "a.avi"}, "1 videos, and 0 in tracks"),
        ({"video": "a.avi", "tracks": "a.txt"}, "no file a.avi"),
        ({"sources": "folders", "root": "nowhere"}, "folders: no folder nowhere"),
    ],
)
def test_mistakes(changes, message, weights, dataset_folder, tmp_path, command_error, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"weights": weights, "output": "f.npz", "root": dataset_folder, "device": "cpu"} | changes
    argv = [a for name, value in settings.items() for a in (f"--{name}", value)]
    assert message in command_error(extract.main, argv, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_two_videos_of_one_name(weights, video, tmp_path, command_error, monkeypatch):
    both = [video / "gate.avi"] * 2, [video / "boxes.txt"] * 2
    argv = ["--weights", weights, "--output", tmp_path / "f.npz", "--video", *both[0], "--tracks", *both[1]]
    error = command_error(extract.main, [*argv, "--camera", "a", "a"], monkeypatch)
    assert "two videos would both be called 'gate_ca'" in error


def test_a_file_cut_in_half(weights, dataset_folder, tmp_path):
    for suffix in (".npz", ".parquet"):
        path = tmp_path / f"f{suffix}"
        run_extract(weights, path, root=dataset_folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=r"cannot be read .*complete"):
            FeatureSet.load(path)


def test_frames_that_are_no_pictures(weights):
    extractor = TrackletExtractor(str(weights), device="cpu")
    with pytest.raises(UserError, match="has no feature; add one first"):
        extractor([])
    for frame in (np.zeros((4, 4)), np.zeros((4, 4, 3)), "x", np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UserError, match="a frame is "):
            extractor([frame])


class TestSearch:
    @pytest.fixture
    def gallery(self, weights, dataset_folder, tmp_path):
        return run_extract(weights, tmp_path / "f.npz", root=dataset_folder), tmp_path / "f.npz"

    def search(self, path, output, *argv):
        search.main([str(a) for a in ["--features", path, "--output", output, "--precision", "float32", *argv]])
        return json.loads((output / "search.json").read_text())["queries"]

    def test_every_way_of_asking_finds_the_same(self, gallery, weights, dataset_folder, tmp_path):
        features, path = gallery
        by_name = self.search(path, tmp_path / "a", "--query", "p0c0", "p1c1", "--top", 4)
        assert [r["query"]["tracklet"] for r in by_name] == ["p0c0", "p1c1"]
        unit = features.features / np.linalg.norm(features.features, axis=1, keepdims=True)
        similarity = unit[features.tracklet == "p0c0"][0] @ unit.T
        similarity[features.tracklet == "p0c0"] = -2
        expected = features.tracklet[np.argsort(-similarity, kind="stable")][:4].tolist()
        assert [row["tracklet"] for row in by_name[0]["found"]] == expected
        assert (tmp_path / "a" / "contact_sheet.png").stat().st_size > 1000
        assert len((tmp_path / "a" / "search.csv").read_text().splitlines()) == 9
        from_images = self.search(
            path, tmp_path / "b", "--query", dataset_folder / "images" / "p0c0", "--weights", weights, "--top", 1
        )
        assert from_images[0]["found"][0]["tracklet"] == "p0c0"
        assert from_images[0]["found"][0]["cosine"] == pytest.approx(1, abs=1e-5)
        index = self.search(path, tmp_path / "c", "--query", "p0c0", "p1c1", "--top", 4, "--index")
        assert [[r["tracklet"] for r in q["found"]] for q in index] == [
            [r["tracklet"] for r in q["found"]] for q in by_name
        ]
        every = self.search(path, tmp_path / "d", "--query", "all", "--top", 1)
        assert len(every) == 12

    def test_filters(self, gallery, tmp_path):
        _, path = gallery
        (found,) = self.search(path, tmp_path / "a", "--query", "p0c0", "--cameras", "cam1", "--top", 50)
        assert {row["camera"] for row in found["found"]} == {"cam1"}
        assert len(found["found"]) == 6
        (found,) = self.search(path, tmp_path / "b", "--query", "p0c0", "--other-cameras", "--top", 50)
        assert {row["camera"] for row in found["found"]} == {"cam1"}
        (found,) = self.search(path, tmp_path / "c", "--query", "p0c0", "--before", 50, "--top", 50)
        assert {row["camera"] for row in found["found"]} == {"cam0"}
        assert len(found["found"]) == 5

    def test_another_video_s_tracklet_of_the_same_name_is_not_the_query(self, gallery, tmp_path):
        features, path = gallery
        replace(features, camera=np.full(len(features), "elsewhere")).save(tmp_path / "q.npz")
        (found, *_) = self.search(path, tmp_path / "a", "--query", tmp_path / "q.npz", "--top", 1)
        assert [row["tracklet"] for row in found["found"]] == [found["query"]["tracklet"]]

    def test_an_index_is_of_its_features(self, gallery, tmp_path):
        features, path = gallery
        self.search(path, tmp_path / "a", "--query", "p0c0", "--index")
        rng = np.random.default_rng(0)
        other = replace(features, features=rng.normal(size=features.features.shape).astype(np.float32))
        path.unlink()
        other.save(path)
        os.utime(path, (0, 0))  # older than the index, as a file that is moved here may be
        exact = self.search(path, tmp_path / "b", "--query", "p0c0")
        assert self.search(path, tmp_path / "c", "--query", "p0c0", "--index") == exact

    def test_an_index_finds_what_filters_leave(self, gallery, tmp_path, monkeypatch):
        _, path = gallery
        monkeypatch.setattr(search, "CANDIDATES", 1)
        asked = ["--query", "p0c0", "--cameras", "cam1", "--top", 6]
        exact = self.search(path, tmp_path / "a", *asked)
        assert len(exact[0]["found"]) == 6
        assert self.search(path, tmp_path / "b", *asked, "--index") == exact

    def test_who_can_be_found_is_counted(self, gallery, tmp_path, caplog):
        with caplog.at_level("INFO"):
            self.search(gallery[1], tmp_path / "a", "--query", "all", "--before", 50)
        assert "of 6 queries whose person is there to be found" in caplog.text  # those of the other camera
        with caplog.at_level("INFO"):
            self.search(gallery[1], tmp_path / "b", "--query", "all")
        assert "of 12 queries whose person is there to be found" in caplog.text

    def test_times_count(self, gallery, tmp_path):
        _, path = gallery
        SpatialTemporalModel.fit(["x", "x"], ["cam0", "cam1"], [0, 100], bin_width=4, sigma=5).save(tmp_path / "t.npz")
        for extra in ([], ["--index"]):
            (found,) = self.search(
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
            (["--query", "p0c0", "--calibration", "missing.json"], "no calibration missing.json"),
        ],
    )
    def test_mistakes(self, argv, message, gallery, weights, dataset_folder, tmp_path, command_error, monkeypatch):
        argv = [str(a).format(folder=dataset_folder, weights=weights) for a in argv]
        argv = ["--features", gallery[1], "--output", tmp_path / "out", "--device", "cpu", *argv]
        assert message in command_error(search.main, argv, monkeypatch)
        assert not (tmp_path / "out").exists()

    def test_images_of_another_model(self, gallery, dataset_folder, tmp_path, command_error, monkeypatch):
        torch.manual_seed(1)
        made_of = {"name": "osnet_x0_25", "num_classes": 3, "seq_len": 4, "height": 64, "width": 32}
        torch.save({"state_dict": create_model(**made_of).state_dict(), "model": made_of}, tmp_path / "other.pth")
        argv = ["--features", gallery[1], "--output", tmp_path / "out", "--query", dataset_folder / "images" / "p0c0"]
        error = command_error(search.main, [*argv, "--weights", tmp_path / "other.pth"], monkeypatch)
        assert "features of two models cannot be compared" in error
