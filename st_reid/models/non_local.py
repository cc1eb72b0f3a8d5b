"""``nonlocal``: every position of a clip gathers from all positions of all its frames.

Wang et al., Non-local Neural Networks, CVPR 2018, for persons Liu et al., Spatially and Temporally Efficient Non-local
Attention Network for Video-based Person Re-Identification, BMVC 2019. Over the positions p, q of all frames, y_p = x_p
+ BN(W sum_q softmax_q(theta(x_p) . phi(x_q)) g(x_q)). It uses the maps of the frames as a set, in any order. It begins
as the mean: the batch norm's weight is 0.

The places are those of Gu et al., ECCV 2020 (see ``ap3d``): two blocks in ResNet-50's second stage and three in its
third.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.insertion import ClipLayer, every_other, insert
from st_reid.models.temporal import Family, add_family


class NonLocal(ClipLayer):
    """A non-local block in its embedded Gaussian form.

    Args:
        channels: C.
        subsample: gather from every second row and column, by their maximum.
    """

    def __init__(self, channels: int, *, subsample: bool = True) -> None:
        super().__init__()
        inside = max(channels // 2, 1)
        self.subsample = subsample
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inside, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv2d(inside, channels, 1), nn.BatchNorm2d(channels))
        # PyTorch's initialisation keeps the softmax soft. The authors' N(0, 2 / channels) begins with one that is all
        # but hard, whose denormal numbers make a training step on a CPU several times slower.
        nn.init.zeros_(self.out[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        query = _sequence(per_frame(self.theta, x))
        key, value = (_sequence(self._pool(per_frame(conv, x))) for conv in (self.phi, self.g))
        gathered = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # (B, 1, T h w, C/2)
        maps = gathered.unflatten(2, (x.shape[1], *x.shape[3:]))[:, 0].permute(0, 1, 4, 2, 3)
        return x + per_frame(self.out, maps)

    def _pool(self, x: Tensor) -> Tensor:
        if not self.subsample:
            return x
        window = [min(2, size) for size in x.shape[3:]]
        return F.max_pool2d(x.flatten(0, 1), window).unflatten(0, x.shape[:2])


def _sequence(x: Tensor) -> Tensor:
    """Return all positions of a clip one after the other, for one head: (B, T, C, h, w) -> (B, 1, T h w, C)."""
    return x.permute(0, 1, 3, 4, 2).flatten(1, 3)[:, None]


def _insert(backbone: nn.Module) -> None:
    insert(backbone, every_other(backbone, stages=(1, 2), first=1), NonLocal)


add_family("nonlocal", Family(insert=_insert))
