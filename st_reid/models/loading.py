"""Loading a model to extract features, with the settings of its clips, from any checkpoint that the commands take."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from torch import Tensor, nn

from st_reid.data.clip_spec import ClipSpec
from st_reid.errors import UserError, first_line
from st_reid.models.checkpoints import load_checkpoint, load_matching, load_state_dict, state_dict_of
from st_reid.models.exported import ExportedModel
from st_reid.models.factory import check_model, create_model
from st_reid.models.fingerprint import digest_of, fingerprint
from st_reid.reading import Count, of_type

logger = logging.getLogger(__name__)
MAX_UNSEEN = 2**16
"""Up to here a size in a checkpoint may be larger than any weight: a model need not have a classifier."""
SIZES = ("height", "width", "seq_len")
InputSize = Annotated[int, msgspec.Meta(ge=1, le=4096)]
"""Pixels or frames of a model's input."""
WRITTEN = "expected a checkpoint of training; is it complete?"


@dataclass(frozen=True)
class LoadedModel:
    """A model, and the settings of the clips that its weights are for.

    Attributes:
        model: in evaluation mode, on the CPU; or an exported one.
        arch: its name.
        spec: what the clips are like.
        weights: the file that it is from.
    """

    model: Any
    arch: str
    spec: ClipSpec
    weights: str

    @property
    def uses_time(self) -> bool:
        """False if the result is the mean over single frames."""
        return getattr(self.model, "uses_time", True)

    @property
    def fixed_length(self) -> bool:
        """Whether the model takes clips of ``spec.seq_len`` frames only: an exported one that uses time does."""
        return self.uses_time and isinstance(self.model, ExportedModel) and self.spec.seq_len > 1

    def about(self, per_frame: bool = False) -> dict[str, Any]:
        """Return the metadata of features of this model, of frames (``per_frame``) or of tracklets."""
        spec = {name: getattr(self.spec, name) for name in (*SIZES, "sampler", "interpolation")}
        made_of = {"arch": self.arch, **spec, "per_frame": per_frame}
        if isinstance(self.model, nn.Module):
            return {"weights": self.weights, **made_of, "fingerprint": fingerprint(self.model, made_of)}
        # An exported model knows the fingerprint that its weights have with the settings that it was exported for.
        exported = self.model.about
        as_exported = all(exported.get(name, value) == value for name, value in made_of.items())
        suffix = "" if as_exported and not per_frame else "-" + digest_of(made_of)[:8]
        return {"weights": self.weights, **made_of, "fingerprint": exported["fingerprint"] + suffix}


def load_model(checkpoint: str | os.PathLike[str]) -> nn.Module:
    """Rebuild a model from what training wrote, in evaluation mode, on the CPU. No code in the file is run.

    Raises:
        UserError: a file that cannot be read, or was not written by this package's training.
    """
    return build_from_checkpoint(load_checkpoint(checkpoint), checkpoint)


def build_from_checkpoint(checkpoint: Mapping[str, Any], source: str | os.PathLike[str]) -> nn.Module:
    """Rebuild the model of a training run's checkpoint, in evaluation mode.

    Args:
        checkpoint: from :func:`load_checkpoint`: ``model`` holds the arguments of ``st_reid.create_model``.
        source: where it is from, for the messages.

    Raises:
        UserError: the checkpoint does not name its model, or its weights do not fit the model.
    """
    made_of = _model_arguments(checkpoint, source)
    weights = state_dict_of(checkpoint, source)
    _check_sizes(made_of, weights, source)
    try:
        model = create_model(**made_of)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, AssertionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{source}: its model {made_of['name']} cannot be built ({first_line(error)})") from error
    load_matching(model, weights, source, optional=())
    return model.eval()


class ModelArguments(TypedDict, total=False):
    """``model`` in a checkpoint, besides the model's name, ``num_classes`` and its own options."""

    loss: Literal["softmax", "triplet"]
    seq_len: InputSize
    height: InputSize
    width: InputSize


class NamedModel(ModelArguments):
    """``model`` in a checkpoint."""

    name: str
    num_classes: Count


class TrainedWith(TypedDict, total=False):
    """``config`` in a checkpoint, as far as it is needed."""

    data: ReadSettings


class ReadSettings(TypedDict, total=False):
    """``data`` in ``config``."""

    interpolation: Literal["bilinear", "bicubic"] | None


