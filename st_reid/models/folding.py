"""Batch norms folded into the convolutions before them: the same features, for less memory traffic."""

from __future__ import annotations

import weakref
from collections import Counter
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-2  # of the largest value: above any rounding, TF32's too, and far below a wrong fold


@torch.no_grad()
def fold_batchnorm(model: nn.Module, clips: Tensor) -> nn.Module:
    """Return a copy of a model in which batch norms are part of the convolutions whose output they take.

    These pairs are found by calling the model, and stored on it, because training folds after every epoch. If the copy
    computes something else, for example because a convolution's output is used twice, the model itself is returned.

    Args:
        model: in evaluation mode; it is not changed.
        clips: input of the model, on its device, to try it with.
    """
    pairs: Any = getattr(model, "foldable", None)
    if pairs is None:
        pairs = _pairs(model, clips)
        expected, found = model(clips), _folded(model, pairs)(clips)
        same = (found - expected).abs().max() <= TOLERANCE * expected.abs().max()
        pairs = pairs if same else []
        model.foldable = pairs
    return _folded(model, pairs) if pairs else model


def _folded(model: nn.Module, pairs: list[tuple[str, str]]) -> nn.Module:
    folded = deepcopy(model)
    norms = set()
    for conv, norm in ([folded.get_submodule(name) for name in pair] for pair in pairs):
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
        norms.add(norm)
    for parent in list(folded.modules()):
        for name, child in parent._modules.items():
            if child in norms:
                setattr(parent, name, nn.Identity())
    return folded


def _pairs(model: nn.Module, clips: Tensor) -> list[tuple[str, str]]:
    """Return the names of each convolution and of the one batch norm that always takes its output."""
    outputs: dict[int, tuple[weakref.ref[Tensor], nn.Module]] = {}
    calls: Counter[nn.Module] = Counter()
    taken: Counter[tuple[nn.Module, nn.Module]] = Counter()

    def after_convolution(conv: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        calls[conv] += 1
        outputs[id(output)] = weakref.ref(output), conv

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        output, conv = outputs.get(id(inputs[0]), (lambda: None, norm))
        if output() is inputs[0]:  # otherwise an id might be used again
            taken[conv, norm] += 1

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # First of all hooks: what another one makes of the output is no longer the convolution's.
            hooks.append(module.register_forward_hook(after_convolution, prepend=True))
        elif isinstance(module, _BatchNorm) and module.running_var is not None:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        model(clips)
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in model.named_modules()}
    return [(names[conv], names[norm]) for (conv, norm), count in taken.items() if count == calls[conv] == calls[norm]]
