"""A model ready to extract features, and what its input has to be: from any checkpoint that the command lines take."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from st_reid.checkpoints import build_from_checkpoint, load_checkpoint, load_into
from st_reid.errors import UserError
from st_reid.features import digest_of, fingerprint
from st_reid.registry import check_model, create_model

logger = logging.getLogger(__name__)
SIZES = {"height": 256, "width": 128, "seq_len": 8}


@dataclass(frozen=True)
class Loaded:
    """A model, and the input that its weights are for.

    Attributes:
        model: in evaluation mode, on the CPU; or an exported one.
        arch: its name.
        height: in pixels.
        width: in pixels.
        seq_len: frames in a clip.
        interpolation: how images were resized in training; ``None`` where that is not known.
    """

    model: Any
    arch: str
    height: int
    width: int
    seq_len: int
    interpolation: str | None = None

    def about(self, weights: str, **settings: Any) -> dict[str, Any]:
        """Return what features of this model have to say of themselves; ``settings`` are of how clips are made."""
        made_of = {
            "arch": self.arch,
            "height": self.height,
            "width": self.width,
            "seq_len": self.seq_len,
            **settings,
        }
        if isinstance(self.model, nn.Module):
            return {"weights": weights, **made_of, "fingerprint": fingerprint(self.model, made_of)}
        # An exported model knows the fingerprint that its weights have with the settings that it was exported for.
        exported = self.model.about
        as_exported = all(exported.get(name, value) == value for name, value in made_of.items())
        suffix = "" if as_exported and not settings.get("per_frame") else "-" + digest_of(made_of)[:8]
        return {"weights": weights, **made_of, "fingerprint": exported["fingerprint"] + suffix}


def load_for_evaluation(
    weights: str,
    arch: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    height: int | None = None,
    width: int | None = None,
    seq_len: int | None = None,
) -> Loaded:
    """Load a checkpoint of a training run, or an exported ``.onnx``; with ``arch`` also a bare state dict.

    Args:
        weights: the file.
        arch: the model's name, where the file does not say it.
        options: the model's own, with ``arch``.
        height: instead of the one that it was trained with, or of 256.
        width: instead of the one that it was trained with, or of 128.
        seq_len: instead of the one that it was trained with, or of 8.

    Raises:
        UserError: a file that cannot be read, is of another model, or does not say of which.
    """
    if str(weights).endswith(".onnx"):
        return _load_exported(weights, arch, options, {"height": height, "width": width, "seq_len": seq_len})
    chosen = {"height": height, "width": width, "seq_len": seq_len}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    checkpoint = load_checkpoint(weights)
    if "model" in checkpoint or arch is None:
        model = build_from_checkpoint(checkpoint, weights)
        made_of = checkpoint["model"]
        if arch not in (None, made_of["name"]) or options:
            raise UserError(
                f"{weights} is of {made_of['name']}, made with its own options; leave --arch and --options out"
            )
        sizes = {name: made_of.get(name, default) for name, default in SIZES.items()} | chosen
        trained_with = checkpoint.get("config", {}).get("data", {})
        return Loaded(model, made_of["name"], **sizes, interpolation=trained_with.get("interpolation"))
    check_model(arch, options or {})
    sizes = SIZES | chosen  # type: ignore[operator]
    model = create_model(arch, 1, pretrained=False, **sizes, **(options or {}))
    left_out = load_into(model, weights)
    if left_out:
        logger.info("%s: left out %s", weights, ", ".join(left_out))
    return Loaded(model.eval(), arch, **sizes)


def _load_exported(weights: str, arch: str | None, options: Any, sizes: Mapping[str, int | None]) -> Loaded:
    from st_reid.export import ExportedModel

    model = ExportedModel(weights)
    for name, value in {**sizes, "arch": arch, "options": options or None}.items():
        if name == "seq_len" and not model.uses_time:
            continue  # it takes any
        if value is not None and value != model.about.get(name):
            raise UserError(
                f"{name} is {value!r}, and {weights} was exported for {model.about.get(name)!r}; leave it out"
            )
    interpolation = model.about["interpolation"]
    return Loaded(model, model.arch, model.height, model.width, model.seq_len, interpolation)
