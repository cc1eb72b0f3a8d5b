"""How tracklets become clips: one specification, resolved once and passed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from st_reid.data.clips import SINGLE_FRAMES


@dataclass(frozen=True)
class ClipSpec:
    """How tracklets become clips.

    Attributes:
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        seq_len: frames in a clip, T.
        interpolation: how frames are resized, ``"bilinear"`` or ``"bicubic"``.
        sampler: name of the clip sampler; ``"all"`` makes clips that hold every frame.
        frames: what an evaluation sees of a tracklet, see :func:`~st_reid.data.clips.evaluation_clips`.
        batch: clips in a batch.
        seed: of random samplers, and of shuffled frames.
    """

    height: int = 256
    width: int = 128
    seq_len: int = 8
    interpolation: str = "bilinear"
    sampler: str = "all"
    frames: str = "ordered"
    batch: int = 16
    seed: int = 0

    def changed(self, **chosen: Any) -> ClipSpec:
        """Return a copy with the values of ``chosen`` that are not ``None``."""
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})

    def for_model(self, uses_time: bool) -> ClipSpec:
        """Return the specification for a model.

        If the model does not use time, ``"all"`` makes clips of one frame: nothing is padded, and the mean over clips
        is the exact mean over frames. Where clips have one frame, a batch has as many frames as before.
        """
        if self.frames in SINGLE_FRAMES:
            return replace(self, batch=self.batch * self.seq_len)
        if uses_time or self.sampler != "all":
            return self
        return replace(self, seq_len=1, batch=self.batch * self.seq_len)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (T, 3, H, W) of a clip."""
        return self.seq_len, 3, self.height, self.width
