"""Every reader on a miniature in the real folder layout, beside torchreid's own reader of the same folder."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from st_reid.data.datasets import market1501, read_dataset
from st_reid.data.tracklet import DISTRACTOR, Dataset, Tracklet
from st_reid.errors import UserError
from st_reid.torchreid_compat import submodule

PUBLISHED_MARS = Path(__file__).parent / "mars"


def write_images(paths: list[Path]) -> None:
    """Write small images in shuffled order, so that the file system's order is no help."""
    for path in random.Random(0).sample(paths, len(paths)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8)).save(path)


def torchreids(name: str, root: Path, **options) -> dict[str, list[tuple[tuple[str, ...], int, int]]]:
    """Return train, query and gallery of torchreid's reader: (paths, person, camera)."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        readers = {
            "mars": "Mars", "dukemtmcvidreid": "DukeMTMCVidReID", "ilidsvid": "iLIDSVID", "prid2011": "PRID2011"
        }  # fmt: skip
        reader = getattr(submodule("data.datasets.video"), readers[name])
        dataset = reader(root=str(root), transform=lambda image: image, **options)
    return {split: [item[:3] for item in getattr(dataset, split)] for split in ("train", "query", "gallery")}


def assert_same(ours: Dataset, theirs: dict[str, list], *, ordered: bool = True) -> None:
    """Same tracklets with the same frames, and persons and cameras that differ in their names only."""
    for split, items in theirs.items():
        files = tuple if ordered else frozenset
        mine = {files(map(str, t.paths)): t for t in getattr(ours, split)}
        other = {files(paths): (person, camera) for paths, person, camera in items}
        assert len(mine) == len(getattr(ours, split))
        assert set(mine) == set(other)
        for attribute, column in (("person", 0), ("camera", 1)):
            pairs = {(getattr(tracklet, attribute), other[key][column]) for key, tracklet in mine.items()}
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # one to one


def names(tracklets: tuple[Tracklet, ...]) -> list[str]:
    return [t.name for t in tracklets]


# MARS


@pytest.fixture
def mars(tmp_path):
    """Two persons to train on; to test: persons 2 and 4 with two cameras each, junk, and a distractor."""
    folder = tmp_path / "mars"
    write_mars_part(folder, "train", [(1, 1, 1, 3), (1, 2, 2, 11), (3, 1, 1, 2)])
    test = [(-1, 1, 1, 2), (0, 3, 1, 2), (2, 1, 1, 4), (2, 1, 2, 2), (2, 5, 1, 3), (4, 6, 1, 1), (4, 2, 1, 2)]
    write_mars_part(folder, "test", test)
    savemat(folder / "info" / "query_IDX.mat", {"query_IDX": np.array([[3, 5, 6]])})
    return tmp_path


def write_mars_part(folder: Path, part: str, tracklets: list[tuple[int, int, int, int]]) -> None:
    """Write tracklets of (person, camera, number, frames)."""
    images, rows = [], []
    for person, camera, number, frames in tracklets:
        label = "00-1" if person == -1 else f"{person:04}"
        rows.append((len(images) + 1, len(images) + frames, person, camera))
        images += [f"{label}C{camera}T{number:04}F{i:03}.jpg" for i in range(1, frames + 1)]
    write_images([folder / f"bbox_{part}" / image[:4] / image for image in images])
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / f"{part}_name.txt").write_text("\n".join(images) + "\n")
    savemat(folder / "info" / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows, dtype=np.int32)})


@pytest.fixture(scope="module")
def all_of_mars(tmp_path_factory):
    """All tracklets of MARS by person and camera, as in its own files, but of one frame each, and without images."""
    folder = tmp_path_factory.mktemp("all") / "mars"
    (folder / "info").mkdir(parents=True)
    rows = np.load(Path(__file__).parent / "mars_rows.npz")
    for part in ("train", "test"):
        labels = ["00-1" if person == -1 else f"{person:04}" for person in rows[part][:, 0].tolist()]
        cameras = rows[part][:, 1].tolist()
        names = [
            f"{label}C{camera}T{i:04}F001.jpg" for i, (label, camera) in enumerate(zip(labels, cameras, strict=True))
        ]
        (folder / "info" / f"{part}_name.txt").write_text("\n".join(names))
        numbers = np.arange(1, len(names) + 1)
        table = np.column_stack([numbers, numbers, rows[part]])
        savemat(folder / "info" / f"tracks_{part}_info.mat", {f"track_{part}_info": table})
        for label in set(labels):
            (folder / f"bbox_{part}" / label).mkdir(parents=True)
    savemat(folder / "info" / "query_IDX.mat", {"query_IDX": rows["query"][None]})
    return folder


@pytest.mark.parametrize(("queries_in_gallery", "gallery"), [(True, 9330 + 1980), (False, 9330)])
def test_counts_of_all_of_mars(all_of_mars, queries_in_gallery, gallery):
    """8,298 and 12,180 tracklets and 1,980 queries; 870 of the test tracklets are junk, 3,248 are distractors."""
    dataset = read_dataset("mars", all_of_mars, {"queries_in_gallery": queries_in_gallery})
    assert [len(part) for part in (dataset.train, dataset.query, dataset.gallery)] == [8298, 1980, gallery]
    assert gallery + (0 if queries_in_gallery else 1980) == 12180 - 870
    assert sum(t.person == DISTRACTOR for t in dataset.gallery) == 3248
    persons = [{t.person for t in part} for part in (dataset.train, dataset.query, dataset.gallery)]
    assert [len(some) for some in persons] == [625, 626, 635 if queries_in_gallery else 621]
    assert {t.camera for t in dataset.test} == set("123456")


def test_mars_equals_torchreid_without_queries_in_the_gallery(mars):
    ours = read_dataset("mars", mars, {"queries_in_gallery": False})
    assert_same(ours, torchreids("mars", mars))
    assert ours.notes == {"gallery": "without the queries"}


def test_mars_gallery_holds_queries_and_distractors_but_no_junk(mars):
    dataset = read_dataset("mars", mars)
    assert names(dataset.query) == ["0002C1T0001F001", "0002C5T0001F001", "0004C6T0001F001"]
    assert [(t.person, t.camera, len(t)) for t in dataset.gallery] == [
        ("distractor", "3", 2), ("0002", "1", 4), ("0002", "1", 2), ("0002", "5", 3), ("0004", "6", 1), ("0004", "2", 2)
    ]  # fmt: skip
    assert set(dataset.query) < set(dataset.gallery)
    assert {t.time for t in dataset.train + dataset.gallery} == {None}
    assert dataset.notes == {"gallery": "with the queries"}


def test_mars_frames_are_in_order_and_exist(mars):
    long = read_dataset("mars", mars).train[1]
    assert [path.name[-7:-4] for path in long.paths] == [f"{i:03}" for i in range(1, 12)]
    assert all(path.is_file() for path in long.paths)


@pytest.mark.slow  # a million paths
def test_mars_own_index_files_give_the_published_counts(tmp_path):
    """8,298 tracklets to train, 1,980 queries and 9,330 others, on made-up names of images."""
    info = tmp_path / "mars" / "info"
    info.mkdir(parents=True)
    for part in ("train", "test"):
        shutil.copy(PUBLISHED_MARS / f"mars_tracks_{part}_info.mat", info / f"tracks_{part}_info.mat")
        rows = loadmat(info / f"tracks_{part}_info.mat")[f"track_{part}_info"].astype(int).tolist()
        assert len(rows) == {"train": 8298, "test": 12180}[part]
        images: list[str] = []
        for number, (first, last, person, camera) in enumerate(rows):
            label = "00-1" if person == -1 else f"{person:04}"
            assert first == len(images) + 1
            images += [f"{label}C{camera}T{number:04}F{i}.jpg" for i in range(last - first + 1)]
        (info / f"{part}_name.txt").write_text("\n".join(images))
        for person in {image[:4] for image in images}:
            (tmp_path / "mars" / f"bbox_{part}" / person).mkdir(parents=True)
    shutil.copy(PUBLISHED_MARS / "mars_query_IDX.mat", info / "query_IDX.mat")
    dataset = read_dataset("mars", tmp_path)
    assert [len(dataset.train), len(dataset.query), len(dataset.gallery)] == [8298, 1980, 1980 + 9330]
    assert len({t.person for t in dataset.train}) == 625
    assert len({t.person for t in dataset.query}) == 626
    assert len({t.camera for t in dataset.train}) == 6


def test_root_may_be_the_datasets_own_folder(mars):
    assert read_dataset("mars", mars / "mars") == read_dataset("mars", mars)


def test_mars_errors(mars, tmp_path):
    info = mars / "mars" / "info"

    def refused(match: str, **files: np.ndarray) -> None:
        """Expect an error after writing arrays over those of info; then put these back."""
        kept = {stem: (info / f"{stem}.mat").read_bytes() for stem in files}
        for stem, array in files.items():
            savemat(info / f"{stem}.mat", {stem.replace("tracks", "track"): array})
        with pytest.raises(UserError, match=match):
            read_dataset("mars", mars)
        for stem, data in kept.items():
            (info / f"{stem}.mat").write_bytes(data)

    refused(r"query_IDX.*query 8 is none of the 7", query_IDX=np.array([[1, 8]]))
    refused(r"query 0 is none", query_IDX=np.array([[0]]))
    refused(r"tracks_train_info.*row 1: images 1 to 99.*1 to 16", tracks_train_info=np.array([[1, 99, 1, 1]]))
    refused(r"row 1: images 0 to 3", tracks_train_info=np.array([[0, 3, 1, 1]]))
    refused(r"row 1: images 3 to 2", tracks_train_info=np.array([[3, 2, 1, 1]]))
    refused(r"several persons or cameras", tracks_train_info=np.array([[1, 5, 1, 1]]))
    refused(r"expected rows of", tracks_train_info=np.array([[1, 3, 1]]))
    (mars / "mars" / "bbox_test" / "0004").rename(tmp_path / "elsewhere")
    refused(r"lists 0004C6T0001F001.jpg, but there is no folder")
    (tmp_path / "elsewhere").rename(mars / "mars" / "bbox_test" / "0004")
    (info / "query_IDX.mat").write_bytes(b"no mat file")
    refused(r"query_IDX.mat: cannot read")
    (info / "tracks_train_info.mat").unlink()
    refused(r"no .*tracks_train_info.mat")


# DukeMTMC-VideoReID


def write_duke(root: Path, tracklets: dict[str, list[str]]) -> Path:
    """Write tracklets given as ``split/person/tracklet`` -> names of images."""
    folder = root / "dukemtmc-vidreid" / "DukeMTMC-VideoReID"
    write_images([folder / tracklet / f"{image}.jpg" for tracklet, images in tracklets.items() for image in images])
    return root


def duke_names(person: int, camera: int, start: int, frames: range) -> list[str]:
    return [f"{person:04}_C{camera}_F{i:04}_X{start + i}" for i in frames]


@pytest.fixture
def duke(tmp_path):
    return write_duke(
        tmp_path,
        {
            "train/0001/0001": duke_names(1, 5, 207_850, range(1, 13)),
            "train/0001/0002": duke_names(1, 2, 1000, range(1, 4)),
            "train/0007/0003": [name.replace("_", "") for name in duke_names(7, 8, 50, range(1, 5))],
            "query/0002/0001": duke_names(2, 1, 400, range(1, 3)),
            "gallery/0002/0001": duke_names(2, 3, 700, range(1, 5)),
            "gallery/0009/0001": duke_names(9, 1, 9, range(1, 2)),
        },
    )


def test_duke_equals_torchreid(duke):
    ours = read_dataset("dukemtmcvidreid", duke)
    assert_same(ours, torchreids("dukemtmcvidreid", duke))
    assert [(t.person, t.camera, t.time) for t in ours.train] == [
        ("0001", "5", 207_851), ("0001", "2", 1001), ("0007", "8", 51)
    ]  # fmt: skip
    everything = ours.train + ours.query + ours.gallery
    assert len(set(names(everything))) == 6


def test_strange_names_in_many_tracklets_are_said_in_one_line(duke, caplog):
    before = read_dataset("dukemtmcvidreid", duke)
    root = duke / "dukemtmc-vidreid" / "DukeMTMC-VideoReID"
    write_images([root / "train" / "0001" / t / "thumbs.png" for t in ("0001", "0002")])
    write_images([root / "gallery" / "0002" / "0001" / "cover.JPG"])
    assert read_dataset("dukemtmcvidreid", duke) == before
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("dukemtmcvidreid: 3 images are left out for their names, ")


def test_duke_loses_no_frames(tmp_path):
    """torchreid's reader loses those of tracklets that begin later or have gaps."""
    images = duke_names(1, 2, 9000, range(3, 15, 2))
    root = write_duke(
        tmp_path, {"train/0001/0001": images, "query/0002/0001": images[:1], "gallery/0002/0001": images[:1]}
    )
    (tracklet,) = read_dataset("dukemtmcvidreid", root).train
    assert [path.stem for path in tracklet.paths] == images
    assert tracklet.time == 9003


