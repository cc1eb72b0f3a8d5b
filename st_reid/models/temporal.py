"""Models of a backbone and a head, and the one builder of all of them.

A family of models, for example ``mean``, has a member for every backbone, ``mean_resnet18`` and so on. The members of
all families share the backbone with its last stride, the reduction, the neck and the losses: see
:class:`st_reid.models.layers.head.Head`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from st_reid.errors import UserError
from st_reid.models.base import MODELS, ClipModel
from st_reid.models.layers.backbone import BACKBONES, build_backbone, has_stages
from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.head import Head, MeanHead
from st_reid.models.layers.insertion import tell_frames


class TemporalModel(ClipModel):
    """A backbone for the frames, a :class:`~st_reid.models.layers.head.Head` for the clip.

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
        self, backbone: nn.Module, head: Head, *, loss: str = "softmax", triplet_before_neck: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.loss = loss
        self.triplet_before_neck = triplet_before_neck
        self.feature_dim = head.feature_dim

    def forward_clips(self, clips: Tensor) -> Any:
        output = self.head(self.feature_maps(clips))
        if not self.training:
            return output
        logits, features, vectors = output
        if self.loss == "softmax":
            return logits
        return logits, vectors if self.triplet_before_neck else features

    def feature_maps(self, clips: Tensor) -> Tensor:
        """Return the backbone's maps, which the head aggregates."""
        if clips.ndim == 4:
            return self.feature_maps(clips[:, None])[:, 0]
        tell_frames(self.backbone, clips.shape[1])
        return per_frame(self.backbone, clips)


@dataclass(frozen=True)
class Family:
    """What the members of a family have in common.

    Attributes:
        head: called with the backbone's channels, the number of identities and the width D.
        model: the class of the whole model.
        insert: inserts layers into the backbone, see :mod:`st_reid.models.layers.insertion`.
    """

    head: Callable[[int, int, int], Head] = MeanHead
    model: type[TemporalModel] = TemporalModel
    insert: Callable[[nn.Module], None] | None = None


def build_temporal(
    family: Family,
    backbone: str,
    num_classes: int,
    *,
    loss: str,
    pretrained: bool | str,
    dim: int = 1024,
    last_stride: int = 1,
    triplet_before_neck: bool = False,
    zero_init_residual: bool | None = None,
) -> TemporalModel:
    """Build the member of a family on a backbone. It takes clips of any length and size.

    Args:
        family: what the members have in common.
        backbone: one of ``st_reid.models.layers.backbone.BACKBONES``.
        num_classes: identities of the training set.
        loss: see :class:`TemporalModel`.
        pretrained: see :func:`st_reid.models.layers.backbone.build_backbone`.
        dim: channels D after the reduction, and of the feature.
        last_stride: see :func:`st_reid.models.layers.backbone.build_backbone`.
        triplet_before_neck: see :class:`TemporalModel`.
        zero_init_residual: see :func:`st_reid.models.layers.backbone.build_backbone`.

    Raises:
        UserError: weights that cannot be loaded, or options that do not fit.
    """
    if dim < 1:
        raise UserError(f"dim is {dim}; expected at least 1")
    maps = build_backbone(
        backbone, pretrained=pretrained, last_stride=last_stride, zero_init_residual=zero_init_residual
    )
    if family.insert is not None:
        family.insert(maps)
    head = family.head(maps.channels, num_classes, dim)  # type: ignore[arg-type]
    return family.model(maps, head, loss=loss, triplet_before_neck=triplet_before_neck)


def add_family(name: str, family: Family, build: Callable[..., nn.Module] | None = None) -> None:
    """Register ``name_BACKBONE`` for every backbone, or for those with stages if layers are inserted into them.

    Args:
        name: of the family.
        family: what the members have in common.
        build: called with the name of the backbone, and then as every builder of a model; by default
            :func:`build_temporal`, for a family without options of its own.
    """
    for backbone in BACKBONES.names():
        if family.insert is None or has_stages(backbone):
            MODELS.add(f"{name}_{backbone}", partial(build or partial(build_temporal, family), backbone))
