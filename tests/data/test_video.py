"""The clock of a video, and frames that cannot be decoded."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from st_reid.data.video import Video, _Clock, frames_of, probe
from st_reid.errors import UserError


def times(fps, milliseconds):
    clock = _Clock(fps)
    return [clock.time(ms / 1000) for ms in milliseconds]


def test_equal_steps_are_whole_numbers_wherever_the_first_one_is():
    """The PETS video begins at 200 ms, and ends with a timestamp of 0."""
    assert times(10, [200, 300.00000000000006, 400, 500, 0]) == [0, 1, 2, 3, 4]
    assert times(29.97, [1000 * i / 29.97 for i in range(2000)]) == list(range(2000))


def test_a_variable_rate_is_that_of_the_timestamps():
    """A frame at second 10 got the time of its number, 233, on a clock of 10 frames a second; 100 is right."""
    stamps = [33 * i for i in range(200)] + [6600 + 100 * i for i in range(60)]
    found = times(30, stamps)
    rate = 10 / 30
    at = stamps.index(10_000)
    assert found[at] * rate == pytest.approx(100, abs=0.02)
    assert found == sorted(found)


def test_a_video_without_a_rate_counts_frames():
    assert times(0, [0, 0, 0]) == [0, 1, 2]


@pytest.fixture
def video(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for i in range(30):
        writer.write(np.full((120, 160, 3), 8 * i, np.uint8))
    writer.release()
    return tmp_path / "v.avi"


def test_a_broken_frame_is_not_the_end(video, caplog):
    data = bytearray(video.read_bytes())
    at = [m.start() for m in re.finditer(b"00dc", bytes(data))][12]
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    data[at + 8 : at + 8 + size] = bytes(size)
    video.write_bytes(data)
    found = list(frames_of(video, 100))
    (missing,) = set(range(1, 31)) - {f.number for f in found}
    assert 2 < missing < 29
    assert [f.time for f in found] == [f.number - 1 for f in found]
    for frame in found:
        assert abs(int(frame.picture.mean()) - 8 * (frame.number - 1)) < 6
    assert "1 frames cannot be decoded, and are left out" in caplog.text


@pytest.mark.parametrize("broken", [1, 3])
def test_a_broken_first_frame_is_left_out_too(broken, video, caplog):
    data = bytearray(video.read_bytes())
    for at in [m.start() for m in re.finditer(b"00dc", bytes(data))][1 : 1 + broken]:  # the first is a header
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        data[at + 8 : at + 8 + size] = bytes(size)
    video.write_bytes(data)
    assert probe(video) == (160, 120, 30, 10.0)
    found = list(frames_of(video, 100))
    assert [f.number for f in found] == list(range(broken + 1, 31))
    assert [f.time for f in found] == [f.number - 1 for f in found]
    for frame in found:
        assert abs(int(frame.picture.mean()) - 8 * (frame.number - 1)) < 6
    assert f"{broken} frames cannot be decoded, and are left out" in caplog.text


def test_what_a_video_says_of_itself(video, tmp_path):
    assert probe(video) == (160, 120, 30, 10.0)
    assert [f.number for f in frames_of(video, 3)] == [1, 2, 3]
    frames = tmp_path / "MOT17-02" / "img1"
    frames.mkdir(parents=True)
    for number in (1, 2, 10):
        cv2.imwrite(str(frames / f"{number}.JPG"), np.full((20, 10, 3), number * 20, np.uint8))
    (frames / "3.png").write_bytes(b"broken")
    (frames.parent / "seqinfo.ini").write_text("[Sequence]\nframeRate=25\n")
    assert probe(frames) == (10, 20, 4, 25.0)
    assert [(f.number, int(f.picture.mean() / 20)) for f in frames_of(frames, 9)] == [(1, 1), (2, 2), (4, 10)]


def test_what_is_no_video(tmp_path):
    for path, message in ((tmp_path / "no.avi", "no file"), (tmp_path, "no images in it")):
        with pytest.raises(UserError, match=message):
            probe(path)


def test_gaps_in_the_numbers_of_images_are_said(tmp_path, caplog):
    for number in (1, 2, 4, 5):
        cv2.imwrite(str(tmp_path / f"{number:06d}.png"), np.zeros((20, 10, 3), np.uint8))
    probe(tmp_path)
    gap = "1 gaps in the numbers of the images; 000004.png follows 000002.png and is taken as frame 3"
    assert gap in caplog.text
    with pytest.raises(UserError, match=gap):
        probe(tmp_path, strict=True)
    caplog.clear()
    cv2.imwrite(str(tmp_path / "000003.png"), np.zeros((20, 10, 3), np.uint8))
    probe(tmp_path)
    assert not caplog.text


def test_a_broken_first_image_does_not_hide_the_size(tmp_path):
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(UserError):
        probe(tmp_path)
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((20, 10, 3), np.uint8))
    assert probe(tmp_path)[:3] == (10, 20, 2)


def test_a_folder_named_from_inside_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "seq" / "img1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "seq")
    assert Video(Path("img1"), Path("t.txt"), "1", 0).source == "seq_c1"


@pytest.mark.parametrize("first", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("then", [np.nan, np.inf, -np.inf, 1e308])
def test_timestamps_that_are_none_are_one_step(first, then):
    clock = _Clock(1e6)
    assert [clock.time(first), clock.time(then), clock.time(then)] == [0, 1, 2]
