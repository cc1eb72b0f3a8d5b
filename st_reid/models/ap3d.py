"""``ap3d``: appearance-preserving 3-D convolution.

Gu et al., Appearance-Preserving 3D Convolution for Video-based Person Re-identification, ECCV 2020. As ``p3d``, but
the neighbouring frames are first rebuilt so that they show the same at the same place. For a frame x and its neighbour
n, with s of unit length, s = W_s x / |W_s x|, and positions p, q,

    n'_p = sum_q softmax_q(4 s(x)_p . s(n)_q) n_q,

weighted by a contrastive attention, sigma(w . (W_x x_p * W_n n'_p)), which learns where rebuilding failed; its
gradient does not reach x and n'. It uses the order of the frames. It begins as the mean: the temporal convolution is
0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.p3d import P3D, insert_in_blocks, shift
from st_reid.models.temporal import Family, add_family

TEMPERATURE = 4


class AP3D(P3D):
    """A residual temporal convolution over a frame and its two neighbours, rebuilt by appearance.

    The affinities of a frame and the next one are computed once, and serve both directions.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        inside = max(channels // 16, 1)
        self.semantic = nn.Conv2d(channels, inside, 1, bias=False)
        self.of_frame = nn.Conv2d(channels, inside, 1, bias=False)
        self.of_neighbour = nn.Conv2d(channels, inside, 1, bias=False)
        self.trust = nn.Conv2d(inside, 1, 1, bias=False)

    def neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] == 1 and not self.training:  # in training, every parameter needs a gradient, though it is zero
            return torch.zeros_like(x), torch.zeros_like(x)
        semantic = F.normalize(per_frame(self.semantic, x), dim=2).flatten(3)  # (B, T, C/16, h w)
        affinity = TEMPERATURE * (semantic[:, :-1].mT @ semantic[:, 1:])  # (B, T - 1, h w, h w): frame, next frame
        positions = x.flatten(3)
        after = positions[:, 1:] @ affinity.softmax(dim=3).mT  # the next frame as this one shows it
        before = positions[:, :-1] @ affinity.softmax(dim=2)  # this frame as the next one shows it
        rebuilt = torch.cat([before, after], dim=1).unflatten(3, x.shape[3:])  # (B, 2 (T - 1), C, h, w)
        mine = per_frame(self.of_frame, x.detach())
        mine = torch.cat([mine[:, 1:], mine[:, :-1]], dim=1)
        trusted = per_frame(self.trust, mine * per_frame(self.of_neighbour, rebuilt.detach())).sigmoid()
        before, after = (rebuilt * trusted).chunk(2, dim=1)
        return shift(before, 1), shift(after, -1)


def _insert(backbone: nn.Module) -> None:
    insert_in_blocks(backbone, AP3D)


add_family("ap3d", Family(insert=_insert))
