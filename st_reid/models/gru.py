"""``gru``: a gated recurrent unit over the frames, beside their mean.

McLaughlin et al., Recurrent Convolutional Network for Video-based Person Re-Identification, CVPR 2016, with the GRU of
Cho et al., EMNLP 2014: f = mean_t x_t + P mean_t h_t with h_t = GRU(x_t, h_{t-1}). It uses the order of the frames. It
begins as the mean: P = 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from st_reid.models.layers.head import FrameHead
from st_reid.models.temporal import Family, add_family

WIDTH = 256


class GRUHead(FrameHead):
    """The mean over frames, plus a projection of the mean state."""

    def add_layers(self, dim: int) -> None:
        self.gru = nn.GRU(dim, WIDTH, batch_first=True)
        self.project = nn.Linear(WIDTH, dim, bias=False)
        nn.init.zeros_(self.project.weight)

    def unite(self, frames: Tensor) -> Tensor:
        states, _ = self.gru(frames)  # (B, T, WIDTH)
        return frames.mean(dim=1) + self.project(states.mean(dim=1))


add_family("gru", Family(GRUHead))
