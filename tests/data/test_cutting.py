"""Cutting a video: the pixels, the times, and what can be wrong."""

import os
import re

import cv2
import numpy as np
import pytest

from st_reid import tracklets
from st_reid.data.datasets import read_dataset

SIZE = (64, 96)  # height, width
FRAMES = 12


def picture(number):
    """A frame with a bright square that moves right by 4 pixels a frame, from x = 8."""
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[20:40, 8 + 4 * number : 28 + 4 * number] = (0, 0, 220)
    return image


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE[::-1])
    for number in range(FRAMES):
        writer.write(picture(number))
    writer.release()
    return path


@pytest.fixture
def tracks(tmp_path):
    """Track 1 follows the square; track 2 is half outside on the left, for frames 3 and 4."""
    path = tmp_path / "tracks.txt"
    lines = [f"{f + 1},1,{8 + 4 * f},20,20,20,1,-1,-1,-1" for f in range(FRAMES)]
    lines += [f"{f},2,-10,5,20,30,0.9,-1,-1,-1" for f in (3, 4)]
    path.write_text("\n".join(reversed(lines)))
    return path


def command(video, tracks, output, *extra):
    return ["--video", str(video), "--tracks", str(tracks), "--output", str(output), *map(str, extra)]


def test_a_box_that_jumps_is_named(video, tracks, tmp_path, caplog):
    tracklets.main(command(video, tracks, tmp_path / "smooth"))
    assert "touch" not in caplog.text
    lines = [line.replace("9,1,40,", "9,1,70,") for line in tracks.read_text().splitlines()]
    tracks.write_text("\n".join(lines))
    tracklets.main(command(video, tracks, tmp_path / "jumps"))
    assert "2 boxes do not touch the track's box of the frame before, first that of track 1 in frame 9" in caplog.text


def test_cuts_what_the_boxes_say(video, tracks, tmp_path):
    (tmp_path / "who.csv").write_text("track_id,person_id,note,clothes\n1,ann,x,red coat\n2,bob,y,\n")
    tracklets.main(command(video, tracks, tmp_path / "out", "--identities", tmp_path / "who.csv", "--camera", "north"))
    dataset = read_dataset("manifest", tmp_path / "out")
    ann, bob = sorted(dataset.query, key=lambda t: t.person)
    assert dataset.gallery == dataset.query
    assert not dataset.train
    assert (ann.person, ann.camera, ann.time, len(ann)) == ("ann", "north", 0.0, FRAMES)
    assert (ann.clothes, bob.clothes) == ("red coat", "")
    assert (bob.person, bob.time, len(bob)) == ("bob", 2.0, 2)
    for path in ann.paths:
        crop = cv2.imread(str(path))
        assert crop.shape == (20, 20, 3)
        assert np.abs(crop.mean(axis=(0, 1)) - (0, 0, 220)).max() < 12  # all square, no background
    assert cv2.imread(str(bob.paths[0])).shape == (30, 10, 3)  # what of the box is inside


def test_two_videos_share_a_clock(video, tracks, tmp_path):
    out = tmp_path / "out"
    tracklets.main(command(video, tracks, out, "--camera", 1, "--fps", 20))
    tracklets.main(
        command(video, tracks, out, "--camera", 2, "--fps", 20, "--start-time", 1000, "--append", "--split", "gallery")
    )
    dataset = read_dataset("manifest", out)
    assert [(t.camera, t.time) for t in dataset.gallery] == [("1", 0), ("1", 4), ("2", 1000), ("2", 1004)]
    assert {t.camera for t in dataset.query} == {"1"}
    assert all(p.is_file() for t in dataset.gallery for p in t.paths)


