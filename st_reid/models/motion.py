"""``motion``: the mean over frames, plus how the features change over time. An experiment of this project.

f = mean_t x_t + P s with s = sqrt(var_t(k * x)), the deviation over time of a temporal convolution of its own for each
channel. It uses the order of the frames: the kernel sees neighbours. A clip of one frame has no deviation, s = 0, and
gives its x. It begins as the mean: P = 0.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.head import FrameHead
from st_reid.models.temporal import Family, add_family

KERNEL = 3
EPSILON = 1e-6


class MotionHead(FrameHead):
    """The mean over frames, plus a projection of the deviation over time."""

    def add_layers(self, dim: int) -> None:
        self.temporal = nn.Conv1d(dim, dim, KERNEL, groups=dim, bias=False)
        self.project = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.project.weight)

    def unite(self, frames: Tensor) -> Tensor:
        # The first and last frames are repeated: zeros beside them would look like change.
        padded = F.pad(frames.mT, (KERNEL // 2, KERNEL // 2), mode="replicate")
        responses = self.temporal(padded)  # (B, D, T)
        variance = responses.var(dim=2, correction=0)
        deviation = (variance + EPSILON).sqrt() - EPSILON**0.5
        return frames.mean(dim=1) + self.project(deviation)


add_family("motion", Family(MotionHead))