@pytest.mark.parametrize("inside", ["dukemtmc-vidreid", "dukemtmc-vidreid/DukeMTMC-VideoReID"])
def test_duke_root_may_be_further_inside(duke, inside):
    assert read_dataset("dukemtmcvidreid", duke / inside) == read_dataset("dukemtmcvidreid", duke)


def test_duke_errors(duke):
    folder = duke / "dukemtmc-vidreid" / "DukeMTMC-VideoReID" / "train" / "0001"
    (folder / "0009").mkdir()
    with pytest.raises(UserError, match=r"no images of tracklet .*0009 have known names"):
        read_dataset("dukemtmcvidreid", duke)
    write_images([folder / "0009" / "holiday.jpg"])
    with pytest.raises(UserError, match=r"no images of tracklet .*0009 have known names; expected names such as"):
        read_dataset("dukemtmcvidreid", duke)
    (folder / "0009" / "holiday.jpg").unlink()
    write_images([folder / "0009" / f"{name}.jpg" for name in ("0001_C1_F0001_X1", "0001_C2_F0002_X2")])
    with pytest.raises(UserError, match="two cameras"):
        read_dataset("dukemtmcvidreid", duke)


# iLIDS-VID and PRID2011


@pytest.fixture
def ilids(tmp_path):
    """300 persons, as torchreid's reader wants them, with numbers that have gaps; one with ten frames and more."""
    sequences = tmp_path / "ilids-vid" / "i-LIDS-VID" / "sequences"
    persons = [f"person{2 * i + 1:03}" for i in range(300)]
    for camera in ("cam1", "cam2"):
        for person in persons:
            folder = sequences / camera / person
            folder.mkdir(parents=True)
            (folder / f"{camera}_{person}_00100.png").touch()  # readers open no image
    folder = sequences / "cam1" / persons[0]
    for i in random.Random(0).sample(range(1, 13), 12):
        (folder / f"cam1_{persons[0]}_{i}.png").touch()
    rng = np.random.default_rng(0)
    write_ilids_splits(tmp_path, np.stack([rng.permutation(300) + 1 for _ in range(10)]))
    return tmp_path


