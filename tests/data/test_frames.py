"""Image files to pixels: good and bad ones, and what is put in the place of the latter."""

import logging

import numpy as np
import pytest
from PIL import Image
from small_data import cut, write_image

from st_reid.data.frames import FrameReader, UnreadableImage, read_frame
from st_reid.errors import UserError


def largest_difference(a, b):
    return np.abs(a.astype(int) - b).max()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_read_frame_is_rgb(tmp_path, name):
    frame = read_frame(write_image(tmp_path / name, 200))
    assert frame.shape == (32, 16, 3)
    assert frame.dtype == np.uint8
    assert largest_difference(frame, np.array([200, 100, 55])) <= 3


@pytest.mark.parametrize(("name", "mode"), [("g.jpg", "L"), ("g.png", "L"), ("p.png", "P"), ("c.jpg", "CMYK")])
def test_read_frame_of_other_colour_modes(tmp_path, name, mode):
    path = write_image(tmp_path / name, 200, mode)
    assert read_frame(path).shape == (32, 16, 3)
    assert largest_difference(read_frame(path), np.array(Image.open(path).convert("RGB"))) <= 2


def test_read_frame_equals_pillow_on_a_detailed_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "n.jpg")
    assert largest_difference(read_frame(tmp_path / "n.jpg"), np.array(Image.open(tmp_path / "n.jpg"))) <= 2


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_image_is_named(tmp_path, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
    with pytest.raises(UnreadableImage, match=path.name):
        read_frame(cut(path, keep))


def test_a_jpeg_without_its_last_bytes_is_truncated(tmp_path):
    path = write_image(tmp_path / "end.jpg", 90)
    path.write_bytes(path.read_bytes()[:-2])  # the marker of the end only
    with pytest.raises(UnreadableImage, match="cut short"):
        read_frame(path)


def test_a_decoder_that_fills_the_missing_part_is_not_trusted(tmp_path, monkeypatch):
    path = cut(write_image(tmp_path / "grey.jpg", 90, size=(64, 128)), 0.9)
    monkeypatch.setattr("cv2.imdecode", lambda data, flags: np.full((128, 64, 3), 128, np.uint8))
    with pytest.raises(UnreadableImage, match="cut short"):
        read_frame(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = write_image(tmp_path / "long.jpg", 90)
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read_frame(path).shape == (32, 16, 3)


def test_other_bad_images(tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.jpg: no such file"):
        read_frame(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("this is no image")
    with pytest.raises(UnreadableImage, match=r"text\.jpg: not an image"):
        read_frame(tmp_path / "text.jpg")
    with pytest.raises(UnreadableImage, match=str(tmp_path)):
        read_frame(tmp_path)


def test_stop_names_the_image(tracklets):
    bad = cut(tracklets[0].paths[1], 0.5)
    with pytest.raises(UnreadableImage, match=bad.name):
        FrameReader("stop").read(tracklets[0], [0, 1])


def test_skip_takes_the_nearest_readable_frame(tracklets, caplog):
    tracklet = tracklets[5]  # 8 frames
    cut(tracklet.paths[3], 0.5)
    tracklet.paths[4].unlink()
    tracklet.paths[0].unlink()
    tracklet.paths[6].unlink()  # between two good ones
    reader = FrameReader("skip")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            frames = reader.read(tracklet, [0, 3, 4, 4, 6, 7])
    assert [int(f[0, 0, 0]) - 100 for f in frames] == [1, 2, 5, 5, 5, 7]
    assert sorted(str(tracklet.paths[i]) in caplog.text for i in range(8)) == [False] * 4 + [True] * 4
    assert len(caplog.records) == 4  # once a path


def test_skip_gives_up_on_a_tracklet_without_any(tracklets):
    for path in tracklets[0].paths:
        path.unlink()
    with pytest.raises(UserError, match=r"'t0'.*none of its 3 images"):
        FrameReader("skip").read(tracklets[0], [0])


def test_an_unknown_option_is_refused():
    with pytest.raises(UserError, match="did you mean 'skip'"):
        FrameReader("skipp")
