"""``transformer``: one layer of self-attention over the frames, and their mean.

Vaswani et al., Attention Is All You Need, NeurIPS 2017, with the norms before the branches: with positions p_t, the
sines and cosines of that paper, y = x + A(LN(x + p)) and f = mean_t (y + M(LN(y))), where A is attention over frames
with several heads and M has one hidden layer. It uses the order of the frames. It begins as the mean: the last layers
of A and M are zero.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.head import FrameHead
from st_reid.models.temporal import Family, add_family

WIDTH = 256
HEADS = 4


class TransformerHead(FrameHead):
    """One encoder layer of width 256 and the mean."""

    def add_layers(self, dim: int) -> None:
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.query_key_value = nn.Linear(dim, 3 * WIDTH)
        self.project = nn.Linear(WIDTH, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, WIDTH), nn.GELU(), nn.Linear(WIDTH, dim))
        for last in (self.project, self.mlp[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def attend(self, x: Tensor) -> Tensor:
        """Map frames (B, T, D) to what they gather of each other (B, T, D)."""
        query, key, value = self.query_key_value(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        gathered = F.scaled_dot_product_attention(query, key, value)  # (B, HEADS, T, WIDTH / HEADS)
        return self.project(gathered.transpose(1, 2).flatten(2))

    def unite(self, frames: Tensor) -> Tensor:
        y = frames + self.attend(self.norms[0](frames + positions(frames)))
        return (y + self.mlp(self.norms[1](y))).mean(dim=1)


def positions(frames: Tensor) -> Tensor:
    """Return sines and cosines of the frames' numbers (T, D) for frames (B, T, D)."""
    length, dim = frames.shape[1:]
    number = torch.arange(length, device=frames.device, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, dim, 2, device=frames.device) * (-math.log(10_000) / dim))
    angle = number[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :dim].to(frames.dtype)


add_family("transformer", Family(TransformerHead))
