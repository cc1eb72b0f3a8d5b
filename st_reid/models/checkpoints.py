"""Reading weights from any checkpoint without executing anything in it; and writing checkpoints."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from st_reid.errors import UserError, first_line
from st_reid.files import written_whole
from st_reid.reading import check_file, from_json

CLASSIFIERS = ("classifier", "classifiers", "classifier_global", "classifier_local")
"""Modules that depend on the identities of the training set."""
BEHIND_THE_FEATURE_MAP = (*CLASSIFIERS, "fc", "heads", "pixel_mean", "pixel_std")
"""What a network has after its feature map, or before its pixels, as named by torchvision, torchreid and fast-reid."""
CONTAINERS = ("state_dict", "model_state_dict", "net_dict", "model")
"""Where a checkpoint may have its weights."""
PREFIXES = re.compile(r"^((module|_orig_mod)\.)+")
METADATA_KEYS = ("model", "config", "epoch", "best")
"""The metadata of a file of weights."""
MAX_ENTRIES, MAX_DEPTH = 2_000_000, 100  # of a checkpoint


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a whole checkpoint onto the CPU: tensors, plain values, NumPy scalars, and nothing that is code.

    A file called ``.safetensors`` is read as such.

    Raises:
        UserError: no such file, a damaged one, or one that holds anything else.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"checkpoint {path} does not exist; pass the path of a checkpoint")
    check_file(path)
    checkpoint = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickled(path)
    _check_plain(checkpoint, path)
    return checkpoint


def _load_pickled(path: Path) -> dict[str, Any]:
    allowed = torch.serialization.get_safe_globals()  # keep what was allowed permanently
    try:
        with torch.serialization.safe_globals([entry for entry in numpy_scalars() if entry not in allowed]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is damaged, or holds more than tensors and plain values, which could run code; "
            "save its state dict alone and pass that"
        ) from error
    except Exception as error:  # a damaged pickle or archive can raise any error
        raise UserError(f"checkpoint {path} cannot be read ({first_line(error)}); is it one, and complete?") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path} holds a {type(checkpoint).__name__}; expected a dict of tensors")
    return checkpoint


def _check_plain(checkpoint: dict[str, Any], path: Path) -> None:
    """Raise :class:`UserError` for a tensor without values of its own, and for values that are endless or too deep.

    A pickle can hold a list that is in itself, and one of nine levels that is a thousand million long.
    """
    waiting: list[tuple[str, Any, int]] = [("", checkpoint, 0)]
    count = 0
    while waiting:
        name, value, depth = waiting.pop()
        count += 1
        if count > MAX_ENTRIES or depth > MAX_DEPTH:
            raise UserError(f"checkpoint {path} has more than {MAX_ENTRIES} entries or {MAX_DEPTH} levels at {name!r}")
        if isinstance(value, Tensor) and (fault := _fault_of(value)):
            raise UserError(f"checkpoint {path}: {name!r} is a {fault} tensor; expected dense ones with their values")
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}"[:200].lstrip("."), inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, (list, tuple, set)):
            waiting += [(name, inner, depth + 1) for inner in value]


def _fault_of(tensor: Tensor) -> str | None:
    if tensor.device.type != "cpu":
        return tensor.device.type
    if tensor.is_nested or tensor.layout != torch.strided:
        return "sparse or nested"
    return "quantised" if tensor.is_quantized else None


def load_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights of a checkpoint: a bare state dict, or one inside a larger checkpoint.

    torchreid names it ``"state_dict"``, fast-reid ``"model"``; ``CONTAINERS`` has all known names. The prefixes of
    DataParallel and ``torch.compile`` are removed.

    Raises:
        UserError: the file cannot be read, or holds no state dict.
    """
    return state_dict_of(load_checkpoint(path), path)


