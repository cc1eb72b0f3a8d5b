"""Features of one tracklet, by whichever way they come."""

import os
import shutil
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import run
from small_runs import to_argv

from st_reid import cli, extract, tracklets
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.data.tracklet import Labels
from st_reid.errors import UserError
from st_reid.features import parts
from st_reid.features.extractor import TrackletExtractor
from st_reid.features.feature_set import FeatureSet, same_model
from st_reid.features.grouping import seen_at_once


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_are_those_of_evaluation_by_every_way(
    suffix, weights, run_extract, expected, dataset_folder, tmp_path
):
    tracklets = list(read_dataset("manifest", dataset_folder).gallery)
    features = run_extract(weights, tmp_path / f"f{suffix}", root=dataset_folder)
    by_name = dict(zip(features.tracklet.tolist(), features.features, strict=True))
    assert by_name.keys() == {t.name for t in tracklets}
    extractor = TrackletExtractor(str(weights), device="cpu", precision="float32", batch=3)
    for tracklet, feature in zip(tracklets, expected(weights, tracklets), strict=True):
        np.testing.assert_allclose(by_name[tracklet.name], feature, atol=1e-5)
        frames = [read_frame(p) for p in tracklet.paths]
        np.testing.assert_allclose(extractor(frames), feature, atol=1e-5)
    row = features.tracklet.tolist().index("p1c0")
    assert (features.person[row], features.camera[row], features.time[row], features.frames[row]) == (
        "person1", "cam0", 0, 6,
    )  # fmt: skip
    assert features.thumbnails.shape == (12, 64, 96, 3)
    assert features.about["arch"] == weights.stem


def test_frames_one_by_one(weights, run_extract, dataset_folder, tmp_path):
    features = run_extract(weights, tmp_path / "f.npz", root=dataset_folder, per_frame="true")
    tracklets = read_dataset("manifest", dataset_folder).gallery
    assert len(features) == sum(len(t) for t in tracklets)
    assert "p1c0#5" in features.tracklet
    assert set(features.frames.tolist()) == {1}
    with pytest.raises(UserError, match="features of two models cannot be compared"):
        same_model(features, run_extract(weights, tmp_path / "g.npz", root=dataset_folder))


def test_folders_of_images(weights, run_extract, expected, dataset_folder, tmp_path):
    for name in ("p0c0", "p1c0"):
        shutil.copytree(dataset_folder / "images" / name, tmp_path / "in" / "gate" / name)
    shutil.copytree(dataset_folder / "images" / "p2c0", tmp_path / "in" / "loose")
    features = run_extract(weights, tmp_path / "f.npz", sources="folders", root=tmp_path / "in", split="gallery")
    assert features.tracklet.tolist() == ["loose", "gate/p0c0", "gate/p1c0"]
    assert features.camera.tolist() == ["1", "gate", "gate"]
    tracklets = {t.name: t for t in read_dataset("manifest", dataset_folder).gallery}
    (feature,) = expected(weights, [tracklets["p1c0"]])
    np.testing.assert_allclose(features.features[2], feature, atol=1e-5)


def test_a_video_with_boxes(weights, run_extract, video, tmp_path, caplog):
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


@pytest.mark.parametrize(("fps", "rate"), [(None, 1), (50, 5)])
def test_times_are_those_of_tracklets(fps, rate, one_weights, run_extract, video, tmp_path, caplog):
    """A tracker on every fifth frame, and a track within its gaps: one camera saw both at once."""
    boxes = [*((n, 1) for n in (1, 6, 11)), *((n, 2) for n in (8, 9)), (12, 3)]
    (tmp_path / "t.txt").write_text("".join(f"{n},{track},{20 * track},30,20,60,1\n" for n, track in boxes))
    settings = {"video": video / "gate.avi", "tracks": tmp_path / "t.txt", "start_time": 7}
    settings |= {} if fps is None else {"fps": fps}
    features = run_extract(one_weights, tmp_path / "f.npz", **settings)
    tracklets.main(to_argv({**settings, "output": tmp_path / "cut"}))
    labels = Labels.of(read_dataset("manifest", tmp_path / "cut").gallery)
    order = np.argsort(features.tracklet)
    for name in ("tracklet", "camera", "time", "last", "frames"):
        assert getattr(features, name)[order].tolist() == getattr(labels, name).tolist()
    assert labels.time.tolist() == [7, 7 + 7 * rate, 7 + 11 * rate]
    assert labels.last.tolist() == [7 + 10 * rate, 7 + 8 * rate, 7 + 11 * rate]
    pairs = np.argwhere(np.triu(seen_at_once(features.take(order)))).tolist()
    assert pairs == [[0, 1]]


def test_the_frames_of_a_video_are_a_video(one_weights, run_extract, video, tmp_path):
    frames = tmp_path / "gate"
    frames.mkdir()
    capture = cv2.VideoCapture(str(video / "gate.avi"))
    for number in range(1, 13):
        cv2.imwrite(str(frames / f"{number}.png"), capture.read()[1])
    settings = {"tracks": video / "boxes.txt", "camera": "north", "start_time": 100}
    sources = video / "gate.avi", frames, frames / "*.png"
    a, *others = (run_extract(one_weights, tmp_path / f"{i}.npz", video=v, **settings) for i, v in enumerate(sources))
    for other in others:
        assert other.tracklet.tolist() == a.tracklet.tolist()
        np.testing.assert_allclose(other.features, a.features, atol=1e-6)
        np.testing.assert_array_equal(other.time, a.time)
    before = [parts.stamp(path) for path in (frames, frames / "*.png")]
    assert cv2.imwrite(str(frames / "7.png"), np.zeros((120, 160, 3), np.uint8))
    assert all(parts.stamp(Path(path)) != (path, *rest) for path, *rest in before)


