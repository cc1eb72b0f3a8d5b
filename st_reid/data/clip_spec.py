"""How tracklets become clips: one specification, resolved once and passed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class ClipSpec:
    """How tracklets become clips.

    Attributes:
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        seq_len: frames in a clip, T.
        interpolation: how frames are resized, ``"bilinear"`` or ``"bicubic"``.
        sampler: name of the clip sampler; ``"all"`` makes clips that hold every frame.
        batch: clips in a batch.
        seed: of random samplers.
    """

    height: int = 256
    width: int = 128
    seq_len: int = 8
    interpolation: str = "bilinear"
    sampler: str = "all"
    batch: int = 16
    seed: int = 0

    def changed(self, **chosen: Any) -> ClipSpec:
        """Return a copy with the values of ``chosen`` that are not ``None``."""
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})

    def for_model(self, uses_time: bool) -> ClipSpec:
        """Return the specification for a model.

        If the model does not use time, ``"all"`` makes clips of one frame: nothing is padded, and the mean over clips
        is the exact mean over frames.
        """
        if uses_time or self.sampler != "all":
            return self
        return replace(self, seq_len=1, batch=self.batch * self.seq_len)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (T, 3, H, W) of a clip."""
        return self.seq_len, 3, self.height, self.width
