"""Batch norms folded into the convolutions before them: the same features, for less memory traffic."""

from __future__ import annotations

import weakref
from collections import Counter
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-2  # of the largest value: above any rounding, TF32's too, and far below a wrong fold


@torch.no_grad()
def fold_batchnorm(model: nn.Module, clips: Tensor) -> nn.Module:
    """Return a copy of a model in which batch norms are part of the convolutions whose output they take.

    Which those are is seen by calling the model. Should the copy compute something else, as where a convolution's
    output is used twice, the model itself is returned.

    Args:
        model: in evaluation mode; it stays as it is.
        clips: input of the model, on its device, to try it with.
    """
    folded = deepcopy(model)
    norms = set()
    for conv, norm in _pairs(folded, clips):
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        weights = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias)
        conv.weight, conv.bias = weights
        norms.add(norm)
    for parent in list(folded.modules()):
        for name, child in parent._modules.items():
            if child in norms:
                setattr(parent, name, nn.Identity())
    expected = model(clips)
    same = (folded(clips) - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return folded if same else model


def _pairs(model: nn.Module, clips: Tensor) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Return each convolution that one batch norm, and nothing else that is called, takes the output of."""
    outputs: dict[int, tuple[weakref.ref[Tensor], nn.Module]] = {}
    calls: Counter[nn.Module] = Counter()
    taken: Counter[tuple[nn.Module, nn.Module]] = Counter()

    def after_convolution(conv: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        calls[conv] += 1
        outputs[id(output)] = weakref.ref(output), conv

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        output, conv = outputs.get(id(inputs[0]), (lambda: None, norm))
        if output() is inputs[0]:  # else an id that was given again
            taken[conv, norm] += 1

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, _BatchNorm) and module.running_var is not None:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        model(clips)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair, count in taken.items() if count == calls[pair[0]] == calls[pair[1]]]  # type: ignore[misc]