def write_ilids_splits(root: Path, rows: np.ndarray) -> None:
    folder = root / "ilids-vid" / "train-test people splits"
    folder.mkdir(exist_ok=True)
    savemat(folder / "train_test_splits_ilidsvid.mat", {"ls_set": rows})


@pytest.mark.parametrize("split", [0, 9])
def test_ilids_equals_torchreid(ilids, split):
    from_mat = read_dataset("ilidsvid", ilids, {"split": split})
    theirs = torchreids("ilidsvid", ilids, split_id=split)  # writes splits.json
    assert_same(from_mat, theirs, ordered=False)
    assert [len(from_mat.train), len(from_mat.query), len(from_mat.gallery)] == [300, 150, 150]
    assert (ilids / "ilids-vid" / "splits.json").is_file()
    assert read_dataset("ilidsvid", ilids, {"split": split}) == from_mat
    assert from_mat.notes == {"split": f"{split} of 10"}


def test_ilids_cameras_and_true_order(ilids):
    dataset = read_dataset("ilidsvid", ilids)
    assert {t.camera for t in dataset.query} == {"cam1"}
    assert {t.camera for t in dataset.gallery} == {"cam2"}
    assert {t.person for t in dataset.query} == {t.person for t in dataset.gallery}
    assert not {t.person for t in dataset.query} & {t.person for t in dataset.train}
    (long,) = [t for t in dataset.train + dataset.query if t.name == "cam1_person001"]
    assert [int(path.stem.split("_")[-1]) for path in long.paths] == [*range(1, 13), 100]


