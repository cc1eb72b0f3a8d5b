"""Readers of datasets with clothes, drones or other lists, on miniatures in the real layout, traps included."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from st_reid.config import EvalConfig
from st_reid.data.datasets import read_dataset
from st_reid.data.inspection import describe
from st_reid.data.tracklet import Labels, Tracklet
from st_reid.errors import UserError
from st_reid.evaluation.protocol import QueryGallery

PUBLISHED_SCALES = Path(__file__).parent / "mevid_test_track_scale.txt"


def touch(folder: Path, *names: str) -> None:
    """Make files of these names, in reverse, so that the file system's order is no help; readers open no image."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in reversed(names):
        (folder / name).touch()


def names(tracklets: tuple[Tracklet, ...]) -> list[str]:
    return [t.name for t in tracklets]


def frames(tracklet: Tracklet) -> list[str]:
    assert all(path.is_file() for path in tracklet.paths)
    return [path.name for path in tracklet.paths]


def pairs(dataset, **options) -> QueryGallery:
    return QueryGallery.of(Labels.of(dataset.query), Labels.of(dataset.gallery), EvalConfig(**options))


def found(asked: QueryGallery, query: int = 0) -> list[str]:
    """Return the matches of a query."""
    own = asked.gallery.person == asked.query.person[query]
    return asked.gallery.tracklet[own & ~asked.junk_of(query)].tolist()


# CCVID

CCVID = {
    "train": [("session1/001_01", "001", "u0"), ("session3/001_01", "001", "u1"), ("session2/002_12", "002", "u0")],
    "query": [("session1/010_03", "010", "u0")],
    "gallery": [
        ("session2/010_03", "010", "u1"), ("session3/010_03", "010", "u0"), ("session2/010_04", "010", "u1"),
        ("session1/011_03", "011", "u0"),
    ],
}  # fmt: skip


@pytest.fixture
def ccvid(tmp_path):
    """In a folder with underscores and a session in its own name: cameras are told by the dataset's folders only."""
    folder = tmp_path / "my_session3_data" / "ccvid"
    for split, rows in CCVID.items():
        for place, *_ in rows:
            touch(folder / place, "00001.jpg", "00002.jpg", "00010.jpg")
        (folder / f"{split}.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder.parent


def test_ccvid(ccvid):
    dataset = read_dataset("ccvid", ccvid)
    assert [(t.name, t.person, t.camera, t.clothes) for t in dataset.train] == [
        ("session1/001_01", "001", "1", "001_u0"),
        ("session3/001_01", "001", "13", "001_u1"),
        ("session2/002_12", "002", "12", "002_u0"),
    ]
    counts = describe(dataset.train)
    assert (counts["persons"], counts["outfits"]) == (2, 3)
    assert frames(dataset.query[0]) == ["00001.jpg", "00002.jpg", "00010.jpg"]
    assert found(pairs(dataset)) == ["session3/010_03", "session2/010_04"]  # the camera of session 3 is another one
    assert found(pairs(dataset, protocol="clothes_changing")) == ["session2/010_04"]
    assert found(pairs(dataset, protocol="same_clothes")) == ["session3/010_03"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("session1/001_01 001", r"train.txt, line 4: 'session1/001_01 001'; expected 3 columns"),
        ("somewhere/001_01 001 u0", "lists 'somewhere/001_01'; expected a folder such as session1/001_01"),
        ("session1/999_01 999 u0", r"no folder .*999_01; it should hold a tracklet's images"),
    ],
)
def test_ccvid_errors(ccvid, line, message):
    with open(ccvid / "ccvid" / "train.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        read_dataset("ccvid", ccvid)


# VCCR


@pytest.fixture
def vccr(tmp_path):
    folder = tmp_path / "vccr"
    touch(folder / "train" / "001" / "t1", *(f"001-C3-K2-{i}.jpg" for i in (1, 2, 9, 10)))
    long = range(8)
    for place, camera, clothes, numbers in (
        ("query/007/1/t1", 1, 1, long),
        ("gallery/007/1/t2", 1, 2, long),
        ("gallery/007/2/t1", 2, 1, long),
        ("gallery/007/2/t2", 2, 2, long),
        ("gallery/007/2/short", 2, 2, range(7)),
    ):
        touch(folder / "test_qg" / place, *(f"007-C{camera}-K{clothes}-{i:04}.jpg" for i in numbers))
    return tmp_path


def test_vccr(vccr, caplog):
    with caplog.at_level("INFO"):
        dataset = read_dataset("vccr", vccr)
    assert "1 gallery tracklets of fewer than 8 frames are left out" in caplog.text
    (train,) = dataset.train
    assert (train.person, train.camera, train.clothes) == ("001", "3", "001_2")
    assert frames(train) == [f"001-C3-K2-{i}.jpg" for i in (1, 2, 9, 10)]
    assert found(pairs(dataset)) == ["test_qg/gallery/007/2/t1", "test_qg/gallery/007/2/t2"]
    assert found(pairs(dataset, protocol="clothes_changing")) == ["test_qg/gallery/007/2/t2"]
    assert len(read_dataset("vccr", vccr, {"min_frames": 1}).gallery) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [("007-C2-K1-0099.jpg", "of several cameras or clothes"), ("holiday.jpg", "expected names such as 001-C3-K2-0017")],
)
def test_vccr_errors(vccr, name, message):
    touch(vccr / "vccr" / "test_qg" / "query" / "007" / "1" / "t1", name)
    with pytest.raises(UserError, match=message):
        read_dataset("vccr", vccr)