def test_boxes_outside_are_dropped_and_counted(video, tracks, tmp_path, caplog):
    tracks.write_text(tracks.read_text() + "\n5,3,-50,0,20,20,1\n99,1,0,0,9,9,1\n6,4,0,0,9,9,0")
    tracklets.main(command(video, tracks, tmp_path / "out"))
    assert "dropped 1 boxes outside of the picture" in caplog.text
    assert f"dropped 1 boxes beyond the video's last frame, {FRAMES}" in caplog.text
    assert {t.name for t in read_dataset("manifest", tmp_path / "out").query} == {"walk_c1_0001", "walk_c1_0002"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": "missing.avi"}, "no file .*missing.avi"),
        ({"tracks": "1,2,three,4,5,6"}, "line 1: '1,2,three,4,5,6' is no box"),
        ({"tracks": "1,1,0,0,0,5"}, "no box is left of 1: 1 of no size, or not finite"),
        ({"tracks": "1,1,nan,0,5,5"}, "1 of no size, or not finite"),
        ({"tracks": "nan,1,0,0,5,5"}, "1 of no size, or not finite"),
        ({"tracks": "1,1,0,0,5,5\n1,1,0,0,5,5"}, "track 1 stands in frame 1 twice"),
        ({"tracks": ""}, "no boxes"),
        ({"tracks": "1,1,500,500,5,5"}, "no box of .* do they belong together"),
        ({"tracks": "1,1,500,500,5,5", "extra": ["--strict"]}, "track 1 in frame 1 is outside"),
        ({"identities": "track_id,name\n1,ann"}, "column person_id is missing; expected track_id,person_id"),
        ({"identities": "track_id,person_id\n1,ann\n1.0,bob"}, "track 1 is 'bob', and was 'ann'"),
        ({"identities": "track_id,person_id\n1.5,ann"}, "track_id '1.5' is no number"),
        ({"tracks": "1,1,0,0,0,5\n1,2,0,0,5,5", "extra": ["--strict"]}, "line 1: a box of no size"),
        ({"tracks": "0,1,0,0,5,5"}, "pass --first-frame 0"),
        ({"extra": ["--format", "yolo"]}, "unknown format of boxes 'yolo'"),
        ({"extra": ["--split", "test"]}, "split is 'test'"),
        ({"extra": ["--append"]}, "nothing to append to"),
        ({"extra": ["--camera", "a/b"]}, "part of a file's name"),
        ({"extra": ["--camra", "a"]}, "did you mean 'camera'"),
        ({"not_a_video": True}, "cannot be opened as a video"),
    ],
)
def test_errors_leave_nothing_behind(change, message, video, tracks, tmp_path, command_error, monkeypatch):
    extra = change.get("extra", [])
    if "tracks" in change:
        tracks.write_text(change["tracks"])
    if "identities" in change:
        (tmp_path / "who.csv").write_text(change["identities"])
        extra = ["--identities", tmp_path / "who.csv"]
    if "not_a_video" in change:
        video.write_bytes(b"not a video at all")
    before = sorted(tmp_path.iterdir())
    argv = command(tmp_path / change.get("video", video.name), tracks, tmp_path / "out", *extra)
    error = command_error(tracklets.main, argv, monkeypatch)
    assert re.search(message, error)
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_append_leaves_the_dataset_as_it_was(video, tracks, tmp_path, command_error, monkeypatch):
    out = tmp_path / "out"
    tracklets.main(command(video, tracks, out))
    before = sorted(out.rglob("*")), (out / "manifest.csv").read_text()

    def full(*paths):
        raise OSError(28, "No space left on device", str(paths[0]))

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        error = command_error(tracklets.main, command(video, tracks, out, "--append", "--camera", 2), patched)
    assert "No space left on device" in error
    assert (sorted(out.rglob("*")), (out / "manifest.csv").read_text()) == before
    tracklets.main(command(video, tracks, out, "--append", "--camera", 2))


def test_a_folder_that_no_row_names_is_replaced(video, tracks, tmp_path, caplog):
    whole, out = tmp_path / "whole", tmp_path / "out"
    for folder in (whole, out):
        tracklets.main(command(video, tracks, folder))
    left = out / "walk_c2" / "0009"  # by a kill between images and manifest
    left.mkdir(parents=True)
    (left / "000001.jpg").write_text("half")
    for folder in (whole, out):
        with caplog.at_level("INFO"):
            tracklets.main(command(video, tracks, folder, "--append", "--camera", 2))
    assert caplog.text.count("which no row of manifest.csv names, is replaced") == 1
    assert [p.relative_to(out) for p in sorted(out.rglob("*"))] == [
        p.relative_to(whole) for p in sorted(whole.rglob("*"))
    ]
    assert (out / "manifest.csv").read_text() == (whole / "manifest.csv").read_text()