def test_ilids_errors(ilids, tmp_path):
    with pytest.raises(UserError, match="split is 10; expected 0 to 9"):
        read_dataset("ilidsvid", ilids, {"split": 10})
    with pytest.raises(UserError, match="split is -1"):
        read_dataset("ilidsvid", ilids, {"split": -1})
    write_ilids_splits(ilids, np.arange(1, 11)[None])
    with pytest.raises(UserError, match="do not number the 300 persons"):
        read_dataset("ilidsvid", ilids)
    mat = ilids / "ilids-vid" / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    mat.write_bytes(b"no mat file")
    with pytest.raises(UserError, match=r"train_test_splits_ilidsvid\.mat: cannot read"):
        read_dataset("ilidsvid", ilids)
    mat.unlink()
    with pytest.raises(UserError, match=r"no .*train_test_splits_ilidsvid\.mat"):
        read_dataset("ilidsvid", ilids)
    write_ilids_splits(ilids, np.arange(1, 301)[None])
    (ilids / "ilids-vid" / "i-LIDS-VID" / "sequences" / "cam2" / "person003").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="person003 is in one of"):
        read_dataset("ilidsvid", ilids)


@pytest.fixture
def prid(tmp_path):
    folder = tmp_path / "prid2011"
    for camera, persons in (("cam_a", range(1, 6)), ("cam_b", range(1, 8))):
        for person in persons:
            images = folder / "prid_2011" / "multi_shot" / camera / f"person_{person:04}"
            write_images([images / f"{i:04}.png" for i in range(1, 4)])
    splits = [
        {"train": ["person_0001", "person_0002"], "test": ["person_0003", "person_0004"]},
        {"train": ["person_0004", "person_0003"], "test": ["person_0002", "person_0001"]},
    ]
    (folder / "splits_prid2011.json").write_text(json.dumps(splits))
    return tmp_path


