"""Between clips and frames: the batch axis that image modules know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor


def per_frame(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an image module to every frame: (B, T, ...) -> (B, T, ...)."""
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def repeat_frames(x: Tensor, multiple: int) -> Tensor:
    """Stretch a clip (B, T, ...) to T', the next multiple: frame i of T' is frame floor(i T / T')."""
    frames = x.shape[1]
    target = -(-frames // multiple) * multiple
    if target == frames:
        return x
    return x[:, torch.arange(target, device=x.device) * frames // target]


def mean_over_frames(output: Any, frames: int) -> Any:
    """Average what an image model gave for the frames of clips: (B T, D) -> (B, D), in lists and tuples too."""
    if isinstance(output, Tensor):
        return rearrange(output, "(b t) d -> b t d", t=frames).mean(dim=1)
    return type(output)(mean_over_frames(part, frames) for part in output)
