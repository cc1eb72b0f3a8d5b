"""Pictures as cameras and programs write them, against the pixels that went in."""

import logging

import numpy as np
import pytest
from PIL import Image

from st_reid.data.frames import BEHIND, UnreadableImage, read_frame

GRAY = (np.arange(64 * 32).reshape(64, 32) % 200).astype(np.uint8)
OPTIONS = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}
COLOR = np.dstack([GRAY, 255 - GRAY, np.roll(GRAY, 9)])


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pictures_are_turned_as_exif_says(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(COLOR).save(path, exif=exif, **OPTIONS.get(suffix, {}))
    turned = np.rot90(COLOR, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    found = read_frame(path)
    assert found.shape == turned.shape
    assert np.abs(found.astype(int) - turned).mean() < (3 if suffix == "jpg" else 1e-9)


@pytest.mark.parametrize("scale", [1, 4, 16, 257])
def test_more_than_eight_bits_are_scaled_by_what_they_hold(tmp_path, scale):
    """10, 12 and 16 bits: all of them came out white before."""
    values = GRAY.astype(np.uint16) * scale
    values[0, 0] = {1: 255, 4: 1023, 16: 4095, 257: 65535}[scale]
    Image.fromarray(values).save(tmp_path / "x.png")
    found = read_frame(tmp_path / "x.png")
    assert found.shape == (64, 32, 3)
    assert np.abs(found[1:, :, 0].astype(int) - GRAY[1:]).max() <= 1
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("greatest", [1.0, 255.0])
def test_floats_may_be_shares_or_bytes(tmp_path, greatest):
    values = (GRAY / 255 * greatest).astype(np.float32)
    values[0] = np.nan, *values[0, 1:-1], greatest
    Image.fromarray(values).save(tmp_path / "x.tif")
    found = read_frame(tmp_path / "x.tif")
    assert np.abs(found[1:, :, 0].astype(int) - GRAY[1:]).max() <= 1


def test_two_dark_persons_of_sixteen_bits_are_not_alike(tmp_path):
    for name, values in (("a", GRAY), ("b", np.flipud(GRAY))):
        Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / f"{name}.png")
    assert np.abs(read_frame(tmp_path / "a.png").astype(int) - read_frame(tmp_path / "b.png")).mean() > 20


def test_what_is_transparent_shows_one_colour_whatever_is_hidden(tmp_path):
    alpha = np.where(GRAY > 100, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([COLOR, alpha])).save(tmp_path / "x.png")
    found = read_frame(tmp_path / "x.png")
    assert (found[GRAY <= 100] == BEHIND).all()
    np.testing.assert_array_equal(found[GRAY > 100], COLOR[GRAY > 100])


@pytest.mark.parametrize(
    ("mode", "suffix"), [("P", "png"), ("CMYK", "tif"), ("CMYK", "jpg"), ("L", "png"), ("1", "png")]
)
def test_other_modes(tmp_path, mode, suffix):
    gray = np.dstack([GRAY] * 3)
    Image.fromarray(gray).convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / f"x.{suffix}")
    found = read_frame(tmp_path / f"x.{suffix}")
    assert found.shape == gray.shape
    assert mode == "1" or np.abs(found.astype(int) - gray).mean() < 3


def test_of_an_animation_the_first_is_taken_and_said(tmp_path, caplog):
    first = Image.fromarray(COLOR).convert("P")
    first.save(tmp_path / "x.gif", save_all=True, append_images=[first.rotate(90)])
    with caplog.at_level(logging.INFO):
        found = read_frame(tmp_path / "x.gif")
    assert np.abs(found.astype(int) - np.asarray(first.convert("RGB"))).mean() < 1
    assert "x.gif has 2 pictures; the first is taken" in caplog.text


def test_a_program_in_place_of_a_picture_is_not_run(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "x.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(UnreadableImage, match="not an image"):
        read_frame(tmp_path / "x.jpg")