@pytest.mark.parametrize("split", [0, 1])
def test_prid_equals_torchreid(prid, split):
    ours = read_dataset("prid2011", prid, {"split": split})
    assert_same(ours, torchreids("prid2011", prid, split_id=split), ordered=False)
    assert {t.camera for t in ours.query} == {"cam_a"}
    assert [path.name for path in ours.gallery[0].paths] == ["0001.png", "0002.png", "0003.png"]
    assert len(ours.train) == 4


def test_prid_errors(prid):
    folder = prid / "prid2011"
    with pytest.raises(UserError, match="split is 2; expected 0 to 1"):
        read_dataset("prid2011", prid, {"split": 2})
    splits = folder / "splits_prid2011.json"
    for wrong in ('{"train": []}', "[[1, 2]]", "not json", '[{"train": [1], "test": [[2]]}]', '[{"train": ["a"]}]'):
        splits.write_text(wrong)
        with pytest.raises(UserError, match=r"splits_prid2011\.json.*; expected a list of splits"):
            read_dataset("prid2011", prid)
    splits.write_text(json.dumps([{"train": ["person_0001"], "test": ["person_0007"]}]))
    with pytest.raises(UserError, match=r"no images in .*cam_a.person_0007"):  # seen by cam_b only
        read_dataset("prid2011", prid)
    splits.unlink()
    with pytest.raises(UserError, match=r"no .*splits_prid2011\.json"):
        read_dataset("prid2011", prid)


# WARD


@pytest.fixture
def ward(tmp_path):
    """Five persons, two or three cameras each, frames that do not begin at 1; both suffixes."""
    folder = tmp_path / "ward" / "WARD"
    frames = {(p, c): range(1, 4) for p in range(1, 6) for c in range(1, 4)} | {(2, 3): range(9, 12), (5, 3): range(0)}
    write_images(
        [folder / f"{p:04}{c:04}{f:04}.{'png' if p < 4 else 'JPG'}" for (p, c), fs in frames.items() for f in fs]
    )
    splits = [{"train": [1, 2], "test": [3, 4, 5]}, {"train": [5, 3], "test": [1, 2]}]
    (tmp_path / "ward" / "splits_ward.json").write_text(json.dumps(splits))
    return tmp_path


