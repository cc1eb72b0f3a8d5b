"""PCB, the part-based convolutional baseline (Sun et al., ECCV 2018), as used for the appearance in ST-ReID."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from st_reid.errors import UserError
from st_reid.models.base import MODELS, ClipModel
from st_reid.models.layers.backbone import build_backbone
from st_reid.models.layers.frames import mean_over_frames
from st_reid.models.released import rename_pcb


class PCB(ClipModel):
    """Horizontal parts of a feature map, each with a classifier; clips are averaged over their frames.

    Wang et al.: Spatial-Temporal Person Re-identification, AAAI 2019, section 3.1.

    Args:
        backbone: maps (N, 3, H, W) to (N, backbone.channels, h, w).
        num_classes: identities of the training set.
        parts: horizontal stripes P.
        dim: channels of a part's embedding, which feeds its classifier.
        dropout: of the pooled parts and of the embeddings, in training.
        mirror: add the parts of the mirrored image to the test feature.
        loss: ``"softmax"`` or ``"triplet"``: whether training gets features too.

    Shapes:
        - Input: (B, T, 3, H, W), or (B, 3, H, W) for B single frames.
        - Output: (B, feature_dim) in evaluation mode, feature_dim = channels x P: the pooled parts, each of unit
          length, flattened channel-major; in training mode a list of logits (B, num_classes), one for each part, or
          with ``loss="triplet"`` that list and one of embeddings (B, dim).
    """

    uses_time = False

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        parts: int = 6,
        dim: int = 256,
        dropout: float = 0.5,
        mirror: bool = True,
        loss: str = "softmax",
    ) -> None:
        super().__init__()
        channels: int = backbone.channels  # type: ignore[assignment]
        self.backbone = backbone
        self.parts = parts
        self.mirror = mirror
        self.loss = loss
        self.feature_dim = channels * parts
        self.dropout = nn.Dropout(dropout)
        self.embeddings = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, dim), nn.BatchNorm1d(dim), nn.Dropout(dropout)) for _ in range(parts)
        )
        self.classifiers = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(parts))
        for module in self.embeddings.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.weight, 1.0, 0.02)
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.001)  # type: ignore[arg-type]
            nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]

    def pool(self, images: Tensor) -> Tensor:
        """Return the parts of images (N, 3, H, W): (N, channels, P)."""
        return F.adaptive_avg_pool2d(self.backbone(images), (self.parts, 1)).squeeze(3)

    def embed(self, parts: Tensor) -> list[Tensor]:
        """Return the embedding (N, dim) of each of the parts (N, channels, P)."""
        return [embedding(part) for embedding, part in zip(self.embeddings, parts.unbind(2), strict=True)]

    def forward_clips(self, clips: Tensor) -> Any:
        frames, images = clips.shape[1], clips.flatten(0, 1)
        parts = self.pool(images)
        if not self.training:
            if self.mirror:
                parts = parts + self.pool(images.flip(3))
            return mean_over_frames(F.normalize(parts, dim=1).flatten(1), frames)
        embedded = self.embed(self.dropout(parts))
        logits = [classify(part) for classify, part in zip(self.classifiers, embedded, strict=True)]
        return mean_over_frames(logits if self.loss == "softmax" else (logits, embedded), frames)

    def rename_weights(self, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename a released checkpoint of ST-ReID's PCB."""
        return rename_pcb(state_dict)


@MODELS.register("st_reid_pcb")
def build_pcb(
    num_classes: int,
    *,
    loss: str,
    pretrained: bool | str,
    parts: int = 6,
    dim: int = 256,
    dropout: float = 0.5,
    mirror: bool = True,
) -> PCB:
    """Build ST-ReID's PCB on torchvision's ResNet-50 with last stride 1, made for 384 x 192.

    The feature map should have a row for each part, that is 16 pixels of the image's height.

    Args:
        num_classes: identities of the training set.
        loss: see :class:`PCB`.
        pretrained: see :func:`st_reid.models.layers.backbone.build_backbone`.
        parts: see :class:`PCB`.
        dim: see :class:`PCB`.
        dropout: see :class:`PCB`.
        mirror: see :class:`PCB`.

    Raises:
        UserError: weights that cannot be loaded, or options that do not fit.
    """
    for option, value in (("parts", parts), ("dim", dim)):
        if value < 1:
            raise UserError(f"{option} is {value}; PCB needs at least 1")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}; expected 0 up to but not 1")
    backbone = build_backbone("resnet50", pretrained=pretrained)
    return PCB(backbone, num_classes, parts=parts, dim=dim, dropout=dropout, mirror=mirror, loss=loss)
