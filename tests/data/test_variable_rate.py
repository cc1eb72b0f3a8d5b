"""Videos of a variable frame rate, as encoders write them: the time of a frame is that of its timestamp.

``videos/variable.mkv`` (MPEG-4) and ``variable.mp4`` (H.264 with B-frames, so its frames are stored in another order
and an edit list says where they begin) were written by PyAV 18: 64 x 64, 60 frames a thirtieth of a second apart, then
50 frames a fifth of a second apart, in milliseconds; frame i has the brightness 20 + 2 i.
"""

import struct
from pathlib import Path

import numpy as np
import pytest

from st_reid import tracklets
from st_reid.data.datasets import read_dataset
from st_reid.data.video import frames_of, probe

VIDEOS = Path(__file__).parent / "videos"
TIMES = np.array([round(1000 * i / 30) for i in range(60)] + [2000 + 200 * i for i in range(50)]) / 1000
NUMBERS = np.arange(len(TIMES))


def seconds_and_numbers(video):
    """Return when each frame is shown, on a clock of seconds, and which frame it is by its brightness."""
    fps = probe(video).fps
    frames = list(frames_of(video, 1000))
    brightness = np.array([frame.picture.mean() for frame in frames])
    return np.array([frame.time for frame in frames]) / fps, np.rint((brightness - 20) / 2)


@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_times_are_those_of_the_timestamps(name):
    seconds, numbers = seconds_and_numbers(VIDEOS / name)
    np.testing.assert_allclose(numbers, NUMBERS, atol=2)
    np.testing.assert_allclose(seconds, TIMES, atol=0.006)  # a twentieth of a frame is rounded away


def test_an_edit_list_that_leaves_out_the_beginning(tmp_path):
    """As a phone's trimmed video has: the film begins a second later."""
    data = bytearray((VIDEOS / "variable.mp4").read_bytes())
    unit = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    at = data.index(b"elst") + 12
    duration, begin = struct.unpack_from(">Ii", data, at)
    struct.pack_into(">Ii", data, at, duration - 1000, begin + unit)
    (tmp_path / "trimmed.mp4").write_bytes(data)
    seconds, numbers = seconds_and_numbers(tmp_path / "trimmed.mp4")
    np.testing.assert_allclose(numbers, NUMBERS[30:], atol=2)
    np.testing.assert_allclose(seconds, TIMES[30:] - 1, atol=0.006)


@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_a_frame_at_second_10_has_time_100_on_a_clock_of_10(name, tmp_path):
    at = int(np.flatnonzero(TIMES == 10)[0]) + 1
    (tmp_path / "t.txt").write_text(f"1,1,4,4,20,40,1\n{at},1,4,4,20,40,1\n{at},2,30,4,20,40,1\n")
    argv = ["--video", VIDEOS / name, "--tracks", tmp_path / "t.txt", "--fps", 10, "--output", tmp_path / "out"]
    tracklets.main([str(a) for a in argv])
    one, two = read_dataset("manifest", tmp_path / "out").query
    assert (one.time, two.time) == (0, pytest.approx(100, abs=0.06))
    assert one.last == two.last == two.time