def test_ward_tracklets_and_protocol(ward):
    dataset = read_dataset("ward", ward)
    assert names(dataset.train) == ["0001c1", "0001c2", "0001c3", "0002c1", "0002c2", "0002c3"]
    assert [path.name for path in dataset.train[5].paths] == [f"00020003{i:04}.png" for i in (9, 10, 11)]
    assert dataset.query == dataset.gallery
    assert [(t.person, t.camera) for t in dataset.query] == [
        ("0003", "1"), ("0003", "2"), ("0003", "3"), ("0004", "1"), ("0004", "2"), ("0004", "3"),
        ("0005", "1"), ("0005", "2"),
    ]  # fmt: skip
    assert all(path.is_file() for t in dataset.train + dataset.query for path in t.paths)
    assert dataset.notes == {"split": "0 of 2 (splits_ward.json)"}
    other = read_dataset("ward", ward / "ward" / "WARD", {"split": 1})
    assert {t.person for t in other.train} == {"0003", "0005"}
    assert read_dataset("ward", ward / "ward", {"split": 1}) == other


def test_ward_without_a_file_of_splits(ward):
    (ward / "ward" / "splits_ward.json").unlink()
    drawn = [read_dataset("ward", ward, {"split": s}) for s in range(10)]
    persons = [({t.person for t in d.train}, {t.person for t in d.query}) for d in drawn]
    assert all(len(train) == 2 and len(test) == 3 and not train & test for train, test in persons)
    assert len({frozenset(train) for train, _ in persons}) > 3
    assert [sorted(train) for train, _ in persons[:2]] == [["0001", "0004"], ["0004", "0005"]]  # for ever
    assert drawn[3].notes == {"split": "3 of 10 (drawn, there is no splits_ward.json)"}


def test_ward_errors(ward, caplog):
    folder = ward / "ward" / "WARD"
    with pytest.raises(UserError, match="ward: split is 2; expected 0 to 1"):
        read_dataset("ward", ward, {"split": 2})
    (folder / "holiday.jpg").touch()
    read_dataset("ward", ward)
    assert "1 images are left out for their names" in caplog.text
    splits = ward / "ward" / "splits_ward.json"
    splits.write_text('[{"train": [1, 9], "test": [2]}]')
    with pytest.raises(UserError, match=r"no images of person 0009 in .*WARD; the split names this person"):
        read_dataset("ward", ward)
    splits.write_text('[{"train": [1, 3], "test": [3]}]')
    with pytest.raises(UserError, match="person 3 is in training and test of split 0"):
        read_dataset("ward", ward)
    (folder / "000100010002.jpg").touch()
    with pytest.raises(UserError, match=r"000100010002.* are the same frame; remove one"):
        read_dataset("ward", ward)


# Market-1501 and DukeMTMC-reID


IMAGES = {
    "market1501": (
        "market1501/Market-1501-v15.09.15",
        {
            "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c3s2_000010_01.jpg", "0007_c2s3_071052_01.jpg"],
            "query": ["0001_c1s1_001051_00.jpg", "1488_c6s4_000001_00.jpg.jpg"],
            "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c2s1_000001_01.jpg", "0001_c6s2_000005_02.jpg"],
        },
        "Market1501",
    ),
    "dukemtmcreid": (
        "dukemtmc-reid/DukeMTMC-reID",
        {
            "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c8_f0050000.jpg"],
            "query": ["0005_c2_f0046985.jpg"],
            "bounding_box_test": ["0005_c5_f0051781.jpg", "0009_c1_f0000001.jpg"],
        },
        "DukeMTMCreID",
    ),
}


@pytest.fixture(params=IMAGES)
def image_dataset(request, tmp_path):
    folder, content, theirs = IMAGES[request.param]
    write_images([tmp_path / folder / part / name for part, images in content.items() for name in images])
    return request.param, tmp_path, tmp_path / folder, theirs


