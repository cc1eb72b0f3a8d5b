"""torchreid's models as clip models: the mean over frames, the baseline that every temporal model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from st_reid.errors import UserError
from st_reid.models.base import MODELS, ClipModel
from st_reid.models.checkpoints import load_matching, load_state_dict
from st_reid.models.layers.backbone import build_torchreid
from st_reid.models.layers.frames import mean_over_frames

NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnet50_fc512", "se_resnet50", "se_resnet50_fc512", "se_resnet101", "se_resnext50_32x4d"),
    *("se_resnext101_32x4d", "densenet121", "densenet169", "densenet201", "densenet161", "densenet121_fc512"),
    *("inceptionresnetv2", "inceptionv4", "xception", "resnet50_ibn_a", "resnet50_ibn_b", "nasnsetmobile"),
    *("mobilenetv2_x1_0", "mobilenetv2_x1_4", "shufflenet", "squeezenet1_0", "squeezenet1_0_fc512"),
    *("squeezenet1_1", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("mudeep", "resnet50mid", "hacnn", "pcb_p6", "pcb_p4", "mlfn", "osnet_x1_0", "osnet_x0_75", "osnet_x0_5"),
    *("osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0", "osnet_ain_x0_75", "osnet_ain_x0_5", "osnet_ain_x0_25"),
)
"""torchreid's own names. They are listed here so that listing the models does not import torchreid."""


class FrameLevel(ClipModel):
    """A frame-level model applied to every frame of a clip, its outputs averaged over the frames.

    Args:
        model: maps (N, 3, H, W) to features (N, D) in evaluation mode, and as torchreid's models do in training mode.
    """

    uses_time = False

    def __init__(self, model: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.model = model
        self.feature_dim = feature_dim

    def forward_clips(self, clips: Tensor) -> Any:
        return mean_over_frames(self.model(clips.flatten(0, 1)), clips.shape[1])

    def feature_maps(self, clips: Tensor) -> Tensor:
        """Return the feature maps of torchreid's model, if it has any."""
        return self.model(clips.flatten(0, -4), return_featuremaps=True).unflatten(0, clips.shape[:-3])

    def rename_weights(self, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename a checkpoint of torchreid."""
        if any(name.startswith("model.") for name in state_dict):
            return state_dict
        return {f"model.{name}": value for name, value in state_dict.items()}


def build_frame_level(
    name: str,
    num_classes: int,
    *,
    loss: str,
    pretrained: bool | str,
    height: int,
    width: int,
) -> FrameLevel:
    """Build torchreid's model ``name`` as a clip model.

    ``height`` and ``width`` are used to measure the length of its feature.

    Raises:
        UserError: weights that cannot be loaded, or an input size that the model cannot take.
    """
    model = build_torchreid(name, num_classes=num_classes, loss=loss, download=pretrained is True)
    if not isinstance(pretrained, bool):
        load_matching(model, load_state_dict(pretrained), pretrained)
    parts = getattr(model, "parts_avgpool", None)
    if parts is not None:  # in PCB; the code after it needs a view that is not possible in the channels-last layout
        parts.register_forward_hook(_contiguous)
    return FrameLevel(model, _feature_dim(model, name, height, width))


def _contiguous(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.contiguous()


def _feature_dim(model: nn.Module, name: str, height: int, width: int) -> int:
    """Measure D with one blank frame: 11 of torchreid's models do not state it, and that of PCB is wrong."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return model(torch.zeros(1, 3, height, width)).shape[1]
    except (RuntimeError, ValueError, AssertionError) as error:
        line = str(error).splitlines()[0]
        raise UserError(
            f"{name} cannot take frames of {height} x {width} ({line}); set height and width to what it was made for"
        ) from error
    finally:
        model.train(training)


for _name in NAMES:
    MODELS.add(_name, partial(build_frame_level, _name))