def state_dict_of(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, see :func:`load_state_dict`; ``path`` is where it is from, for messages."""
    inside = (checkpoint[name] for name in CONTAINERS if isinstance(checkpoint.get(name), dict))
    state_dict = next((found for found in inside if _is_state_dict(found)), checkpoint.get("state_dict", checkpoint))
    if not isinstance(state_dict, dict) or not state_dict:
        raise UserError(f"checkpoint {path} holds no weights; expected a state dict, bare or under 'state_dict'")
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"checkpoint {path} is no state dict: {name!r} is a {type(value).__name__}; expected tensors, "
                "bare or under 'state_dict'"
            )
    return {PREFIXES.sub("", name): value for name, value in state_dict.items()}


def _is_state_dict(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(isinstance(value, Tensor) for value in found.values())


def load_matching(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    source: str | os.PathLike[str],
    *,
    optional: Collection[str] = CLASSIFIERS,
) -> list[str]:
    """Load ``state_dict`` into ``model``; only the modules called ``optional`` may differ or be absent.

    Args:
        model: it is not changed if anything is wrong.
        state_dict: from :func:`load_state_dict`.
        source: the name of its file, for the messages.
        optional: names of modules, at any depth. Their entries are loaded where name and shape match.

    Returns:
        The names, on either side, that were left out, sorted.

    Raises:
        UserError: nothing matches, or something that is not optional does not. The message has counts and an example.
    """
    own = model.state_dict()
    matched = {name: value for name, value in state_dict.items() if name in own and value.shape == own[name].shape}
    if not matched:
        raise UserError(
            f"{source}: none of its {len(state_dict)} entries belongs to this model "
            f"(it has {_example(state_dict)}, expected {_example(own)}); pass a checkpoint of the same architecture"
        )
    left_out = sorted(name for name in own.keys() | state_dict.keys() if name not in matched)
    required = [name for name in left_out if not set(optional) & set(name.split("."))]
    missing = [name for name in required if name not in state_dict and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in required if name not in own]
    reshaped = [
        f"{name!r} is {tuple(state_dict[name].shape)}, expected {tuple(own[name].shape)}"
        for name in required
        if name in own and name in state_dict
    ]
    complaints = [
        f"{len(names)} {what} ({names[0]})"
        for names, what in ((missing, "missing"), (unexpected, "unknown"), (reshaped, "of another shape"))
        if names
    ]
    if complaints:
        raise UserError(
            f"{source} does not fit this model: {', '.join(complaints)}; pass a checkpoint of the same architecture"
        )
    model.load_state_dict(matched, strict=False)
    return left_out


def save_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        UserError: it cannot be written; the disk is full, for example.
    """
    try:
        with written_whole(path) as file:
            torch.save(dict(checkpoint), file)
    except (OSError, RuntimeError) as error:  # torch's archive turns one into the other
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else first_line(error)
        raise UserError(
            f"cannot write checkpoint {path} ({reason}); the checkpoints before it are whole: make room and resume"
        ) from error


def save_weights(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a model's weights as safetensors, to share; the model's settings go into the file's metadata.

    :func:`load_checkpoint` reads it back.
    """
    told = {key: json.dumps(checkpoint[key]) for key in METADATA_KEYS if key in checkpoint}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint["state_dict"].items()}
    with written_whole(path) as file:
        file.write(safetensors.torch.save(tensors, metadata=told))


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            said = {key: text for key, text in (file.metadata() or {}).items() if key in METADATA_KEYS}
            told = {key: from_json(text, Any, f"{path}, {key}", "is it complete?") for key, text in said.items()}
            return {**told, "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    except UserError:
        raise
    except Exception as error:  # its errors have no common class
        raise UserError(f"checkpoint {path} cannot be read ({first_line(error)}); is it one, and complete?") from error


def load_backbone_weights(model: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Load a checkpoint into a network; only the part up to the feature map must match.

    Returns:
        The names that were left out: classifiers, and layers called ``fc``, which are absent or of another size.

    Raises:
        UserError: see :func:`load_state_dict` and :func:`load_matching`.
    """
    state_dict, own = load_state_dict(path), model.state_dict()
    if not own.keys() & state_dict.keys():  # the name of the backbone in whole models of fast-reid and of this package
        state_dict = {name.removeprefix("backbone."): value for name, value in state_dict.items()}
    return load_matching(model, state_dict, path, optional=BEHIND_THE_FEATURE_MAP)


def numpy_scalars() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what ``torch.load`` has to allow for NumPy scalars: torchreid's engine stores the rank-1 rate as one."""
    # NumPy 1 and 2 name the constructor differently.
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *kinds]  # type: ignore[list-item]


def _example(state_dict: Mapping[str, Tensor]) -> str:
    return repr(next(iter(state_dict), None))
