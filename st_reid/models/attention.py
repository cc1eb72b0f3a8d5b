"""``attention``: a weighted mean over frames, with weights that the frames themselves give.

Gao and Nevatia, Revisiting Temporal Modeling for Video-based Person ReID, arXiv:1805.02104, in its plainest form: f =
sum_t a_t x_t with a = softmax_t(w . x_t). It uses the frames as a set, in any order. It begins as the mean: w = 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from st_reid.models.layers.head import FrameHead
from st_reid.models.temporal import Family, add_family


class AttentionHead(FrameHead):
    """A softmax over frames of a score of each."""

    def add_layers(self, dim: int) -> None:
        self.score = nn.Linear(dim, 1, bias=False)  # a bias would change all frames alike
        nn.init.zeros_(self.score.weight)

    def unite(self, frames: Tensor) -> Tensor:
        return (self.score(frames).softmax(dim=1) * frames).sum(dim=1)


add_family("attention", Family(AttentionHead))
