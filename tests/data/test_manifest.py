"""The manifest reader: what it reads and what it refuses."""

import pytest

from st_reid.data.datasets import read_dataset
from st_reid.data.datasets.manifest import FrameRow, read_rows, write_rows
from st_reid.data.tracklet import Labels, conditions_of
from st_reid.errors import UserError

HEAD = "split,tracklet,path,person,camera,time\n"


def write(folder, text):
    (folder / "manifest.csv").write_text(text)
    return folder


def test_reads_tracklets_in_the_order_of_the_file(tmp_path):
    write(tmp_path, HEAD + "train,a,x/2.jpg,7,1,5\ntrain,a,x/1.jpg,7,1,6\nquery+gallery,b,y.jpg,7,2,\n")
    dataset = read_dataset("manifest", tmp_path)
    (a,), (b,) = dataset.train, dataset.query
    assert [str(p.relative_to(tmp_path)) for p in a.paths] == ["x/2.jpg", "x/1.jpg"]
    assert (a.person, a.camera, a.time) == ("7", "1", 5.0)
    assert b.time is None
    assert dataset.gallery == (b,)


def test_write_and_read_back(tmp_path):
    rows = [
        FrameRow("train", "t", "a/b c.jpg", "ann, of München", "north", 1234567.5),
        FrameRow("query", "u", "c.jpg", "", "2", None),
    ]
    write_rows(tmp_path, rows)
    assert list(read_rows(tmp_path)) == rows
    assert (tmp_path / "manifest.csv").read_text().startswith(HEAD)


def test_clothes_and_conditions_are_optional(tmp_path):
    rows = [
        FrameRow("query", "t", "a.jpg", "ann", "1", 5.0, "red coat", conditions_of(view="aerial", height="30")),
        FrameRow("gallery", "u", "b.jpg", "ann", "2", 9.0),
    ]
    write_rows(tmp_path, rows)
    assert (tmp_path / "manifest.csv").read_text().splitlines()[0] == HEAD.strip() + ",clothes,view,height"
    assert list(read_rows(tmp_path)) == rows
    dataset = read_dataset("manifest", tmp_path)
    labels = Labels.of(dataset.query + dataset.gallery)
    assert labels.clothes.tolist() == ["red coat", ""]
    assert [labels.label(name).tolist() for name in ("view", "height", "scale")] == [
        ["aerial", ""],
        ["30", ""],
        ["", ""],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "no rows"),
        ("split,tracklet,path\n", "column person, camera, time is missing"),
        (HEAD + "trian,a,x.jpg,1,1,\n", "line 2: split is 'trian'"),
        (HEAD + "train,a,../x.jpg,1,1,\n", "leaves the manifest's folder"),
        (HEAD + "train,a,/etc/x.jpg,1,1,\n", "leaves the manifest's folder"),
        (HEAD + "train,a,C:\\x\\1.jpg,1,1,\n", "path 'C:/x/1.jpg' leaves the manifest's folder"),
        (HEAD + "train,a,x.jpg,1,1,noon\n", "time is 'noon'"),
        (HEAD + "train,a,x.jpg,1,1,nan\n", "time is 'nan'"),
        (HEAD + 'train,a,"' + "x" * 200_000, "field larger"),
        (HEAD + "train,a,x.jpg,1,,\n", "camera is empty"),
        (
            HEAD + "train,a,x.jpg,1,1,\ntrain,a,y.jpg,2,1,\n",
            "tracklet 'a' is person '1' at first and person '2' at 'y.jpg'",
        ),
        (
            HEAD[:-1] + ",clothes\ntrain,a,x.jpg,1,1,,red\ntrain,a,y.jpg,1,1,,\n",
            "is clothes 'red' at first and clothes ''",
        ),
    ],
)
def test_errors(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_dataset("manifest", write(tmp_path, text))


def test_a_file_of_another_encoding(tmp_path):
    (tmp_path / "manifest.csv").write_bytes((HEAD + "train,a,x.jpg,Jürg,1,\n").encode("latin-1"))
    with pytest.raises(UserError, match="expected a CSV in UTF-8"):
        read_dataset("manifest", tmp_path)


def test_missing_file_and_root(tmp_path):
    with pytest.raises(UserError, match=f"no manifest.csv in {tmp_path}"):
        read_dataset("manifest", tmp_path)
    with pytest.raises(UserError, match="--root"):
        read_dataset("manifest", None)


def test_unknown_dataset_and_option(tmp_path):
    with pytest.raises(UserError, match="unknown dataset 'walker'; did you mean 'walkers'"):
        read_dataset("walker", tmp_path)
    with pytest.raises(UserError, match="unknown option of dataset 'manifest' 'sed'"):
        read_dataset("manifest", tmp_path, {"sed": 1})


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        (["5", "6", "7"], 5, 7),
        (["7", "6", "5"], 5, 7),  # frames from the last to the first
        (["5", "", ""], 5, 7),
        (["", "", "43750000003"], 43750000001, 43750000003),
        (["5", "", "90"], 5, 90),
        (["", "", ""], None, None),
    ],
)
def test_the_first_and_the_last_time(given, first, last, tmp_path):
    write(tmp_path, HEAD + "".join(f"train,a,{i}.jpg,7,1,{time}\n" for i, time in enumerate(given)))
    (tracklet,) = read_dataset("manifest", tmp_path).train
    assert (tracklet.time, tracklet.last) == (first, last)


def test_who_is_nobody_in_a_manifest(tmp_path, caplog):
    persons = {"a": "ann", "b": " ", "c": "Distractor", "d": "DISTRACTOR ", "e": "-1", "f": "NaN"}
    write(tmp_path, HEAD + "".join(f"gallery,{name},{name}.jpg,{who},1,\n" for name, who in persons.items()))
    found = [t.person for t in read_dataset("manifest", tmp_path).gallery]
    assert found == ["ann", "", "distractor", "distractor", "-1", "NaN"]
    assert "'-1', 'NaN' counts as a person; leave persons empty who are not known" in caplog.text


def test_paths_of_windows(tmp_path):
    write(tmp_path, HEAD + "gallery,a,x\\y\\1.jpg,ann,1,\n")
    (tracklet,) = read_dataset("manifest", tmp_path).gallery
    assert tracklet.paths == (tmp_path / "x" / "y" / "1.jpg",)
