"""Decodes image files, and handles those that cannot be read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from st_reid.data.tracklet import Tracklet
from st_reid.errors import UserError, unknown_name

logger = logging.getLogger(__name__)

ON_BAD_IMAGE = ("stop", "skip")
FORMATS = ("PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG")
"""The formats that Pillow may try: some of its other formats start programs."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""The suffixes of images, in upper or lower case."""
BEHIND = (124, 116, 104)  # ImageNet's mean, which is nearly zero for a model
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)  # the greatest share, and values of 8, 10, 12, 14 and 16 bits
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class UnreadableImage(UserError):  # noqa: N818 - it names the image, as UserError the user
    """An image file that is missing, cut short, or no image."""


def read_frame(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to uint8 RGB (h, w, 3).

    OpenCV decodes JPEGs, nearly twice as fast as Pillow on a person's box; Pillow everything else. Pictures are turned
    as their EXIF says; of an animation the first is taken; what is transparent shows ``BEHIND``; values of more than 8
    bits are scaled down by the depth that holds them. Damage inside a JPEG that has its end is not noticed.

    Raises:
        UnreadableImage: the file is missing, cut short, or no image.
    """
    try:
        data = path.read_bytes()
        if data.startswith(JPEG_START):
            pixels = _decode_jpeg(data)
        else:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1:
                    logger.info(f"{path} has {image.n_frames} pictures; the first is taken")
                pixels = _as_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise _unreadable(path, "no such file") from None
    except Image.UnidentifiedImageError:
        raise _unreadable(path, "not an image" if data else "the file is empty") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, " ".join(str(error).split())) from error
    return pixels


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
