"""Backbones that return feature maps, by name: from torchvision if it has them, otherwise from torchreid."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from st_reid import torchreid_compat
from st_reid.errors import UserError
from st_reid.models.checkpoints import load_backbone_weights
from st_reid.registry import Registry

logger = logging.getLogger(__name__)

BACKBONES: Registry[Callable[..., nn.Module]] = Registry("backbone")
"""Builders of all backbones, by name."""

MOBILENETS = ("mobilenet_v2",)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d")
# Those of torchreid's models that have a working `featuremaps`, less the ones that are a ResNet of the list above.
TORCHREID = (
    *("osnet_x0_25", "osnet_x0_5", "osnet_x0_75", "osnet_x1_0", "osnet_ibn_x1_0"),
    *("osnet_ain_x0_25", "osnet_ain_x0_5", "osnet_ain_x0_75", "osnet_ain_x1_0"),
    *("mobilenetv2_x1_0", "mobilenetv2_x1_4"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("resnet50_ibn_a", "resnet50_ibn_b", "se_resnet50", "se_resnet101", "se_resnext50_32x4d", "se_resnext101_32x4d"),
    *("mudeep", "xception"),
)
WITHOUT_WEIGHTS = ("hacnn", "mudeep")  # torchreid's builders of these silently ignore `pretrained`


STAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "mobilenet_v2": tuple(
        tuple(f"features.{i}" for i in blocks) for blocks in (range(2, 4), range(4, 7), range(7, 14), range(14, 18))
    ),
    "mobilenetv2": (("conv3",), ("conv4",), ("conv5", "conv6"), ("conv7", "conv8")),
    "osnet": (("conv2",), ("conv3",), ("conv4",)),
    "res": (("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    "se_res": (("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    "shufflenet": ((), ("stage2",), ("stage3",), ("stage4",)),
    "xception": (("block1",), ("block2",), tuple(f"block{i}" for i in range(3, 12)), ("block12",)),
}
"""The modules that are blocks, or hold them in sequence, at strides of 4, 8, 16 and 32, by the beginning of the name.

It has all but ``mudeep``, whose blocks have several outputs.
"""


def has_stages(name: str) -> bool:
    """Say whether the backbone of this name has stages that layers can be inserted into."""
    return name.startswith(tuple(STAGES))


def _stages(name: str, backbone: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the names of the blocks of each stage of a backbone."""
    prefix = "net." if isinstance(backbone, TorchreidMaps) else ""
    found = next((stages for start, stages in STAGES.items() if name.startswith(start)), ())
    return tuple(tuple(b for path in stage for b in _blocks(backbone, prefix + path)) for stage in found)


def _blocks(backbone: nn.Module, path: str) -> list[str]:
    module = backbone.get_submodule(path)
    if not isinstance(module, nn.Sequential):
        return [path]
    # A sequence inside a sequence only changes the size.
    return [f"{path}.{i}" for i, child in enumerate(module) if not isinstance(child, nn.Sequential)]


def build_backbone(
    name: str,
    *,
    pretrained: bool | str | os.PathLike[str] = False,
    last_stride: int = 1,
    zero_init_residual: bool | None = None,
) -> nn.Module:
    """Build a network that maps images (N, 3, H, W) to feature maps (N, C, h, w), with C as its ``channels``.

    The layers after the feature map are removed. Its ``stages`` are the names of its blocks, in a list for each stage,
    at strides of 4, 8, 16 and 32; empty if it has none.

    Args:
        name: one of ``BACKBONES.names()``.
        pretrained: ``False``; ``True`` for ImageNet weights, downloaded by torchvision or torchreid; or the path of a
            checkpoint of the same network, whose classifier is left out.
        last_stride: stride of the last stage of ResNets and torchvision's MobileNetV2: 2 as for classification, or 1
            for maps of twice the resolution. Other networks keep their own strides.
        zero_init_residual: start the residual branches of a ResNet at zero; otherwise it hardly trains from random
            weights. ``None`` does so if there are such branches and no weights to load.

    Raises:
        UserError: an unknown name, weights that cannot be loaded or do not fit, or an option that the network lacks.
    """
    if last_stride not in (1, 2):
        raise UserError(f"last_stride is {last_stride}; expected 1 or 2")
    backbone = BACKBONES.get(name)(download=pretrained is True, zero_init_residual=zero_init_residual)
    backbone.stages = _stages(name, backbone)  # type: ignore[assignment]
    if last_stride == 1:
        _unstride_last_stage(backbone)
    if not isinstance(pretrained, bool):
        network = backbone.net if isinstance(backbone, TorchreidMaps) else backbone
        left_out = load_backbone_weights(network, pretrained)
        logger.info(
            "%s: %d entries loaded into the backbone %s, %d left out",
            *(pretrained, len(network.state_dict().keys() - set(left_out)), name, len(left_out)),
        )
    return backbone


class ResNetMaps(nn.Sequential):
    """torchvision's ResNet up to ``layer4``, under torchvision's parameter names."""

    def __init__(self, net: torchvision.models.ResNet) -> None:
        super().__init__(OrderedDict((k, m) for k, m in net.named_children() if k not in ("avgpool", "fc")))
        self.channels: int = net.fc.in_features


