"""Building a model by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from st_reid.errors import UserError, unknown_name
from st_reid.registry import Registry, check_options

if TYPE_CHECKING:
    from torch import nn

LOSSES = ("softmax", "triplet")


def registered_models() -> Registry:
    """Return all models. The model families are imported here, because they load torch, which takes seconds."""
    # A new family is one more name here.
    from st_reid.models import ap3d, attention, frame_level, gru, motion, non_local, p3d  # noqa: F401, I001
    from st_reid.models import pcb, pooling, psta, sanet, sbm, snippet, transformer, tsm  # noqa: F401
    from st_reid.models.base import MODELS

    return MODELS


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that :func:`create_model` knows, sorted.

    Args:
        pattern: a shell pattern, for example ``"psta*"``.
    """
    return registered_models().names(pattern)


def create_model(
    name: str,
    num_classes: int,
    *,
    loss: str = "softmax",
    pretrained: bool | str = False,
    seq_len: int = 8,
    height: int = 256,
    width: int = 128,
    **options: Any,
) -> nn.Module:
    """Build a clip model, see :class:`st_reid.models.base.ClipModel` for what goes in and comes out.

    Args:
        name: one of :func:`list_models`.
        num_classes: identities of the training set.
        loss: ``"softmax"`` or ``"triplet"``: with the latter, training gets (logits, features).
        pretrained: ``False``; ``True`` for the ImageNet backbone, which torchvision or torchreid downloads; or the
            path of a checkpoint for the backbone.
        seq_len: frames per clip T.
        height: input height in pixels.
        width: input width in pixels.
        **options: the model's own.

    Raises:
        UserError: an unknown name, loss or option, or weights that cannot be loaded.
    """
    check_model(name, options)
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    if num_classes < 1:
        raise UserError(f"num_classes is {num_classes}; a classifier needs at least 1")
    builder = registered_models().get(name)
    common = {"loss": loss, "pretrained": pretrained, "seq_len": seq_len, "height": height, "width": width}
    takes = inspect.signature(builder).parameters
    model = builder(num_classes, **{key: value for key, value in common.items() if key in takes}, **options)
    model.takes_clips = True  # which torchreid's engines ask for
    return model


def check_model(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` for a model that does not exist, or options that are not its own."""
    models = registered_models()
    from st_reid.models.base import COMMON_ARGUMENTS

    check_options(f"model {name!r}", models.get(name), options, COMMON_ARGUMENTS)
