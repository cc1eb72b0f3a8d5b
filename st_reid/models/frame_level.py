"""torchreid's models as clip models: the mean over frames, the baseline that every temporal model has to beat."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from st_reid import torchreid_compat
from st_reid.checkpoints import load_matching, load_state_dict
from st_reid.errors import UserError
from st_reid.layers.backbone import build_torchreid
from st_reid.registry import MODELS

Output = Tensor | list[Tensor]


class FrameLevel(nn.Module):
    """A frame-level model applied to every frame of a clip, its outputs averaged over the frames.

    Args:
        model: maps (N, 3, H, W) to features (N, D) in evaluation mode, and as torchreid's models do in training mode.

    Shapes:
        - Input: (B, T, 3, H, W), or (B, 3, H, W) for B single frames.
        - Output: (B, D) in evaluation mode; in training mode logits (B, classes) or (logits, features), either of
          which is a list where the model returns one.
    """

    uses_time = False

    def __init__(self, model: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.model = model
        self.feature_dim = feature_dim

    def forward(self, clips: Tensor) -> Any:
        if clips.ndim == 4:
            return self.model(clips)
        if clips.ndim != 5:
            raise ValueError(f"input is {tuple(clips.shape)}; expected (B, T, 3, H, W) or (B, 3, H, W)")
        output = self.model(rearrange(clips, "b t c h w -> (b t) c h w"))
        if isinstance(output, tuple):
            return tuple(_mean_over_frames(part, clips.shape[1]) for part in output)
        return _mean_over_frames(output, clips.shape[1])


def _mean_over_frames(output: Output, frames: int) -> Output:
    if isinstance(output, Tensor):
        return rearrange(output, "(b t) d -> b t d", t=frames).mean(dim=1)
    return [rearrange(part, "(b t) d -> b t d", t=frames).mean(dim=1) for part in output]


def build_frame_level(
    name: str,
    num_classes: int,
    *,
    loss: str,
    pretrained: bool | str,
    seq_len: int,
    height: int,
    width: int,
) -> FrameLevel:
    """Build torchreid's model ``name`` as a clip model.

    ``seq_len`` means nothing to it; ``height`` and ``width`` serve to measure its feature.

    Raises:
        UserError: weights that cannot be had, or an input size that the model cannot take.
    """
    model = build_torchreid(name, num_classes=num_classes, loss=loss, download=pretrained is True)
    if not isinstance(pretrained, bool):
        load_matching(model, load_state_dict(pretrained), pretrained)
    parts = getattr(model, "parts_avgpool", None)
    if parts is not None:  # PCB's; what follows takes a view that the channels-last layout has not
        parts.register_forward_hook(_contiguous)
    return FrameLevel(model, _feature_dim(model, name, height, width))


def _contiguous(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.contiguous()


def _feature_dim(model: nn.Module, name: str, height: int, width: int) -> int:
    """Measure D with one blank frame: 11 of torchreid's models do not say it, and PCB's says another."""
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


for _name in torchreid_compat.model_factory():
    if _name not in MODELS:
        MODELS.add(_name, partial(build_frame_level, _name))