def _extract_and_die(argv, dies_at):
    parts.PART_SECONDS = 0
    original, calls = parts.Parts._write, iter(range(1000))

    def write(self, rows):
        if next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, rows)

    parts.Parts._write = write
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
    original, calls = parts.Parts._write, iter(range(1000))

    def write(self, rows):
        original(self, rows)
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    parts.PART_SECONDS, parts.Parts._write = 0, write
    sys.argv = ["extract", *argv]
    cli.run(extract.main, "extract")


def test_sigterm_keeps_what_was_extracted(weights, dataset_folder, tmp_path):
    argv = ["--weights", weights, "--root", dataset_folder, "--output", tmp_path / "f.npz", "--device", "cpu"]
    argv = [str(a) for a in [*argv, "--data.workers", 0]]
    assert run(_extract_and_ask, argv, log=tmp_path / "log") == 143
    assert "stopped by SIGTERM; the same command resumes" in (tmp_path / "log").read_text()
    assert list(tmp_path.glob(".f.npz.parts/*.npz"))


def test_a_killed_extraction_goes_on(weights, expected, dataset_folder, tmp_path, caplog):
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


def _parts(folder, *names):
    kept = parts.Parts(folder / "f.npz", {"source": "x"})
    row = parts.Row("", "", "1", 0.0, 1, np.ones(2, np.float32), None)
    kept.keep(row._replace(tracklet=name) for name in names)
    return kept


def test_what_is_united_are_the_tracklets_that_were_extracted(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_SECONDS", -1)
    kept = _parts(tmp_path, "a", "b", "c")
    files = sorted(kept.folder.glob("0*.npz"))
    assert len(files) == 3
    taken = files[1].read_bytes()
    files[1].unlink()
    with pytest.raises(UserError, match="not the 3 extracted tracklets: 1 names are missing or too many, 'b' first"):
        kept.unite({})
    kept = _parts(tmp_path, "d")  # it does not take the name of another
    assert sorted(kept.names()) == ["a", "c", "d"]
    (kept.folder / "00009.npz").write_bytes(taken)
    with pytest.raises(UserError, match="too many, 'b' first"):
        kept.unite({})
    kept = _parts(tmp_path)
    with pytest.raises(UserError, match="'e' first"):
        kept.unite({}, ["a", "b", "c", "d", "e"])
    assert kept.unite({}, ["d", "a", "b", "c"]).tracklet.tolist() == ["a", "c", "d", "b"]
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.parametrize("about", ["", "{", "[]", None])
def test_parts_that_do_not_say_of_what_they_are(about, tmp_path):
    folder = _parts(tmp_path, "a").folder
    (folder / "about.json").unlink()
    if about is not None:
        (folder / "about.json").write_text(about)
    assert _parts(tmp_path, "b").unite({}).tracklet.tolist() == ["b"]


def test_parts_of_a_file_that_is_there(tmp_path):
    united = _parts(tmp_path, "a", "b").unite({})
    _parts(tmp_path, "a")
    parts.remove_united(tmp_path / "f.npz")
    assert _parts(tmp_path).names() == {"a"}, "of another extraction"
    _parts(tmp_path, "b")  # as a kill leaves them
    parts.remove_united(tmp_path / "f.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["f.npz"]
    assert len(united) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "f.txt"}, "features are written to .npz or .parquet"),
        ({"weights": "missing.pth"}, "missing.pth does not exist"),
        ({"split": "gallery+test"}, "with 'test'"),
        ({"split": "nowhere"}, "with 'nowhere'"),
        ({"batch": 0}, "batch is 0"),
        ({"sampler": "every"}, "unknown sampler"),
        ({"video": "a.avi"}, "1 videos, and 0 in tracks"),
        ({"video": "a.avi", "tracks": "a.txt"}, "no file a.avi"),
        ({"sources": "folders", "root": "nowhere"}, "folders: no folder nowhere"),
    ],
)
def test_mistakes(changes, message, one_weights, dataset_folder, tmp_path, command_error, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"weights": one_weights, "output": "f.npz", "root": dataset_folder, "device": "cpu"} | changes
    argv = [a for name, value in settings.items() for a in (f"--{name}", value)]
    assert message in command_error(extract.main, argv, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_two_videos_of_one_name(one_weights, video, tmp_path, command_error, monkeypatch):
    both = [video / "gate.avi"] * 2, [video / "boxes.txt"] * 2
    argv = ["--weights", one_weights, "--output", tmp_path / "f.npz", "--video", *both[0], "--tracks", *both[1]]
    error = command_error(extract.main, [*argv, "--camera", "a", "a"], monkeypatch)
    assert "two videos would both be called 'gate_ca'" in error


def test_a_file_cut_in_half(one_weights, run_extract, dataset_folder, tmp_path):
    for suffix in (".npz", ".parquet"):
        path = tmp_path / f"f{suffix}"
        run_extract(one_weights, path, root=dataset_folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=r"cannot be read .*complete|missing.*complete"):
            FeatureSet.load(path)
