"""``tsm``: some channels of a frame come from its neighbours.

Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019. Before the residual branch of
every block, the first eighth of the channels moves one frame back, the second one frame on, with zeros at the ends of
a clip. It uses the order of the frames, and has no parameters. The residual path keeps the frame as it is, but the
branch begins as something else than what its weights were trained on: it does not begin as the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from st_reid.models.layers.insertion import ClipLayer, insert, residual_part
from st_reid.models.p3d import shift
from st_reid.models.temporal import Family, add_family

SHARE = 8


class TemporalShift(ClipLayer):
    """The shift of channels by one frame, in both directions.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fold = channels // SHARE

    def forward(self, x: Tensor) -> Tensor:
        from_next = shift(x[:, 1:, : self.fold], -1)
        from_last = shift(x[:, :-1, self.fold : 2 * self.fold], 1)
        return torch.cat([from_next, from_last, x[:, :, 2 * self.fold :]], dim=2)


def _insert(backbone: nn.Module) -> None:
    parts = (residual_part(backbone, block) for stage in backbone.stages for block in stage)  # type: ignore[union-attr]
    insert(backbone, [part for part in parts if part is not None], TemporalShift, before=True)


add_family("tsm", Family(insert=_insert))