def test_image_readers_equal_torchreids(image_dataset):
    name, root, _, theirs = image_dataset
    ours = read_dataset(name, root)
    with contextlib.redirect_stdout(io.StringIO()):
        reader = getattr(submodule("data.datasets.image"), theirs)(root=str(root), transform=lambda image: image)
    items = {
        split: [((item[0],), *item[1:3]) for item in getattr(reader, split)] for split in ("train", "query", "gallery")
    }
    assert_same(ours, items)
    assert all(len(t) == 1 and t.time is not None for t in ours.train + ours.query + ours.gallery)


def test_times_of_market_lay_sequences_end_to_end(tmp_path):
    write_images([tmp_path / IMAGES["market1501"][0] / p / n for p, ns in IMAGES["market1501"][1].items() for n in ns])
    dataset = read_dataset("market1501", tmp_path)
    assert [t.time for t in dataset.train] == [451, 161708 + 10, 163691 + 164677 + 71052]
    assert dataset.query[1].time == 87551 + 131268 + 95817 + 1
    assert [t.person for t in dataset.gallery] == ["distractor", "0001"]  # junk is left out


def test_image_reader_errors(image_dataset, caplog):
    name, root, folder, _ = image_dataset
    before = read_dataset(name, root)
    (folder / "query" / "holiday.jpg").touch()
    assert read_dataset(name, root) == before
    assert "1 images are left out for their names" in caplog.text
    assert "holiday.jpg; expected names such as" in caplog.text
    for image in (folder / "query").iterdir():
        image.unlink()
    with pytest.raises(UserError, match=r"no images in .*query"):
        read_dataset(name, root)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", ("0002", "1", 451)),
        ("0002_c1s1_000451_03.jpg.jpg", ("0002", "1", 451)),
        ("0002_C1S1_000451_03.JPG", ("0002", "1", 451)),
        ("0002_c1s1_000451_03.png", ("0002", "1", 451)),
        ("0002_c7s1_000451_03.jpg", ("0002", "7", None)),  # a camera that the dataset does not have
        ("12345_c1s1_000451_03.jpg", ("12345", "1", 451)),
        ("0002_c1_000451_03.jpg", ("0002", "1", None)),
        ("0002_c1s9_000451_03.jpg", ("0002", "1", None)),
        ("0000_c1s1_000451_03.jpg", ("distractor", "1", 451)),
        ("-1_c1s1_000451_03.jpg", ("-1", "1", 451)),
        ("c1s1_000451_03.jpg", None),
        ("0002_s1_000451_03.jpg", None),
        ("0002_c1s1_000451_03.txt", None),
    ],
)
def test_names_like_markets(name, expected):
    assert market1501.parse_name(name) == expected


# Folders of images


def test_folders_with_odd_names(dataset_folder, tmp_path):
    images = sorted((dataset_folder / "images" / "p0c0").iterdir())
    for name in ("²", "10", "9", "night 12:30", ".hidden"):
        shutil.copytree(images[0].parent, tmp_path / name)
    (tmp_path / "9" / "._000.jpg").write_bytes(b"litter")
    (tmp_path / "9" / "more.jpg").mkdir()
    found = read_dataset("folders", tmp_path).gallery
    assert [t.name for t in found] == ["night 12:30", "²", "9", "10"]
    assert [path.name for path in found[2].paths] == [path.name for path in images]


def test_images_of_formats_that_are_not_read_are_said(dataset_folder, tmp_path, caplog):
    shutil.copytree(dataset_folder / "images" / "p0c0", tmp_path / "1")
    for name in ("1/9.HEIC", "2/1.heic", "cam/3/1.gif", "1/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [t.name for t in read_dataset("folders", tmp_path).gallery] == ["1"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("folders: 3 images are left out for their names, ")
    assert line.endswith("expected images of .bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp")


# All of them


FOLDERS = {
    "mars": "mars",
    "dukemtmcvidreid": "dukemtmc-vidreid",
    "ilidsvid": "ilids-vid",
    "prid2011": "prid2011",
    "ward": "ward/WARD",
    "market1501": "market1501",
    "dukemtmcreid": "dukemtmc-reid",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(UserError) as error:
        read_dataset(name, tmp_path)
    assert str(tmp_path / FOLDERS[name]) in str(error.value)
    assert "--root" in str(error.value)
    with pytest.raises(UserError, match=r"no folder given.*--root"):
        read_dataset(name, None)
