"""Names that files cannot hold are refused before anything is written."""

import os
import re

import cv2
import numpy as np
import pytest

from st_reid.config import BoxesConfig
from st_reid.data.cutting import cut
from st_reid.data.datasets import read_dataset
from st_reid.data.datasets.manifest import FrameRow, read_rows, write_rows
from st_reid.data.labels import check_label
from st_reid.data.tracklet import Labels, Tracklet, read_splits
from st_reid.data.video import Video, probe
from st_reid.errors import UserError
from st_reid.features.video import list_videos

ODD = {
    "newline": "a\nb",
    "carriage return": "a\rb",
    "NUL": "a\0b",
    "line separator": "a\u2028b",
    "escape": "a\x1b[31m",
    "not UTF-8": os.fsdecode(b"caf\xe9"),
    "space before": " a",
    "space after": "a ",
    "a space": " ",
}


@pytest.mark.parametrize("label", ["a", "", "caf\u00e9", "\N{CAT} 1", "a b", "0012", "a,b", '"'])
def test_labels_that_can_be_held(label):
    check_label("camera", label)


@pytest.mark.parametrize("label", ODD.values(), ids=ODD)
def test_labels_that_cannot(label, tmp_path):
    row = {"split": "query", "tracklet": "t", "path": "a.jpg", "person": "p", "camera": "1", "time": None}
    with pytest.raises(UserError, match=r"^camera is "):
        check_label("camera", label)
    for column in ("tracklet", "path", "person", "camera"):
        with pytest.raises(UserError, match=f"^{column} is "):
            FrameRow(**row | {column: label})
    for number, what in ((0, "name"), (2, "person"), (3, "camera")):
        values = ["t", (tmp_path / "a.jpg",), "p", "1"]
        values[number] = label
        with pytest.raises(UserError, match=f"^the tracklet's {what} is "):
            Tracklet(*values)


@pytest.mark.parametrize("name", ["newline", "carriage return", "line separator", "escape", "not UTF-8"])
@pytest.mark.parametrize("what", ["tracklet", "person", "camera"])
def test_one_label_of_many(what, name):
    columns = {column: np.array(["caf\u00e9", "b", "\N{CAT} c "], "<U9") for column in ("tracklet", "person", "camera")}
    more = {"time": np.zeros(3), "frames": np.ones(3, np.int64)}
    assert len(Labels(**columns, **more)) == 3
    columns[what][1] = ODD[name]
    with pytest.raises(UserError, match=rf"^{what} is {re.escape(repr(ODD[name]))}"):
        Labels(**columns, **more)


@pytest.mark.parametrize("character", '/\\:*?"<>|')
def test_a_label_that_becomes_a_file_name(character, tmp_path):
    check_label("camera", f"a{character}")
    with pytest.raises(UserError, match=r"part of a file's name"):
        cut("x.avi", "x.txt", str(tmp_path / "out"), camera=f"a{character}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("split", ["query+query", "gallery+query+gallery", "", "query+", "+", "test", " query"])
def test_splits_that_cannot_be(split, tmp_path):
    with pytest.raises(UserError, match=r"^split is "):
        read_splits(split)
    with pytest.raises(UserError, match=r"^split is "):
        FrameRow(split, "t", "a.jpg", "p", "1", None)
    with pytest.raises(UserError, match=r"^split is "):
        cut("x.avi", "x.txt", str(tmp_path / "out"), split=split)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("person", "camera", "split"), [("q", "1", "query"), ("p", "2", "query"), ("p", "1", "gallery")]
)
def test_contradictions_are_refused_when_they_are_written(person, camera, split, tmp_path):
    rows = [FrameRow("query", "t", "a.jpg", "p", "1", None), FrameRow(split, "t", "b.jpg", person, camera, None)]
    with pytest.raises(UserError, match=r"tracklet 't' is .*give every tracklet one of each"):
        write_rows(tmp_path, rows)


def test_what_was_written_is_read_back(tmp_path):
    rows = [FrameRow("query+gallery", 't,"1', "\N{CAT}/a b.jpg", "", "caf\u00e9", 1.5)]
    write_rows(tmp_path, rows)
    assert list(read_rows(tmp_path)) == rows


@pytest.mark.parametrize(
    "path", ["/etc/a.jpg", "../a.jpg", "a/../../b.jpg", "C:\\a.jpg", "c:a.jpg", "\\\\host\\share\\a.jpg"]
)
def test_paths_that_leave_the_folder(path, tmp_path):
    (tmp_path / "manifest.csv").write_text(f"split,tracklet,path,person,camera,time\nquery,t,{path},p,1,\n")
    with pytest.raises(UserError, match=r"line 2: path .* leaves the manifest's folder"):
        list(read_rows(tmp_path))


def video_called(name, folder):
    """Write a video of three frames under a name, and the boxes of one track."""
    plain = folder.parent / "plain.avi"  # OpenCV cannot write into a folder whose name is not UTF-8
    writer = cv2.VideoWriter(str(plain), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    (folder / "boxes.txt").write_text("".join(f"{frame},7,10,10,20,30\n" for frame in (1, 2, 3)))
    return plain.rename(folder / name)


@pytest.mark.parametrize("name", ["caf\udce9.avi", "a\nb.avi", " a.avi", "a\\b.avi"])
def test_videos_whose_names_no_manifest_can_hold(name, tmp_path):
    path = video_called(name, tmp_path)
    assert probe(path).frames == 3  # OpenCV died of the first
    with pytest.raises(UserError, match=r"^the name of the video is "):
        cut(str(path), str(tmp_path / "boxes.txt"), str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"^the name of the video is "):
        list_videos([str(path)], [str(tmp_path / "boxes.txt")], None, None)
    assert {p.name for p in tmp_path.iterdir()} == {name, "boxes.txt"}


def test_folders_may_have_any_name(tmp_path):
    folder = tmp_path / "caf\udce9 \n"
    folder.mkdir()
    path = video_called("a.avi", folder)
    cut(str(path), str(folder / "boxes.txt"), str(folder / "out"))
    dataset = read_dataset("manifest", folder / "out")
    assert [t.name for t in dataset.query] == ["a_c1_0007"]
    assert dataset.query[0].paths[0].is_file()
    Video(path, folder / "boxes.txt", "1", 0).read_tracks(BoxesConfig())


def test_a_folder_of_images_that_is_not_utf8(tmp_path):
    (tmp_path / "caf\udce9").mkdir()
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.jpg").rename(tmp_path / "caf\udce9" / "a.jpg")
    with pytest.raises(UserError, match=r"^the tracklet's name is 'caf\\udce9', which is not UTF-8"):
        read_dataset("folders", tmp_path)