# LS-VID


def write_hdf5(file: Path, **arrays: np.ndarray) -> None:
    """Write arrays as MATLAB's version 7.3 does: after a header of 512 bytes, axes in reverse, numbers as decimals."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512) as opened:
        for name, array in arrays.items():
            opened[name] = array.T.astype(float)
    with open(file, "r+b") as opened:
        opened.write(b"MATLAB 7.3 MAT-file".ljust(512))


@pytest.fixture(params=["first", "second"])
def lsvid(request, tmp_path):
    """Two persons to train on; to test: a query with a match, one without, and junk."""
    folder = tmp_path / "lsvid"
    lists = folder / ("list_sequence" if request.param == "first" else "info/list_sequence")
    info = folder / ("test/data/info_test.mat" if request.param == "first" else "info/data/info_test.mat")
    lists.mkdir(parents=True)
    for part, tracklets in {
        "train": [("0000", "01", "02", 3), ("0001", "01", "15", 2)],
        "test": [("0007", "01", "03", 2), ("0007", "02", "04", 3), ("-1", "03", "05", 1), ("0008", "01", "03", 1)],
    }.items():
        lines = []
        for person, number, camera, count in tracklets:
            beginning = f"tracklet_{part}/{person}/{person}_{number}_{camera}"
            touch(
                folder / f"tracklet_{part}/{person}", *(f"{person}_{number}_{camera}_{i:04}.jpg" for i in range(count))
            )
            lines.append(f"{beginning} {int(person)}\n")
        (lists / f"list_seq_{part}.txt").write_text("".join(lines))
    touch(folder / "tracklet_test/0007", "._0007_01_03_0000.jpg", "Thumbs.db")
    rows = np.array([[1, 2, 7, 3], [3, 5, 7, 4], [6, 6, -1, 5], [7, 7, 8, 3]])
    write_hdf5(info, info_test=rows, query=np.array([[1], [4]]))
    return tmp_path


def test_lsvid(lsvid):
    dataset = read_dataset("lsvid", lsvid)
    assert [(t.person, t.camera, len(t)) for t in dataset.train] == [("0", "2", 3), ("1", "15", 2)]
    assert [(t.person, t.camera) for t in dataset.query] == [("7", "3"), ("8", "3")]
    assert [(t.person, t.camera, len(t)) for t in dataset.gallery] == [("7", "3", 2), ("7", "4", 3), ("8", "3", 1)]
    assert frames(dataset.gallery[1]) == [f"0007_02_04_{i:04}.jpg" for i in range(3)]
    assert found(pairs(dataset)) == ["tracklet_test/0007/0007_02_04"]
    assert names(read_dataset("lsvid", lsvid, {"queries_in_gallery": False}).gallery) == found(pairs(dataset))


def test_lsvid_errors(lsvid, monkeypatch):
    (info,) = (lsvid / "lsvid").rglob("info_test.mat")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "h5py", None)
        with pytest.raises(
            UserError, match=r"info_test.mat is MATLAB's version 7.3, which needs h5py: pip install st_reid"
        ):
            read_dataset("lsvid", lsvid)
    write_hdf5(info, query=np.array([[5]]))
    with pytest.raises(UserError, match=r"query 5 is none of the 4 test tracklets"):
        read_dataset("lsvid", lsvid)
    write_hdf5(info, something=np.array([[5]]))
    with pytest.raises(UserError, match="cannot read the array 'query'"):
        read_dataset("lsvid", lsvid)
    info.unlink()
    savemat(info, {"query": np.array([[1, 4]])})  # an older version of the format does too
    assert len(read_dataset("lsvid", lsvid).query) == 2
    touch(lsvid / "lsvid" / "tracklet_train" / "0000", "0000_01_02_1_2.jpg")
    with pytest.raises(UserError, match=r"not of one camera, .*expected names of four parts"):
        read_dataset("lsvid", lsvid)
    shutil.rmtree(lsvid / "lsvid" / "tracklet_train" / "0000")
    with pytest.raises(UserError, match="lists tracklet_train/0000/0000_01_02, and no image begins so"):
        read_dataset("lsvid", lsvid)


# MEVID

MEVID_TEST = [
    # person, outfit, camera, track, frames
    (201, 3, 330, 4, 3), (201, 3, 509, 13, 2), (201, 1, 436, 0, 2), (202, 0, 330, 1, 0), (201, 1, 509, 2, 1),
    (203, 2, 639, 0, 1),
]  # fmt: skip


def write_mevid(folder: Path, lists: Path, part: str, tracklets: list[tuple[int, int, int, int, int]]) -> None:
    """Write images and lists: rows from 0 and inclusive, as decimals; one without images ends before it begins."""
    images, rows = [], []
    for person, outfit, camera, track, count in tracklets:
        rows.append((len(images), len(images) + count - 1, person, outfit, camera))
        images += [f"{person:04}O{outfit:03}C{camera}T{track:03}F{i:05}.jpg" for i in range(count)]
    for image in images:
        touch(folder / f"bbox_{part}" / image[:4], image)
    lists.mkdir(exist_ok=True)
    (lists / f"{part}_name.txt").write_text("\n".join(images) + "\n")
    np.savetxt(lists / f"track_{part}_info.txt", rows)


@pytest.fixture(params=["beside", "within"])
def mevid(request, tmp_path):
    folder = tmp_path / "mevid"
    lists = folder if request.param == "beside" else folder / "mevid-v1-annotation-data"
    write_mevid(folder, lists, "train", [(1, 0, 300, 0, 2), (1, 1, 299, 1, 1)])
    write_mevid(folder, lists, "test", MEVID_TEST)
    np.savetxt(lists / "query_IDX.txt", [0, 3])  # the second has no images
    shutil.copy(PUBLISHED_SCALES, lists / "test_track_scale.txt")
    return tmp_path


def test_mevid(mevid, caplog):
    with caplog.at_level("INFO"):
        dataset = read_dataset("mevid", mevid)
    assert "mevid: 1 test tracklets have no images and are left out" in caplog.text
    assert [(t.person, t.camera, t.clothes, len(t)) for t in dataset.train] == [
        ("0001", "300", "0001O000", 2), ("0001", "299", "0001O001", 1)
    ]  # fmt: skip
    (query,) = dataset.query
    assert (query.name, query.clothes) == ("test_0201O003C330T004", "0201O003")
    assert frames(query) == [f"0201O003C330T004F{i:05}.jpg" for i in range(3)]  # the last row is part of it
    assert names(dataset.gallery) == [
        f"test_{t}" for t in ("0201O003C509T013", "0201O001C436T000", "0201O001C509T002", "0203O002C639T000")
    ]
    labels = Labels.of((*dataset.query, *dataset.gallery))
    assert labels.label("location").tolist() == ["indoors", "indoors", "outdoors", "indoors", "outdoors"]
    assert labels.label("scale").tolist()[0] == "l"  # of a published track


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("standard", ["0201O003C509T013", "0201O001C436T000", "0201O001C509T002"]),
        ("same_clothes", ["0201O003C509T013"]),
        ("clothes_changing", ["0201O001C436T000", "0201O001C509T002"]),
        ("same_location", ["0201O003C509T013", "0201O001C509T002"]),
        ("other_location", ["0201O001C436T000"]),
    ],
)
def test_mevids_protocols(mevid, protocol, expected):
    assert found(pairs(read_dataset("mevid", mevid), protocol=protocol)) == [f"test_{name}" for name in expected]


def test_mevids_published_scales():
    """1,753 tracks of the 1,754: the one without images is not in it, and no two rows are of one track."""
    from st_reid.data.datasets.mevid import _read_scales

    scales = _read_scales([PUBLISHED_SCALES])
    assert len(scales) == 1753
    assert [list(scales.values()).count(scale) for scale in "lms"] == [942, 811, 0]
    assert scales["0201O003C330T018"] == "m"


def test_mevid_errors(mevid):
    (lists,) = (path.parent for path in (mevid / "mevid").rglob("query_IDX.txt"))

    def refused(match: str, file: str, text: str) -> None:
        kept = (lists / file).read_text()
        (lists / file).write_text(text)
        with pytest.raises(UserError, match=match):
            read_dataset("mevid", mevid)
        (lists / file).write_text(kept)

    refused(r"row 6 is none of the 6 test tracklets, from 0", "query_IDX.txt", "6.0\n")
    refused(r"row 1: images 0 to 9; there are 0 to 2", "track_train_info.txt", "0 9 1 0 300\n")
    refused(r"are not all of 0001O000C300", "track_train_info.txt", "0 2 1 0 300\n")
    refused("expected 5 columns", "track_train_info.txt", "0 2 1 0\n")
    refused("a value is no number", "track_train_info.txt", "0 2 1 0 x\n")
    refused("expected whole numbers", "track_train_info.txt", "0 1.5 1 0 300\n")
    shutil.rmtree(mevid / "mevid" / "bbox_test" / "0203")
    with pytest.raises(UserError, match="but there is no folder"):
        read_dataset("mevid", mevid)


# G2A-VReID


@pytest.fixture
def g2a(tmp_path):
    folder = tmp_path / "g2avreid"
    (folder / "info").mkdir(parents=True)
    for part, tracklets in {
        "train": [(1, 1, 2), (1, 2, 1)],
        "test": [(2, 1, 2), (2, 2, 3), (3, 1, 1), (3, 2, 1), (0, 2, 1), (-1, 1, 1)],
    }.items():
        images, rows = [], []
        for person, camera, count in tracklets:
            rows.append((len(images) + 1, len(images) + count, person, camera))
            images += [f"{person:04}C{camera}T0001F{i:03}.jpg" for i in range(1, count + 1)]
        for image in images:
            touch(folder / f"bbox_{part}" / image[:4], image)
        (folder / "info" / f"{part}_name.txt").write_text("\n".join(images))
        savemat(folder / "info" / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows)})
    savemat(folder / "info" / "query_IDX.mat", {"query_IDX": np.array([[1, 3]])})
    return tmp_path


def test_g2a_there_and_back(g2a):
    there = read_dataset("g2avreid", g2a)
    assert [(t.person, t.camera) for t in there.query] == [("0002", "1"), ("0003", "1")]
    assert [(t.person, t.camera) for t in there.gallery] == [("0002", "2"), ("0003", "2"), ("0000", "2")]
    back = read_dataset("g2avreid", g2a, {"direction": "aerial_to_ground"})
    assert [(t.person, t.camera) for t in back.query] == [("0002", "2"), ("0003", "2")]
    assert [(t.person, t.camera) for t in back.gallery] == [("0002", "1"), ("0003", "1")]
    assert Labels.of(there.train).label("view").tolist() == ["ground", "aerial"]
    assert pairs(back, protocol="aerial_to_ground").describe()["name"] == "aerial_to_ground"
    with pytest.raises(UserError, match="needs ground query tracklets, and none of 2 is; views: aerial"):
        pairs(back, protocol="ground_to_aerial")


def test_g2a_errors(g2a):
    with pytest.raises(UserError, match="direction is 'up'; expected ground_to_aerial or aerial_to_ground"):
        read_dataset("g2avreid", g2a, {"direction": "up"})
    savemat(g2a / "g2avreid" / "info" / "query_IDX.mat", {"query_IDX": np.array([[1, 2]])})
    with pytest.raises(UserError, match="queries are of cameras 1, 2, so they do not tell which is on the ground"):
        read_dataset("g2avreid", g2a)
    dataset = read_dataset("g2avreid", g2a, {"ground_camera": 2})
    assert [t.camera for t in dataset.query] == ["2"]
    with pytest.raises(UserError, match="ground_camera is 3; the queries are of cameras 1, 2"):
        read_dataset("g2avreid", g2a, {"ground_camera": 3})


# AG-VPReID and DetReIDX


def write_cases(folder: Path, cases: dict[str, str], ground: str, aerial: str) -> None:
    """Write a tracklet of two persons in every part, their images named by patterns."""
    for person in ("0001", "0002"):
        touch(folder / "train" / person / "tracklet_0", *(ground.format(i=i) for i in (1, 2)))
        for case, views in cases.items():
            for part, view in zip(("query", "gallery"), views, strict=True):
                pattern = aerial if view == "a" else ground
                other = pattern.replace("_30_", "_60_") if views == "aa" and part == "gallery" else pattern
                touch(folder / case / part / person / "tracklet_0", *(other.format(i=i) for i in (1, 9, 10)))


@pytest.fixture
def agvpreid(tmp_path):
    cases = {"case1_aerial_to_ground": "ag", "case2_ground_to_aerial": "ga"}
    write_cases(tmp_path / "agvpreid", cases, "P0001T1C2E0F{i}.jpg", "P0001T1C5E0F{i}.jpg")
    return tmp_path


@pytest.mark.parametrize(("direction", "cameras"), [("aerial_to_ground", "52"), ("ground_to_aerial", "25")])
def test_agvpreid(agvpreid, direction, cameras):
    dataset = read_dataset("agvpreid", agvpreid, {"direction": direction})
    assert [t.camera for t in (dataset.query[0], dataset.gallery[0])] == list(cameras)
    asked = pairs(dataset, protocol=direction)
    assert (len(asked.query), len(asked.gallery), len(found(asked))) == (2, 2, 1)
    assert dataset.notes == {"direction": direction}
    assert len(set(names(dataset.query + dataset.gallery))) == 4  # though all folders are called tracklet_0
    assert [int(name[12:-4]) for name in frames(dataset.query[0])] == [1, 9, 10]


def test_agvpreid_errors(agvpreid, caplog):
    with pytest.raises(UserError, match="direction is 'aerial_to_aerial'; expected aerial_to_ground or ground_to"):
        read_dataset("agvpreid", agvpreid, {"direction": "aerial_to_aerial"})
    first = agvpreid / "agvpreid" / "train" / "0001" / "tracklet_0"
    touch(first, "holiday.jpg")
    assert len(read_dataset("agvpreid", agvpreid).train[0]) == 2
    assert "1 images are left out for their names" in caplog.text
    touch(first, "P0001T1C5E0F7.jpg")
    with pytest.raises(UserError, match="of several cameras; a tracklet has one"):
        read_dataset("agvpreid", agvpreid)
    shutil.rmtree(first)
    touch(first)
    with pytest.raises(UserError, match="no images in"):
        read_dataset("agvpreid", agvpreid)


@pytest.fixture
def detreidx(tmp_path):
    cases = {"case1_aerial_to_ground": "ag", "case2_ground_to_aerial": "ga", "case3_aerial_to_aerial": "aa"}
    write_cases(tmp_path / "detreidx", cases, "1_x_S2_{i}.jpg", "1_a_b_c_d_e_30_20_60_S1_{i}.jpg")
    return tmp_path


@pytest.mark.parametrize("direction", ["aerial_to_ground", "ground_to_aerial", "aerial_to_aerial"])
def test_detreidx(detreidx, direction):
    dataset = read_dataset("detreidx", detreidx, {"direction": direction})
    asked = pairs(dataset, protocol=direction)
    assert (len(asked.query), len(found(asked))) == (2, 1)
    labels = Labels.of(dataset.query)
    how = [labels.label(name)[0] for name in ("view", "height", "distance", "angle", "session")]
    assert how == (["ground", "", "", "", "S2"] if direction[0] == "g" else ["aerial", "30", "20", "60", "S1"])


# All of them


@pytest.mark.parametrize("name", ["ccvid", "vccr", "lsvid", "mevid", "g2avreid", "agvpreid", "detreidx"])
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(UserError, match=r"no folder with .*--root") as error:
        read_dataset(name, tmp_path)
    assert str(tmp_path / name) in str(error.value)
    with pytest.raises(UserError, match=r"no folder given.*--root"):
        read_dataset(name, None)
