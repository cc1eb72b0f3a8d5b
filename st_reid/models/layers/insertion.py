"""Layers that see whole clips, inserted into backbones that see single frames.

A backbone gets the frames of all clips as one batch, (B T, C, h, w). An inserted layer gets (B, T, C, h, w): this file
is the only place that goes from one to the other. A layer becomes a child named ``temporal`` of the module that it
follows or precedes, so the parameters of the backbone keep their names, and weights of a model without the layer load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

NAME = "temporal"


class ClipLayer(nn.Module):
    """A layer that maps the maps of clips (B, T, C, h, w) to others of the same shape, any T >= 1.

    Attributes:
        frames: T of the clips that the backbone is called with, see :func:`tell_frames`.
    """

    frames = 1

    def on_frames(self, x: Tensor) -> Tensor:
        """Apply the layer to the frames of all clips as one batch (B T, C, h, w)."""
        return self(x.unflatten(0, (-1, self.frames))).flatten(0, 1)


def tell_frames(backbone: nn.Module, frames: int) -> None:
    """Tell the layers inserted into a backbone how many frames a clip has."""
    for module in backbone.modules():
        if isinstance(module, ClipLayer):
            module.frames = frames


def insert(
    backbone: nn.Module, paths: Iterable[str], make: Callable[[int], ClipLayer], *, before: bool = False
) -> None:
    """Insert a layer behind each of some modules, or before it.

    Args:
        backbone: maps images (N, 3, H, W).
        paths: names of modules of it that map (N, C, h, w) to such.
        make: called with the number of channels C, returns the layer.
        before: change the input of the module, not its output.
    """
    for path, channels in _channels(backbone, list(paths), before=before).items():
        module = backbone.get_submodule(path)
        module.add_module(NAME, make(channels))
        if before:
            module.register_forward_pre_hook(_before)
        else:
            module.register_forward_hook(_after)


def _after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return module.get_submodule(NAME).on_frames(output)  # type: ignore[operator]


def _before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (module.get_submodule(NAME).on_frames(inputs[0]),)  # type: ignore[operator]


@torch.no_grad()
def _channels(backbone: nn.Module, paths: Sequence[str], *, before: bool) -> dict[str, int]:
    """Return the channels of what goes into the modules (``before``) or comes out of them."""
    found: dict[str, int] = {}

    def look(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[path] = (inputs[0] if before else output).shape[1]

        return hook

    hooks = [backbone.get_submodule(path).register_forward_hook(look(path)) for path in paths]
    training = backbone.training
    backbone.eval()(torch.zeros(1, 3, 64, 32))
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    return {path: found[path] for path in paths}


def every_other(backbone: nn.Module, stages: Sequence[int], first: int) -> list[str]:
    """Return the names of at most three blocks, spread evenly, of each of some stages.

    In ResNet-50's stages of four and six blocks it is every second one, as published; a stage of one block gives it.

    Args:
        backbone: with ``stages``, see :func:`st_reid.models.layers.backbone.build_backbone`.
        stages: their indices.
        first: index of the first block.
    """
    names: list[str] = []
    for blocks in (backbone.stages[stage] for stage in stages):  # type: ignore[index]
        names += blocks[first :: max(2, len(blocks) // 3)][:3] or blocks[-1:]
    return names


def narrow_part(backbone: nn.Module, block: str) -> str:
    """Return the name of the spatial convolution of a ResNet's block, which has fewest channels; or the block."""
    spatial = getattr(backbone.get_submodule(block), "conv2", None)
    return f"{block}.conv2" if isinstance(spatial, nn.Conv2d) else block


def residual_part(backbone: nn.Module, block: str) -> str | None:
    """Return the name of the first layer of a block's residual branch; ``None`` if the block has none."""
    module = backbone.get_submodule(block)
    if not getattr(module, "use_res_connect", getattr(module, "use_residual", True)):  # MobileNetV2
        return None
    return next((f"{block}.{name}" for name in ("conv1", "conv", "branch2", "rep") if hasattr(module, name)), None)
