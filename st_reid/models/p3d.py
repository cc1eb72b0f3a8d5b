"""``p3d``: pseudo-3-D convolution, a temporal convolution behind a spatial one.

Qiu et al., Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks, ICCV 2017, variant C: with S the
spatial convolution of a block and T a temporal one over three frames, y = S(x) + T(S(x)). It uses the order of the
frames. It begins as the mean: T = 0.

S is the 3x3 convolution of every second block of ResNet's second and third stages, as Gu et al. have it (see
``ap3d``). In backbones whose blocks have no single one, T follows the block.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.insertion import ClipLayer, every_other, insert, narrow_part
from st_reid.models.temporal import Family, add_family


class P3D(ClipLayer):
    """A residual temporal convolution over a frame and its two neighbours; there are zeros beyond the ends of a clip.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3 * channels, channels, 1, bias=False)  # over what is before, the frame, what is after
        nn.init.zeros_(self.conv.weight)

    def neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is before and what is after every frame of (B, T, C, h, w), of that shape each."""
        return shift(x[:, :-1], 1), shift(x[:, 1:], -1)

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.neighbours(x)
        return x + per_frame(self.conv, torch.cat([before, x, after], dim=2))


def shift(x: Tensor, frames: int) -> Tensor:
    """Add a frame of zeros to (B, T - 1, ...): in front if ``frames`` is 1, at the end if it is -1."""
    ends = (1, 0) if frames == 1 else (0, 1)
    return F.pad(x, (*(0, 0) * (x.ndim - 2), *ends))


def insert_in_blocks(backbone: nn.Module, layer: type[ClipLayer]) -> None:
    """Insert a layer for each of P3D's places."""
    blocks = every_other(backbone, stages=(1, 2), first=0)
    insert(backbone, [narrow_part(backbone, block) for block in blocks], layer)


def _insert(backbone: nn.Module) -> None:
    insert_in_blocks(backbone, P3D)


add_family("p3d", Family(insert=_insert))
