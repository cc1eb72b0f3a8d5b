"""``psta``: Pyramid Spatial-Temporal Aggregation, on any backbone that yields a feature map.

Wang et al., Pyramid Spatial-Temporal Aggregation for Video-based Person Re-Identification, ICCV 2021. A level unites
neighbouring frames that gate each other, see :mod:`st_reid.models.layers.stam`, and halves the number of frames. It
uses which frames are pairs. The published model has no way past its levels and does not begin as the mean; with the
option ``residual`` it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from st_reid.errors import UserError
from st_reid.models.base import MODELS
from st_reid.models.layers.frames import repeat_frames
from st_reid.models.layers.head import Head
from st_reid.models.layers.stam import STAM, Grid
from st_reid.models.released import rename_psta
from st_reid.models.temporal import Family, TemporalModel, add_family, build_temporal

GRID: Grid = (16, 8)
"""The feature map of a 256 x 128 image at stride 16: what the published relations are made of."""


class PSTAHead(Head):
    """The pyramid: levels of STAM that each halve the frames; each level has a BNNeck and a classifier.

    The feature of a level is the running mean of the levels' mean maps: g_k = (f_1 + ... + f_k) / k.

    Args:
        channels: of the feature maps that come in, C.
        num_classes: identities of the training set.
        dim: channels D of the pyramid.
        levels: number of levels K.
        grid: cells of the relations, see :class:`st_reid.models.layers.stam.Relation`.
        residual: see :class:`st_reid.models.layers.stam.STAM`.

    Shapes:
        - Input: (B, T, C, h, w), any T >= 1. If T is not a multiple of 2^K, frames are repeated evenly.
        - Output: as :class:`st_reid.models.layers.head.Head`.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        dim: int = 1024,
        *,
        levels: int = 3,
        grid: Grid = GRID,
        residual: bool = False,
    ) -> None:
        super().__init__(channels, dim)
        self.stages = nn.ModuleList(STAM(dim, grid, residual=residual).apply(_initialise) for _ in range(levels))
        self.supervise(num_classes, levels)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Return the maps of every level, (B, T/2^k, D, h, w) for k = 1..K, of reduced maps (B, T, D, h, w)."""
        if self.training or x.shape[1] > 1:  # copies of a single frame would all become the same
            x = repeat_frames(x, 2 ** len(self.stages))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def aggregate(self, x: Tensor) -> list[Tensor]:
        """Return the running means of the levels."""
        levels = torch.stack([level.mean(dim=(1, 3, 4)) for level in self.pyramid(x)])  # (K, B, D)
        counts = torch.arange(1, len(levels) + 1, device=x.device)
        return list((levels.cumsum(0) / counts[:, None, None]).unbind())


class PSTA(TemporalModel):
    """A backbone for the frames, a :class:`PSTAHead` for the clip."""

    def rename_weights(self, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename a released checkpoint of the original PSTA."""
        return rename_psta(state_dict)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in")
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(module.bias)


def build_psta(
    backbone: str,
    num_classes: int,
    *,
    loss: str,
    pretrained: bool | str,
    seq_len: int,
    dim: int = 1024,
    levels: int | str = 3,
    residual: bool = False,
    last_stride: int = 1,
    triplet_before_neck: bool = False,
    zero_init_residual: bool | None = None,
) -> TemporalModel:
    """Build PSTA on a backbone: see :func:`st_reid.models.temporal.build_temporal`.

    Args:
        backbone: as there.
        num_classes: as there.
        loss: as there.
        pretrained: as there.
        seq_len: frames of a clip, for ``levels="auto"``.
        dim: channels of the pyramid and of the feature.
        levels: levels of the pyramid, each of which halves the frames; ``"auto"``: as many as halve ``seq_len`` frames
            to one, its logarithm to base 2, rounded down, and at least 1.
        residual: see :class:`st_reid.models.layers.stam.STAM`.
        last_stride: as there.
        triplet_before_neck: as there.
        zero_init_residual: as there.

    Raises:
        UserError: weights that cannot be loaded, or options that do not fit.
    """
    count = max(seq_len.bit_length() - 1, 1) if levels == "auto" else levels
    if not isinstance(count, int) or count < 1:
        raise UserError(f"levels is {levels!r}; expected a number of at least 1, or 'auto'")
    return build_temporal(
        Family(partial(PSTAHead, levels=count, residual=residual), PSTA),
        backbone,
        num_classes,
        loss=loss,
        pretrained=pretrained,
        dim=dim,
        last_stride=last_stride,
        triplet_before_neck=triplet_before_neck,
        zero_init_residual=zero_init_residual,
    )


MODELS.add("psta", partial(build_psta, "resnet50"))
add_family("psta", Family(PSTAHead, PSTA), build_psta)