class MobileNetMaps(nn.Sequential):
    """torchvision's MobileNetV2 up to its last 1x1 convolution, under torchvision's parameter names."""

    def __init__(self, net: torchvision.models.MobileNetV2) -> None:
        super().__init__(OrderedDict(features=net.features))
        self.channels: int = net.last_channel


class TorchreidMaps(nn.Module):
    """The ``featuremaps`` of a torchreid model; children that it does not use are removed from the model."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        used: set[str] = set()
        hooks = [
            child.register_forward_hook(lambda *_, name=name: used.add(name))  # type: ignore[misc]
            for name, child in net.named_children()
        ]
        training = net.training
        with torch.no_grad():
            self.channels: int = net.eval().featuremaps(torch.zeros(1, 3, 64, 32)).shape[1]  # type: ignore[operator]
        net.train(training)
        for hook in hooks:
            hook.remove()
        for name in [name for name, _ in net.named_children() if name not in used]:
            delattr(net, name)  # an unused parameter is an error to DistributedDataParallel

    def forward(self, images: Tensor) -> Tensor:
        return self.net.featuremaps(images)  # type: ignore[operator]


def _unstride_last_stage(backbone: nn.Module) -> None:
    if isinstance(backbone, MobileNetMaps):
        stage: Any = backbone.get_submodule("features.14")  # the only block of the last stage that has a stride
    else:
        stage = getattr(getattr(backbone, "net", backbone), "layer4", None)
    for module in stage.modules() if isinstance(stage, nn.Module) else ():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


def _resnet(name: str, *, download: bool, zero_init_residual: bool | None) -> nn.Module:
    if zero_init_residual is None:
        zero_init_residual = not download
    return ResNetMaps(_torchvision(name, download=download, zero_init_residual=zero_init_residual))


def _mobilenet(name: str, *, download: bool, zero_init_residual: bool | None) -> nn.Module:
    _refuse_zero_init(name, zero_init_residual)
    return MobileNetMaps(_torchvision(name, download=download))


def _torchvision(name: str, *, download: bool, **options: Any) -> Any:
    try:
        return torchvision.models.get_model(
            name, weights="IMAGENET1K_V1" if download else None, progress=False, **options
        )
    except (OSError, RuntimeError) as error:  # no network; a broken file
        raise _no_weights(name, f"the download of torchvision's ImageNet weights failed: {error}") from error


def _torchreid(name: str, *, download: bool, zero_init_residual: bool | None) -> nn.Module:
    _refuse_zero_init(name, zero_init_residual)
    return TorchreidMaps(build_torchreid(name, num_classes=1, loss="softmax", download=download))


def _refuse_zero_init(name: str, zero_init_residual: bool | None) -> None:
    if zero_init_residual:
        raise UserError(
            f"zero_init_residual means nothing to the backbone {name!r}; "
            f"leave it out, or take one of {', '.join(RESNETS)}"
        )


def build_torchreid(name: str, *, num_classes: int, loss: str, download: bool) -> nn.Module:
    """Build a network of torchreid.

    Raises:
        UserError: ``download``, and its weights cannot be loaded; torchreid itself may continue with random ones.
    """
    build = torchreid_compat.model_factory()[name]
    output = io.StringIO()  # torchreid prints what it loads
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(output):
            warnings.simplefilter("always")
            net = build(num_classes=num_classes, loss=loss, pretrained=download, use_gpu=False)
    except Exception as error:  # gdown's errors have no common class
        if not download:
            raise
        raise _no_weights(name, f"the download of torchreid's ImageNet weights failed: {error}") from error
    if download and name in WITHOUT_WEIGHTS:
        raise _no_weights(name, "torchreid has no ImageNet weights of it")
    if hasattr(net, "transform_theta"):  # HACNN's, which makes a tensor on the CPU for images on a GPU
        net.transform_theta = MethodType(_transform_theta, net)
    for warning in caught:
        # torchreid only warns where it has no weights, and would continue with random ones.
        if download and "pretrained weights" in str(warning.message):
            raise _no_weights(name, str(warning.message))
    return net


def _transform_theta(net: Any, shift: Tensor, region: int) -> Tensor:
    """Return the affine map (B, 2, 3) of a region from its shift (B, 2), on the same device."""
    scale = net.scale_factors[region] = net.scale_factors[region].to(shift.device)
    return torch.cat([scale.expand(len(shift), 2, 2), shift.unsqueeze(2)], dim=2)


def _no_weights(name: str, reason: str) -> UserError:
    line = " ".join(reason.split())
    return UserError(f"{name}: {line}; pass pretrained=False, or the path of a checkpoint of {name}")


for _name in RESNETS:
    BACKBONES.add(_name, partial(_resnet, _name))
for _name in MOBILENETS:
    BACKBONES.add(_name, partial(_mobilenet, _name))
for _name in TORCHREID:
    BACKBONES.add(_name, partial(_torchreid, _name))
