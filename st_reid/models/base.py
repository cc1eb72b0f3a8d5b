"""The base class of all models, which map clips to features; and all models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from st_reid.registry import Registry

COMMON_ARGUMENTS = ("loss", "pretrained", "seq_len", "height", "width")
"""Keyword arguments that every model's builder accepts, besides its own options."""

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
"""Builders of all models, by name."""


class ClipModel(nn.Module):
    """A model that maps clips to features. A subclass implements :meth:`forward_clips` and sets ``feature_dim``.

    Attributes:
        feature_dim: D.
        uses_time: false if the result is the mean over single frames.

    Shapes:
        - Input: (B, T, 3, H, W), or (B, 3, H, W) for B single frames, normalised by ImageNet's mean and deviation.
        - Output: (B, feature_dim) in evaluation mode; in training mode logits (B, classes) or (logits, features),
          each of which is a list if every level or part is supervised.

    Raises:
        ValueError: an input with a wrong number of axes, without three colours, or empty.
    """

    feature_dim: int
    uses_time = True

    def forward(self, clips: Tensor, return_featuremaps: bool = False) -> Any:
        if return_featuremaps:  # torchreid's tools for activation maps pass this argument
            return self.feature_maps(clips)
        if clips.ndim == 4:
            clips = clips[:, None]
        if clips.ndim != 5 or clips.shape[2] != 3 or 0 in clips.shape:
            raise ValueError(f"input is {tuple(clips.shape)}; expected (B, T, 3, H, W) or (B, 3, H, W)")
        return self.forward_clips(clips)

    def forward_clips(self, clips: Tensor) -> Any:
        """Map clips (B, T, 3, H, W) as the class says."""
        raise NotImplementedError

    def feature_maps(self, clips: Tensor) -> Tensor:
        """Return the maps of frames (B, T, 3, H, W) or (B, 3, H, W) before they are pooled: (..., C, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} has no feature maps to show")

    def rename_weights(self, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the weights of a foreign checkpoint to this model's names; own names are unchanged."""
        return state_dict
