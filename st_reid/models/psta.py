"""PSTA, Pyramid Spatial-Temporal Aggregation (Wang et al., ICCV 2021), on any backbone that yields a feature map."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from st_reid.errors import UserError
from st_reid.models.base import MODELS, ClipModel
from st_reid.models.layers.backbone import BACKBONES, build_backbone
from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.stam import STAM, Grid, conv_bn_relu
from st_reid.models.released import rename_psta

GRID: Grid = (16, 8)
"""The feature map of a 256 x 128 image at stride 16: what the published relations are made of."""


class PSTAHead(nn.Module):
    """The pyramid: levels of STAM that each halve the frames; each level has a BNNeck and a classifier.

    The feature of a level is the running mean of the levels' mean maps: g_k = (f_1 + ... + f_k) / k.

    Args:
        channels: of the feature maps that come in, C.
        num_classes: identities of the training set.
        dim: channels D of the pyramid.
        levels: number of levels K.
        grid: cells of the relations, see :class:`st_reid.models.layers.stam.Relation`.

    Shapes:
        - Input: (B, T, C, h, w), any T >= 1. If T is not a multiple of 2^K, frames are repeated evenly.
        - Output: (B, D) in evaluation mode, the neck of the last level; in training mode (logits, features, means),
          lists of (B, num_classes), of (B, D) after and of (B, D) before the necks, one for each level.
    """

    def __init__(self, channels: int, num_classes: int, *, dim: int = 1024, levels: int = 3, grid: Grid = GRID) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*conv_bn_relu(channels, dim))  # keeps PyTorch's initialisation, as the paper's does
        self.stages = nn.ModuleList(STAM(dim, grid).apply(_initialise) for _ in range(levels))
        self.necks = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(levels))
        self.classifiers = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(levels))
        for neck in self.necks:
            neck.bias.requires_grad_(False)  # type: ignore[union-attr, operator]
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.001)  # type: ignore[arg-type]
            nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]

    def pyramid(self, maps: Tensor) -> list[Tensor]:
        """Return the maps of every level, (B, T/2^k, D, h, w) for k = 1..K."""
        x = repeat_frames(per_frame(self.reduce, maps), 2 ** len(self.stages))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, maps: Tensor) -> Tensor | tuple[list[Tensor], list[Tensor], list[Tensor]]:
        levels = torch.stack([level.mean(dim=(1, 3, 4)) for level in self.pyramid(maps)])  # (K, B, D)
        counts = torch.arange(1, len(levels) + 1, device=maps.device)
        means = list((levels.cumsum(0) / counts[:, None, None]).unbind())
        if not self.training:
            return self.necks[-1](means[-1])
        features = [neck(mean) for neck, mean in zip(self.necks, means, strict=True)]
        logits = [classify(feature) for classify, feature in zip(self.classifiers, features, strict=True)]
        return logits, features, means


class PSTA(ClipModel):
    """A backbone for the frames, a :class:`PSTAHead` for the clip.

    Args:
        backbone: maps (N, 3, H, W) to (N, backbone.channels, h, w).
        head: takes that many channels.
        loss: ``"softmax"`` or ``"triplet"``: whether training gets features too.
        triplet_before_neck: return the features before the BNNeck, not after it.

    Shapes:
        - Input: (B, T, 3, H, W), or (B, 3, H, W) for B single frames.
        - Output: (B, feature_dim) in evaluation mode; in training mode a list of logits (B, num_classes), one
          for each level, or with ``loss="triplet"`` that list and one of features (B, feature_dim).

    """

    def __init__(
        self, backbone: nn.Module, head: PSTAHead, *, loss: str = "softmax", triplet_before_neck: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.loss = loss
        self.triplet_before_neck = triplet_before_neck
        self.feature_dim: int = head.necks[-1].num_features  # type: ignore[assignment]

    def forward_clips(self, clips: Tensor) -> Any:
        output = self.head(per_frame(self.backbone, clips))
        if not self.training:
            return output
        logits, features, means = output
        if self.loss == "softmax":
            return logits
        return logits, means if self.triplet_before_neck else features

    def feature_maps(self, clips: Tensor) -> Tensor:
        """Return the backbone's maps, which the pyramid aggregates."""
        return self.backbone(clips) if clips.ndim == 4 else per_frame(self.backbone, clips)

    def rename_weights(self, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename a released checkpoint of the original PSTA."""
        return rename_psta(state_dict)


def repeat_frames(x: Tensor, multiple: int) -> Tensor:
    """Stretch a clip (B, T, ...) to T', the next multiple: frame i of T' is frame floor(i T / T')."""
    frames = x.shape[1]
    target = -(-frames // multiple) * multiple
    if target == frames:
        return x
    return x[:, torch.arange(target, device=x.device) * frames // target]


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
    dim: int = 1024,
    levels: int = 3,
    triplet_before_neck: bool = False,
    zero_init_residual: bool | None = None,
) -> PSTA:
    """Build PSTA on a backbone. It takes clips of any length and size.

    Args:
        backbone: one of ``st_reid.models.layers.backbone.BACKBONES``.
        num_classes: identities of the training set.
        loss: see :class:`PSTA`.
        pretrained: see :func:`st_reid.models.layers.backbone.build_backbone`.
        dim: channels of the pyramid and of the feature.
        levels: levels of the pyramid; each halves the frames.
        triplet_before_neck: see :class:`PSTA`.
        zero_init_residual: see :func:`st_reid.models.layers.backbone.build_backbone`.

    Raises:
        UserError: weights that cannot be loaded, or options that do not fit.
    """
    for option, value in (("dim", dim), ("levels", levels)):
        if value < 1:
            raise UserError(f"{option} is {value}; PSTA needs at least 1")
    maps = build_backbone(backbone, pretrained=pretrained, zero_init_residual=zero_init_residual)
    head = PSTAHead(maps.channels, num_classes, dim=dim, levels=levels)  # type: ignore[arg-type]
    return PSTA(maps, head, loss=loss, triplet_before_neck=triplet_before_neck)


MODELS.add("psta", partial(build_psta, "resnet50"))
for _name in BACKBONES.names():
    MODELS.add(f"psta_{_name}", partial(build_psta, _name))