def _model_arguments(checkpoint: Mapping[str, Any], source: Any) -> dict[str, Any]:
    """Return the arguments of ``create_model``. Nothing is downloaded or opened for them: the checkpoint has it all."""
    made_of = checkpoint.get("model")
    if not isinstance(made_of, dict) or "name" not in made_of:
        raise UserError(f"{source} does not say which model it is of; pass its name with --arch")
    of_type(made_of, NamedModel, f"{source}, model", WRITTEN)
    of_type(made_of, dict[str, Any], f"{source}, model", WRITTEN)
    return {name: value for name, value in made_of.items() if name != "pretrained"}


def _check_sizes(made_of: Mapping[str, Any], weights: Mapping[str, Tensor], source: Any) -> None:
    """Raise :class:`UserError` for large sizes that no weight has, before memory is allocated for them."""
    longest = max(MAX_UNSEEN, *(max(value.shape, default=0) for value in weights.values()))
    for name, value in made_of.items():
        if name not in SIZES and isinstance(value, int) and value > longest:
            raise UserError(f"{source}: {name} is {value}, and no weight is longer than {longest}; {WRITTEN}")


def load_into(model: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Load a bare state dict, or a checkpoint of torchreid or of the original code, into a model built for it.

    Returns:
        The names that were left out: a classifier of another size.

    Raises:
        UserError: see :func:`load_state_dict` and :func:`load_matching`.
    """
    rename = getattr(model, "rename_weights", dict)
    return load_matching(model, rename(load_state_dict(path)), path)


def load_for_evaluation(
    weights: str, arch: str | None = None, options: Mapping[str, Any] | None = None, **chosen: Any
) -> LoadedModel:
    """Load a checkpoint of a training run, or an exported ``.onnx``; with ``arch`` also a bare state dict.

    Args:
        weights: the file.
        arch: the model's name, where the file does not say it.
        options: the model's own, with ``arch``.
        **chosen: fields of :class:`~st_reid.data.clip_spec.ClipSpec`, instead of what the checkpoint was trained with,
            and of the defaults; ``None`` chooses nothing.

    Raises:
        UserError: a file that cannot be read, is of another model, or does not name its model.
    """
    if str(weights).endswith(".onnx"):
        return _load_exported(weights, arch, options, chosen)
    checkpoint = load_checkpoint(weights)
    if arch is None or _names_its_model(checkpoint):
        model = build_from_checkpoint(checkpoint, weights)
        made_of = checkpoint["model"]
        if arch not in (None, made_of["name"]) or options:
            raise UserError(
                f"{weights} is of {made_of['name']}, made with its own options; leave --arch and --options out"
            )
        config = of_type(checkpoint.get("config", {}), TrainedWith, f"{weights}, config", WRITTEN)
        trained_with = config.get("data", {})
        spec = ClipSpec().changed(
            **{name: made_of.get(name) for name in SIZES}, interpolation=trained_with.get("interpolation")
        )
        return LoadedModel(model, made_of["name"], spec.changed(**chosen), weights)
    check_model(arch, options or {})
    spec = ClipSpec().changed(**chosen)
    model = create_model(arch, 1, **{name: getattr(spec, name) for name in SIZES}, **(options or {}))
    left_out = load_into(model, weights)
    if left_out:
        logger.info("%s: left out %s", weights, ", ".join(left_out))
    return LoadedModel(model.eval(), arch, spec, weights)


def _names_its_model(checkpoint: Mapping[str, Any]) -> bool:
    made_of = checkpoint.get("model")
    return isinstance(made_of, dict) and isinstance(made_of.get("name"), str)


def _load_exported(weights: str, arch: str | None, options: Any, chosen: Mapping[str, Any]) -> LoadedModel:
    model = ExportedModel(weights)
    fixed = {name: chosen.get(name) for name in SIZES}
    for name, value in {**fixed, "arch": arch, "options": options or None}.items():
        if name == "seq_len" and not model.uses_time:
            continue  # it takes any number
        if value is not None and value != model.about.get(name):
            raise UserError(
                f"{name} is {value!r}, and {weights} was exported for {model.about.get(name)!r}; leave it out"
            )
    spec = ClipSpec().changed(**{name: model.about[name] for name in (*SIZES, "interpolation")})
    return LoadedModel(model, model.arch, spec.changed(**{**chosen, "seq_len": None}), weights)
