"""``snippet``: a frame is joined by the strongest responses of its neighbourhood.

After the snippets of Hou et al., GaitSnippet: Gait Recognition Beyond Unordered Sets and Ordered Sequences, 2025, from
its idea: y_t = x_t + BN(W max_{|s - t| <= 1} x_s), channel by channel and position by position. It uses which frames
are neighbours, not which of two comes first. It begins as the mean: the batch norm's weight is 0.

It follows two blocks of ResNet-50's second stage and three of its third.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.insertion import ClipLayer, every_other, insert
from st_reid.models.temporal import Family, add_family


class Snippet(ClipLayer):
    """The maximum over a frame and its neighbours, through a 1x1 convolution, added to the frame.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.out[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        # The ends are repeated, which changes no maximum.
        before, after = torch.cat([x[:, :1], x[:, :-1]], dim=1), torch.cat([x[:, 1:], x[:, -1:]], dim=1)
        return x + per_frame(self.out, x.maximum(before).maximum(after))


def _insert(backbone: nn.Module) -> None:
    insert(backbone, every_other(backbone, stages=(1, 2), first=1), Snippet)


add_family("snippet", Family(insert=_insert))
