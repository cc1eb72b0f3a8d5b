"""``mean`` and ``max``: the frames of a clip pooled, without anything to learn.

``mean`` is the fair baseline: it has the backbone, reduction, neck and losses of every other family. Both use the
frames as a set, in any order.
"""

from __future__ import annotations

from torch import Tensor

from st_reid.models.layers.head import FrameHead, MeanHead
from st_reid.models.temporal import Family, TemporalModel, add_family


class MaxHead(FrameHead):
    """The maximum over frames, channel by channel: f = max_t x_t."""

    def unite(self, frames: Tensor) -> Tensor:
        return frames.amax(dim=1)


class MeanModel(TemporalModel):
    """The mean over frames, f = mean_t x_t: what every temporal model has to beat."""

    uses_time = False  # in evaluation mode the neck is an affine map, and so the mean over frames may come after it


add_family("mean", Family(MeanHead, MeanModel))
add_family("max", Family(MaxHead))
