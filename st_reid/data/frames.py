"""Decodes image files, and handles those that cannot be read."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from st_reid.data.tracklet import Tracklet
from st_reid.errors import UserError, first_line, unknown_name
from st_reid.reading import check_file

logger = logging.getLogger(__name__)

ON_BAD_IMAGE = ("stop", "skip")
FORMATS = ("PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG")
"""The formats that Pillow may try: some of its other formats start programs."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""The suffixes of images, in upper or lower case."""
BEHIND = (124, 116, 104)  # ImageNet's mean, which is nearly zero for a model
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)  # the greatest share, and values of 8, 10, 12, 14 and 16 bits
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
MAX_PIXELS = 2**26
"""Pixels of an image or of a video's frame; the environment variable ``ST_REID_MAX_PIXELS`` has another limit."""
MAX_BYTES_PER_PIXEL = 16
"""Of an image file: larger ones are not read."""


class UnreadableImage(UserError):  # noqa: N818 - it names the image, as UserError the user
    """An image file that is missing, cut short, or no image."""


def read_frame(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to uint8 RGB (h, w, 3).

    OpenCV decodes JPEGs, nearly twice as fast as Pillow on a person's box; Pillow everything else. Pictures are turned
    as their EXIF says; of an animation the first is taken; what is transparent shows ``BEHIND``; values of more than 8
    bits are scaled down by the depth that holds them. Damage inside a JPEG that has its end is not noticed.

    Only regular files are read, and only images of at most :func:`max_pixels`, as their headers say.

    Raises:
        UnreadableImage: the file is missing, cut short, too large, or no image.
        UserError: ``ST_REID_MAX_PIXELS`` is no number.
    """
    limit = max_pixels()
    try:
        data = _read_bytes(path, limit * MAX_BYTES_PER_PIXEL)
        if data.startswith(JPEG_START):
            _check_size(*size_of_jpeg(data), limit)
            pixels = _decode_jpeg(data)
        else:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.height, image.width, limit)
                if getattr(image, "n_frames", 1) > 1:
                    logger.info(f"{path} has {image.n_frames} pictures; the first is taken")
                pixels = _as_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise _unreadable(path, "no such file") from None
    except Image.UnidentifiedImageError:
        raise _unreadable(path, "not an image" if data else "the file is empty") from None
    except UserError as error:  # no regular file
        raise _unreadable(path, str(error)) from None
    except (OSError, SyntaxError, ValueError, cv2.error, Image.DecompressionBombError) as error:
        raise _unreadable(path, " ".join(str(error).split())) from error
    except Exception as error:  # damage that a decoder did not foresee
        raise _unreadable(path, f"{type(error).__name__} {first_line(error)}") from error
    return pixels


def max_pixels() -> int:
    """Return how many pixels an image or a frame may have: ``MAX_PIXELS``, or what ``ST_REID_MAX_PIXELS`` says.

    Raises:
        UserError: it says no whole number of at least 1.
    """
    said = os.environ.get("ST_REID_MAX_PIXELS", str(MAX_PIXELS))
    if not re.fullmatch("[0-9]{1,18}", said) or int(said) < 1:
        raise UserError(f"ST_REID_MAX_PIXELS is {said[:60]!r}; expected a whole number of pixels, such as {MAX_PIXELS}")
    return int(said)


def size_of_jpeg(data: bytes) -> tuple[int, int]:
    """Return height and width as a JPEG's header says them, found as libjpeg finds them.

    Raises:
        ValueError: it does not say them.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 9 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0xFF):  # no marker, or padding before one
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame begins
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("the JPEG is cut short or damaged")


def _read_bytes(path: Path, limit: int) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        check_file(path)  # says what it is
    if status.st_size > limit:
        raise ValueError(f"{status.st_size} bytes; expected at most {limit}, or raise ST_REID_MAX_PIXELS")
    return path.read_bytes()


def _check_size(height: int, width: int, limit: int) -> None:
    if height * width > limit:
        raise ValueError(
            f"{height} x {width} pixels are more than {limit}; if they are meant, raise ST_REID_MAX_PIXELS"
        )


def _as_rgb(image: Image.Image) -> NDArray:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits, or floats: Pillow would cut off what is above 255
        values = np.nan_to_num(np.asarray(image, np.float64))
        depths = DEPTHS if image.mode[0] == "F" else DEPTHS[1:]  # floats may be shares
        depth = next((depth for depth in depths if values.max(initial=0) <= depth), values.max(initial=1))
        gray = np.clip(values * (255 / depth), 0, 255).round().astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (*BEHIND, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _decode_jpeg(data: bytes) -> NDArray:
    # Some versions of OpenCV fill what is missing with grey. The search leaves room for what cameras append.
    complete = data.rfind(JPEG_END, -1024) >= 0
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if complete else None
    if pixels is None:
        raise ValueError("the JPEG is cut short or damaged")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _unreadable(path: Path, reason: str) -> UnreadableImage:
    return UnreadableImage(f"cannot read image {path}: {reason}; repair or remove it, or set on_bad_image to skip")


class FrameReader:
    """Reads frames of tracklets, and handles bad ones.

    Args:
        on_bad_image: ``"stop"`` raises; ``"skip"`` puts the nearest readable frame of the tracklet in its place (the
            earlier one of two) and warns once per file and process.

    Raises:
        UserError: an unknown ``on_bad_image``.
    """

    def __init__(self, on_bad_image: str = "stop") -> None:
        if on_bad_image not in ON_BAD_IMAGE:
            raise unknown_name("on_bad_image", on_bad_image, ON_BAD_IMAGE)
        self.skip = on_bad_image == "skip"
        self._bad: set[Path] = set()

    def read(self, tracklet: Tracklet, indices: Iterable[int]) -> list[NDArray[np.uint8]]:
        """Read the frames ``indices`` of ``tracklet``, each file once: uint8 RGB (h, w, 3) each.

        Raises:
            UnreadableImage: a bad image, and ``on_bad_image`` is ``"stop"``.
            UserError: ``"skip"``, and the tracklet has no readable image.
        """
        indices = [int(i) for i in indices]
        frames = {index: self._read_one(tracklet, index) for index in dict.fromkeys(indices)}
        return [frames[index] for index in indices]

    def _read_one(self, tracklet: Tracklet, index: int) -> NDArray[np.uint8]:
        if not self.skip:
            return read_frame(tracklet.paths[index])
        for near in sorted(range(len(tracklet)), key=lambda i: (abs(i - index), i)):
            path = tracklet.paths[near]
            if path in self._bad:
                continue
            try:
                return read_frame(path)
            except UnreadableImage as error:
                self._bad.add(path)
                logger.warning("skipped in tracklet %s: %s", tracklet.name, error)
        raise UserError(
            f"tracklet {tracklet.name!r}: none of its {len(tracklet)} images can be read; remove the tracklet"
        )
