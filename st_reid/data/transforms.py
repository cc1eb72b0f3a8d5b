"""Augmentation, drawn once per clip, on uint8; and normalisation on the device.

A transform takes the frames of a clip, uint8 (h, w, 3) each, and an explicit generator, and returns the clip as
uint8 (T, 3, height, width). The frames of a tracker may differ in size; a clip of equal ones is resized in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ENLARGE = 1.125  # torchreid's Random2DTranslation: enlarge by this, then crop at a random place
ERASE_AREA = (0.02, 0.4)
ERASE_ASPECT = (0.3, 1 / 0.3)

Frames = Sequence[NDArray[np.uint8]]
Transform = Callable[[Frames, np.random.Generator], Tensor]


class Augmentation(NamedTuple):
    """The augmentation drawn for a clip; the same for each of its frames.

    Attributes:
        flip: mirror left and right.
        crop: (top, left) of the part kept, in 0..1 of the possible range; ``None`` keeps the whole frame.
        erase: (top, left, height, width) of the erased rectangle in output pixels, or ``None``.
        jitter: factors of brightness, contrast and saturation, or ``None``.
        cast: factors of red, green and blue, or ``None``.
    """

    flip: bool = False
    crop: tuple[float, float] | None = None
    erase: tuple[int, int, int, int] | None = None
    jitter: tuple[float, float, float] | None = None
    cast: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class TrainTransform:
    """Random crop, flip, colour jitter and erasing, each drawn once for the whole clip.

    Attributes:
        height: output height in pixels.
        width: output width in pixels.
        crop: probability of cutting away a ninth of height and width at a random place.
        flip: probability of mirroring.
        erase: probability of erasing a rectangle of 2 to 40 % of the area, the same in all frames.
        jitter: brightness, contrast and saturation vary by up to this fraction; 0 leaves colours alone.
        cast: red, green and blue vary by up to this fraction, separately, like white balance between cameras.
        fill: value of erased pixels in 0..1, a channel each.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    height: int = 256
    width: int = 128
    crop: float = 0.5
    flip: float = 0.5
    erase: float = 0.5
    jitter: float = 0.0
    cast: float = 0.0
    fill: tuple[float, float, float] = IMAGENET_MEAN
    interpolation: str = "bilinear"

    def __call__(self, frames: Frames, rng: np.random.Generator) -> Tensor:
        """Draw once and apply to all frames: uint8 (T, 3, height, width)."""
        return self.apply(frames, self.draw(rng))

    def draw(self, rng: np.random.Generator) -> Augmentation:
        """Draw the augmentation of a clip."""
        flip = bool(rng.random() < self.flip)
        crop = (rng.random(), rng.random()) if rng.random() < self.crop else None
        erase = self._draw_rectangle(rng) if rng.random() < self.erase else None
        jitter = None
        if self.jitter > 0:
            brightness, contrast, saturation = rng.uniform(max(0.0, 1 - self.jitter), 1 + self.jitter, size=3)
            jitter = (float(brightness), float(contrast), float(saturation))
        cast = None
        if self.cast > 0:
            red, green, blue = rng.uniform(max(0.0, 1 - self.cast), 1 + self.cast, size=3)
            cast = (float(red), float(green), float(blue))
        return Augmentation(flip, crop, erase, jitter, cast)

    def _draw_rectangle(self, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
        for _ in range(100):  # most draws fit; if none does, nothing is erased
            area = rng.uniform(*ERASE_AREA) * self.height * self.width
            aspect = rng.uniform(*ERASE_ASPECT)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < self.height and 0 < w < self.width:
                return int(rng.integers(self.height - h + 1)), int(rng.integers(self.width - w + 1)), h, w
        return None

    def apply(self, frames: Frames, drawn: Augmentation) -> Tensor:
        """Apply an augmentation to every frame: uint8 (T, 3, height, width)."""

        def crop_and_flip(batch: Tensor) -> Tensor:
            # Before the resize: the crop costs no second one, and a flip is cheaper on small frames.
            if drawn.crop is not None:
                h, w = batch.shape[-2:]
                kept_h, kept_w = max(1, round(h / ENLARGE)), max(1, round(w / ENLARGE))
                top, left = round(drawn.crop[0] * (h - kept_h)), round(drawn.crop[1] * (w - kept_w))
                batch = batch[..., top : top + kept_h, left : left + kept_w]
            return F.horizontal_flip(batch) if drawn.flip else batch

        clip = resize_clip(frames, self.height, self.width, crop_and_flip, self.interpolation)
        if drawn.jitter is not None:
            brightness, contrast, saturation = drawn.jitter
            clip = F.adjust_brightness(clip, brightness)
            clip = F.adjust_contrast(clip, contrast)
            clip = F.adjust_saturation(clip, saturation)
        if drawn.cast is not None:
            gains = torch.tensor(drawn.cast)[:, None, None]
            clip = (clip * gains).round_().clamp_(0, 255).to(torch.uint8)
        if drawn.erase is not None:
            top, left, h, w = drawn.erase
            fill = torch.tensor([round(255 * value) for value in self.fill], dtype=torch.uint8)
            clip[..., top : top + h, left : left + w] = fill[:, None, None]
        return clip


@dataclass(frozen=True)
class EvalTransform:
    """Resize only. Nothing is random; ``rng`` is there so that it can replace a training transform."""

    height: int = 256
    width: int = 128
    interpolation: str = "bilinear"

    def __call__(self, frames: Frames, rng: np.random.Generator | None = None) -> Tensor:
        """Return the clip as uint8 (T, 3, height, width)."""
        return resize_clip(frames, self.height, self.width, interpolation=self.interpolation)


def resize_clip(
    frames: Frames,
    height: int,
    width: int,
    before: Callable[[Tensor], Tensor] = lambda batch: batch,
    interpolation: str = "bilinear",
) -> Tensor:
    """Resize frames to one clip, antialiased where it shrinks.

    Args:
        frames: uint8 (h, w, 3) each, of any sizes.
        height: output height in pixels.
        width: output width in pixels.
        before: a function applied to batches (n, 3, h, w) of frames of one size before they are resized.
        interpolation: ``"bilinear"`` or ``"bicubic"``.

    Returns:
        uint8 (T, 3, height, width), contiguous, sharing no memory with ``frames``.
    """
    one_size = len({frame.shape for frame in frames}) == 1
    batches = [list(frames)] if one_size else [[frame] for frame in frames]
    # Channels last is what decoders write and what torch resizes fastest.
    stacked = (torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2) for batch in batches)
    clip = torch.empty(len(frames), 3, height, width, dtype=torch.uint8)
    done = 0
    for batch in stacked:
        resized = F.resize(before(batch), [height, width], InterpolationMode(interpolation), antialias=True)
        for frame, planes in zip(resized.permute(0, 2, 3, 1).numpy(), clip[done:].numpy(), strict=False):
            cv2.split(frame, list(planes))  # into place; three times as fast as torch's contiguous()
        done += len(batch)
    return clip


def to_float(
    clip: Tensor,
    dtype: torch.dtype = torch.float32,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Normalise pixels, on the device that holds them.

    Args:
        clip: uint8 (..., 3, H, W), for example a batch (B, T, 3, H, W).
        dtype: of the result; the arithmetic is float32.
        mean: of a channel, in 0..1.
        std: its deviation.

    Raises:
        TypeError: not uint8, so perhaps normalised already.
    """
    if clip.dtype != torch.uint8:
        raise TypeError(f"to_float got {clip.dtype}; expected the uint8 pixels of a clip")
    middle, spread = (255 * _filled(values, clip.device)[:, None, None] for values in (mean, std))
    return clip.to(torch.float32).sub_(middle).div_(spread).to(dtype)


def _filled(values: Sequence[float], device: torch.device) -> Tensor:
    """Return a vector filled on the device: a copy to it would wait for all queued work."""
    return torch.stack([torch.full((), value, device=device) for value in values])
