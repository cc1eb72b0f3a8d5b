"""A dataset that is whole, and one with everything that can be wrong."""

import json
import re
import shutil

import pytest
from small_data import write_person

from st_reid import check


def run(*argv):
    check.main([str(a) for a in argv])


def test_what_is_in_a_dataset(dataset_folder, tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(dataset_folder, "--output", tmp_path / "out", "--persons", 6)
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    assert content["together"] == {
        "tracklets": 12,
        "frames": 66,
        "frames_a_tracklet": {"least": 5, "median": 5.5, "most": 6},
        "persons": 6,
        "persons_unknown": 0,
        "distractors": 0,
        "persons_of_one_camera": {"count": 0, "for_example": []},
        "cameras": {"cam0": 6, "cam1": 6},
        "without_time": 0,
    }
    assert set(content["splits"]) == {"train", "query", "gallery"}
    assert content["splits"]["query"]["persons_of_one_camera"]["count"] == 6
    assert content["in_training_and_test"]["count"] == 6
    assert content["images"]["median_size"] == "64 x 32"
    assert (content["failures"], content["images"]["unreadable"]["count"]) == ([], 0)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"check.json", "check.png", "contact_sheet.png"}
    assert "12 tracklets of 6 persons, 2 cameras, 66 frames (5 to 6 a tracklet, median 5.5)" in caplog.text


def test_what_is_wrong_with_it(own_dataset_folder, tmp_path, command_error, monkeypatch):
    images = own_dataset_folder / "images"
    (images / "p0c0/002.jpg").unlink()
    (images / "p1c0/003.jpg").write_bytes((images / "p1c0/003.jpg").read_bytes()[:100])
    write_person(images / "p2c0/001.jpg", (9, 9, 9), 0, size=(12, 8))
    write_person(images / "p3c0/001.jpg", (9, 9, 9), 0, size=(120, 32))
    argv = [own_dataset_folder, "--output", tmp_path / "out"]
    error = command_error(check.main, argv, monkeypatch)
    assert "train: 6 persons to train on, and a batch has 8" in error
    assert "2 images cannot be read" in error
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    assert content["images"]["unreadable"]["count"] == 2
    assert "p0c0/002.jpg: no such file" in content["images"]["unreadable"]["for_example"][0]
    assert content["images"]["tiny"]["for_example"] == [f"{images / 'p2c0/001.jpg'} (12 x 8)"]
    jumps = content["images"]["jumps"]["for_example"]
    assert jumps[0] == "p2c0, frame 2: 64 x 32 to 12 x 8"
    assert "p3c0, frame 2: 64 x 32 to 120 x 32" in jumps
    assert len(content["failures"]) == 2


def test_a_tracklet_of_which_nothing_can_be_read(own_dataset_folder, tmp_path, command_error, monkeypatch):
    shutil.copytree(own_dataset_folder / "images", tmp_path / "folders")
    (tmp_path / "folders" / "12:30").mkdir()
    (tmp_path / "folders" / "12:30" / "1.jpg").touch()
    error = command_error(check.main, [tmp_path / "folders", "--output", tmp_path / "out"], monkeypatch)
    assert "1 images cannot be read" in error
    assert (tmp_path / "out" / "check.png").exists()


def test_folders_without_identities_can_be_extracted_and_no_more(dataset_folder, tmp_path, command_error, monkeypatch):
    shutil.copytree(dataset_folder / "images", tmp_path / "in")
    run(tmp_path / "in", "--output", tmp_path / "a")
    assert json.loads((tmp_path / "a" / "check.json").read_text())["together"]["persons_unknown"] == 12
    argv = [tmp_path / "in", "--output", tmp_path / "b", "--purpose", "evaluate", "--read", "false"]
    assert "evaluate: 0 query and 12 gallery tracklets" in command_error(check.main, argv, monkeypatch)


def test_queries_without_a_match(own_dataset_folder, tmp_path, command_error, monkeypatch):
    manifest = own_dataset_folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("train+gallery", "train"))
    argv = [own_dataset_folder, "--output", tmp_path / "out", "--persons", 6]
    assert "evaluate: no query has a match" in command_error(check.main, argv, monkeypatch)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "nothing to check"),
        (["nowhere"], "folders: no folder nowhere"),
        (["nowhere", "--sources", "mars"], "mars: no folder with"),
        (["nowhere", "--purpose", "look"], "purpose .*look"),
    ],
)
def test_mistakes(argv, message, tmp_path, command_error, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, command_error(check.main, argv, monkeypatch))
    assert not list(tmp_path.iterdir())


def test_one_person_in_two_places_at_once(tmp_path, caplog):
    """In a camera, tracklets of 3 frames that were lost and found: the first lasts to 100, whatever its frames."""
    rows = [("a", "ann", "1", (0, 1, 100)), ("b", "ann", "1", (40, 41)), ("c", "ann", "1", (101, 102))]
    rows += [("d", "ann", "2", (0, 1)), ("e", "bob", "1", (0, 1)), ("f", "", "1", (0, 1)), ("g", "", "1", (0, 1))]
    write_person(tmp_path / "x.jpg", (9, 9, 9), 0)
    lines = [
        f"query+gallery,{name},x.jpg,{person},{camera},{time}" for name, person, camera, times in rows for time in times
    ]
    (tmp_path / "manifest.csv").write_text("split,tracklet,path,person,camera,time\n" + "\n".join(lines))
    with caplog.at_level("INFO"):
        run(tmp_path, "--output", tmp_path / "out", "--read", "false", "--purpose", "extract")
    content = json.loads((tmp_path / "out" / "check.json").read_text())
    assert content["one_person_at_once"] == {"count": 1, "for_example": ["a and b, person ann, camera 1"]}
    assert "1 pairs of tracklets are of one person that one camera saw in two places at once" in caplog.text