@pytest.mark.parametrize("moment", ["rename", "replace"])
def test_a_signal_while_images_and_manifest_are_moved(moment, video, tracks, tmp_path, monkeypatch):
    out = tmp_path / "out"
    tracklets.main(command(video, tracks, out))
    original = getattr(os, moment)

    def signalled(*paths):
        original(*paths)
        raise KeyboardInterrupt  # a handler is run when the call has returned

    monkeypatch.setattr(os, moment, signalled)
    with pytest.raises(KeyboardInterrupt):
        tracklets.main(command(video, tracks, out, "--append", "--camera", 2))
    assert (out / "walk_c2").exists() == (moment == "replace")
    assert all(path.exists() for t in read_dataset("manifest", out).query for path in t.paths)


def test_an_existing_folder_is_not_touched(video, tracks, tmp_path, command_error, monkeypatch):
    tracklets.main(command(video, tracks, tmp_path / "out"))
    manifest = (tmp_path / "out" / "manifest.csv").read_text()
    assert "exists" in command_error(tracklets.main, command(video, tracks, tmp_path / "out"), monkeypatch)
    again = command(video, tracks, tmp_path / "out", "--append")
    assert "has a video 'walk_c1' already" in command_error(tracklets.main, again, monkeypatch)
    assert (tmp_path / "out" / "manifest.csv").read_text() == manifest


@pytest.mark.parametrize("rows", ["1.0,ann", "1.,ann", " 1 , ann ", "1,ann\n2,"])
def test_tracks_that_are_not_named_are_unknown(rows, video, tracks, tmp_path, caplog):
    (tmp_path / "who.csv").write_text(f"track_id,person_id\n{rows}\n")
    with caplog.at_level("INFO"):
        tracklets.main(command(video, tracks, tmp_path / "out", "--identities", tmp_path / "who.csv"))
    assert {t.person for t in read_dataset("manifest", tmp_path / "out").query} == {"ann", ""}
    assert "the persons of 1 tracks are unknown: 2" in caplog.text


def test_a_folder_of_frames_is_a_video(video, tracks, tmp_path):
    frames = tmp_path / "seq" / "img1"
    frames.mkdir(parents=True)
    capture, number = cv2.VideoCapture(str(video)), 0
    while (read := capture.read())[0]:
        number += 1
        assert cv2.imwrite(str(frames / f"{number}.png"), read[1])
    for path, out in ((video, "a"), (frames, "b"), (frames / "*.png", "c")):
        tracklets.main(command(path, tracks, tmp_path / out, "--split", "gallery"))
    a, *others = (read_dataset("manifest", tmp_path / out).gallery for out in "abc")
    for other in others:
        assert [t.name.replace("seq", "walk") for t in other] == [t.name for t in a]
        assert [t.times for t in other] == [t.times for t in a]
        for ours, theirs in zip(a, other, strict=True):
            difference = cv2.imread(str(ours.paths[-1])).astype(int) - cv2.imread(str(theirs.paths[-1]))
            assert np.abs(difference).mean() < 2


def test_boxes_in_a_broken_image_are_counted(tracks, tmp_path, monkeypatch, caplog, command_error):
    frames = tmp_path / "seq"
    frames.mkdir()
    numbers = sorted({int(line.split(",")[0]) for line in tracks.read_text().splitlines()})
    for number in range(1, numbers[-1] + 1):
        assert cv2.imwrite(str(frames / f"{number}.png"), np.full((120, 160, 3), 50, np.uint8))
    broken = numbers[1]
    (frames / f"{broken}.png").write_bytes(b"broken")
    count = sum(line.startswith(f"{broken},") for line in tracks.read_text().splitlines())
    strict = command(frames, tracks, tmp_path / "out", "--strict")
    assert f"{count} boxes are in frames of" in command_error(tracklets.main, strict, monkeypatch)
    assert not (tmp_path / "out").exists()
    tracklets.main(command(frames, tracks, tmp_path / "out"))
    assert f"dropped {count} boxes in frames that cannot be decoded" in caplog.text
