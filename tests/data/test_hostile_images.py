"""Images and videos that somebody else made: they start no program, hang nothing, fill no memory, lie in the root."""

import os
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image
from small_data import write_dataset, write_image

from st_reid.data.datasets import read_dataset
from st_reid.data.frames import FrameReader, UnreadableImage, read_frame, size_of_jpeg
from st_reid.data.tracklet import Tracklet
from st_reid.data.video import probe
from st_reid.errors import UserError
from st_reid.features.video import list_videos

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"


def with_size(data, height, width):
    """Return a JPEG or a PNG whose header has another size."""
    if data[:2] == b"\xff\xd8":
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]
    at = data.index(b"IHDR") + 4
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[at + 8 : at + 13]
    from zlib import crc32

    return data[: at - 4] + head + crc32(head).to_bytes(4, "big") + data[at + 17 :]


def refused(path, *needed):
    with pytest.raises(UnreadableImage) as caught:
        read_frame(path)
    assert "\n" not in str(caught.value)
    for text in (str(path), *needed):
        assert text in str(caught.value)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif"])
def test_an_image_starts_no_program(name, tmp_path, monkeypatch):
    def start(*args, **kwargs):
        raise AssertionError(f"{args} was started")

    for function in ("Popen", "check_call", "run"):
        monkeypatch.setattr(subprocess, function, start)
    (tmp_path / name).write_bytes(EPS)
    refused(tmp_path / name, "not an image")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_size_in_the_header_is_bounded_before_decoding(suffix, tmp_path, monkeypatch):
    path = write_image(tmp_path / f"x{suffix}", 100)
    data = path.read_bytes()
    assert read_frame(path).shape == (32, 16, 3)
    for height, width in ((65500, 65500), (8193, 8193), (65535, 1025)):
        path.write_bytes(with_size(data, height, width))
        ours = [f"{height} x {width} pixels are more than {2**26}", "ST_REID_MAX_PIXELS"]
        refused(path, *(ours if suffix == ".jpg" or width < 65500 else ["exceeds limit"]))  # which is Pillow's own
    path.write_bytes(data)
    monkeypatch.setenv("ST_REID_MAX_PIXELS", "511")
    refused(path, "32 x 16 pixels are more than 511")
    monkeypatch.setenv("ST_REID_MAX_PIXELS", "512")
    assert read_frame(path).shape == (32, 16, 3)
    for wrong in ("many", "0", "-1", "1e9", ""):
        monkeypatch.setenv("ST_REID_MAX_PIXELS", wrong)
        with pytest.raises(UserError, match="expected a whole number of pixels"):
            read_frame(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(2**41)
    refused(tmp_path / "x.png", f"{2**41} bytes")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_images(make, tmp_path):
    make(tmp_path / "x.jpg")
    refused(tmp_path / "x.jpg", "expected a file")


def test_skip_takes_the_nearest_image_for_each_of_them(tmp_path):
    good = write_image(tmp_path / "0.jpg", 100)
    large = tmp_path / "1.jpg"
    large.write_bytes(with_size(good.read_bytes(), 65500, 65500))
    os.mkfifo(tmp_path / "2.jpg")
    (tmp_path / "3.jpg").write_bytes(EPS)
    (tmp_path / "4.jpg").write_bytes(good.read_bytes()[:30] + b"\xff\xd9")
    tracklet = Tracklet("t", tuple(tmp_path / f"{i}.jpg" for i in range(6)), "", "1")
    for frame in FrameReader("skip").read(tracklet, range(6)):
        np.testing.assert_array_equal(frame, read_frame(good))


def test_the_size_of_a_jpeg_is_the_one_that_pillow_finds(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(40):
        height, width = rng.integers(1, 300, 2)
        options = {"progressive": bool(number % 2), "quality": int(rng.integers(5, 95)), "comment": b"\xff\xc0" * 9}
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        image.save(tmp_path / "x.jpg", exif=b"Exif\0\0" + rng.bytes(rng.integers(50)) if number % 3 else b"", **options)
        data = (tmp_path / "x.jpg").read_bytes()
        assert size_of_jpeg(data) == (height, width)
        for padded in (data[:2] + b"\xff" * 7 + data[2:], data[:2] + b"garbage" + data[2:]):  # as libjpeg reads it too
            assert size_of_jpeg(padded) == (height, width)
    for cut in (b"\xff\xd8\xff", data[:20], b"\xff\xd8" + b"\xff" * 1000):
        with pytest.raises(ValueError, match="cut short"):
            size_of_jpeg(cut)


def test_images_outside_of_the_root(tmp_path):
    inside = write_dataset(tmp_path / "in", persons=2)
    outside = write_dataset(tmp_path / "out", persons=2)
    assert read_dataset("manifest", inside)
    (tmp_path / "linked").symlink_to(inside)
    assert read_dataset("manifest", tmp_path / "linked")  # the root itself may be a link
    image, folder = inside / "images/p0c0/001.jpg", inside / "images/p1c1"
    kept = image.read_bytes()
    image.unlink()
    image.symlink_to(inside / "images/p0c0/002.jpg")
    assert read_dataset("manifest", inside)  # to an image inside
    image.unlink()
    image.symlink_to(outside / "images/p0c0/001.jpg")
    for place in (image, folder):
        with pytest.raises(UserError) as caught:
            read_dataset("manifest", inside)
        assert f"{place} leads to {outside}" in str(caught.value)
        assert "set follow_links" in str(caught.value)
        assert read_dataset("manifest", inside, follow_links=True)
        image.unlink()
        image.write_bytes(kept)
        folder.rename(inside / "moved") if not folder.is_symlink() else None
        folder.symlink_to(outside / "images/p1c1") if not folder.is_symlink() else None
    folder.unlink()
    assert read_dataset("manifest", inside)  # what is missing is said when it is read
    (inside.with_name("in2")).mkdir()  # a name that begins alike is another folder
    folder.symlink_to(inside.with_name("in2"))
    with pytest.raises(UserError, match="outside of"):
        read_dataset("manifest", inside)


def test_videos_and_boxes_are_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "boxes.txt").write_text("1,1,1,1,5,5,1\n")
    (tmp_path / "v.avi").write_bytes(b"")
    for video, tracks in (("pipe.avi", "boxes.txt"), ("v.avi", "pipe.avi")):
        with pytest.raises(UserError, match="is a pipe; expected a file"):
            list_videos([str(tmp_path / video)], [str(tmp_path / tracks)], None, None)
    with pytest.raises(UserError, match="is a pipe; expected a file"):
        probe(tmp_path / "pipe.avi")


def test_the_frames_of_a_video_are_bounded(tmp_path, monkeypatch):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert probe(tmp_path / "v.avi")[:2] == (64, 48)
    monkeypatch.setenv("ST_REID_MAX_PIXELS", "3000")
    with pytest.raises(UserError, match="frames of 48 x 64, more than 3000 pixels"):
        probe(tmp_path / "v.avi")


@pytest.mark.parametrize("rate", ["nan", "inf", "-5", "1e300", "25 frames", "%(x)s"])
def test_a_rate_that_no_camera_has(rate, tmp_path):
    write_image(tmp_path / "1.jpg", 100)
    (tmp_path / "seqinfo.ini").write_text(f"[Sequence]\nframeRate={rate}\n")
    assert probe(tmp_path).fps == 0
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=25\n")
    assert probe(tmp_path).fps == 25
