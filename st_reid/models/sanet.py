"""``sanet``: positions attend to statistics of the whole clip.

Bai et al., SANet: Statistic Attention Network for Video-Based Person Re-Identification, IEEE TCSVT 2022. With z = W_d
x and, over all positions of all frames and channel by channel, m_1 the mean, m_2 the deviation, and m_k the k-th
central moment over the k-th power of the deviation for k = 4, 5, 6, each scaled to unit length over the channels, y_p
= ReLU(x_p + BN(W_u sum_k softmax_k(z_p . m_k) m_k)). It uses the maps of the frames as a set, in any order. It begins
as the mean: the batch norm's weight is 0.

It follows two blocks of the second stage. The ReLU leaves rectified maps as they are; where a block's output is
signed, as MobileNetV2's, it would not, and acts on the change alone: y_p = x_p + ReLU(x_p + b_p) - ReLU(x_p), which is
the same for x_p >= 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.insertion import ClipLayer, every_other, insert
from st_reid.models.temporal import Family, add_family

ORDERS = (4, 5, 6)
EPSILON = 1e-12


class StatisticAttention(ClipLayer):
    """Attention of every position to five statistics of the clip.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = max(channels // 4, 1)
        self.down = nn.Conv2d(channels, inside, 1)
        self.up = nn.Sequential(nn.Conv2d(inside, channels, 1), nn.BatchNorm2d(channels))
        for conv in (self.down, self.up[0]):
            nn.init.kaiming_normal_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.up[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        z = per_frame(self.down, x)
        positions = z.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, T h w, C/4)
        statistics = F.normalize(moments(positions), dim=1).to(z.dtype)  # (B, C/4, 5)
        weights = (positions @ statistics).softmax(dim=2)
        spread = (weights.to(z.dtype) @ statistics.mT).unflatten(1, (x.shape[1], *x.shape[3:])).permute(0, 1, 4, 2, 3)
        return x + F.relu(x + per_frame(self.up, spread)) - F.relu(x)


def moments(positions: Tensor) -> Tensor:
    """Return mean, deviation and standardised moments over the positions (B, N, C): (B, C, 5)."""
    values = positions if positions.dtype == torch.float64 else positions.float()  # sixth powers need the range
    mean = values.mean(dim=1, keepdim=True)
    centred = values - mean
    deviation = (centred.square().mean(dim=1, keepdim=True) + EPSILON).sqrt()
    scaled = centred / deviation
    higher = [(scaled**order).mean(dim=1, keepdim=True) for order in ORDERS]
    return torch.cat([mean, deviation, *higher], dim=1).mT


def _insert(backbone: nn.Module) -> None:
    insert(backbone, every_other(backbone, stages=(1,), first=1), StatisticAttention)


add_family("sanet", Family(insert=_insert))
