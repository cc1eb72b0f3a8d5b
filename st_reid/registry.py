"""Names for what can be chosen by name: models, backbones, datasets, clip samplers."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_type_hints

from st_reid.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """A mapping of names to builders in which a name can be taken only once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, T] = {}

    def add(self, name: str, builder: T) -> None:
        """Register ``builder`` under ``name``.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._builders:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._builders[name] = builder

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a builder under ``name``."""

        def decorate(builder: T) -> T:
            self.add(name, builder)
            return builder

        return decorate

    def names(self, pattern: str = "*") -> list[str]:
        """Return the sorted names that match a shell pattern."""
        return sorted(name for name in self._builders if fnmatchcase(name, pattern))

    def get(self, name: str) -> T:
        """Return the builder of ``name``.

        Raises:
            UserError: no such name; the message offers the nearest ones.
        """
        try:
            return self._builders[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._builders) from None

    def __contains__(self, name: object) -> bool:
        return name in self._builders


COMMON_ARGUMENTS = ("loss", "pretrained", "seq_len", "height", "width")
"""What every model's builder takes by keyword, and what is therefore none of its own options."""


def check_options(
    owner: str, builder: Callable[..., Any], options: Mapping[str, Any], common: Iterable[str] = ()
) -> None:
    """Raise :class:`UserError` for an option that ``builder`` does not take, or not with a value of that type.

    Args:
        owner: whose options, in words.
        builder: a registered function.
        options: what was asked for, by name.
        common: keyword arguments of every builder, which are no options.
    """
    keywords = {n: p for n, p in inspect.signature(builder).parameters.items() if p.kind is p.KEYWORD_ONLY}
    known = keywords.keys() - set(common)
    for name in options:
        if name not in known:
            raise unknown_name(f"option of {owner}", name, known)
    types = get_type_hints(getattr(builder, "func", builder))
    for name, value in options.items():
        expected = get_args(types.get(name)) or (types.get(name),)
        plain = tuple(t for t in expected if t in (bool, int, float, str, type(None)))
        if len(plain) == len(expected) and type(value) not in (*plain, *((int,) if float in plain else ())):
            wanted = " or ".join(t.__name__ for t in plain)
            raise UserError(f"option {name!r} of {owner} is {value!r}; expected {wanted}")


MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
LOSSES = ("softmax", "triplet")


def _load_models() -> None:
    # Deferred: the models import torch and torchreid, which takes seconds that `--help` need not spend.
    import st_reid.models  # noqa: F401


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that :func:`create_model` knows, sorted.

    Args:
        pattern: a shell pattern, for example ``"psta*"``.
    """
    _load_models()
    return MODELS.names(pattern)


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
    """Build a clip model.

    A clip model maps a clip (B, T, 3, H, W), or (B, 3, H, W) as B single frames, normalised by ImageNet's mean and
    deviation, to features (B, feature_dim) in evaluation mode; in training mode to logits (B, num_classes) or, with
    ``loss="triplet"``, to (logits, features), either of which may be a list where every level is supervised.

    Args:
        name: one of :func:`list_models`.
        num_classes: identities of the training set.
        loss: ``"softmax"`` or ``"triplet"``.
        pretrained: ``False``; ``True`` for the ImageNet backbone, which torchvision or torchreid downloads; or the
            path of a checkpoint for the backbone.
        seq_len: frames per clip T.
        height: input height in pixels.
        width: input width in pixels.
        **options: the model's own.

    Raises:
        UserError: an unknown name, loss or option, or weights that cannot be had.
    """
    _load_models()
    builder = MODELS.get(name)
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    if num_classes < 1:
        raise UserError(f"num_classes is {num_classes}; a classifier needs at least 1")
    check_options(f"model {name!r}", builder, options, COMMON_ARGUMENTS)
    model = builder(
        num_classes, loss=loss, pretrained=pretrained, seq_len=seq_len, height=height, width=width, **options
    )
    model.takes_clips = True  # type: ignore[assignment] # which torchreid's engines ask for
    return model


def check_model(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`UserError` for a model that does not exist, or options that are not its own."""
    _load_models()
    check_options(f"model {name!r}", MODELS.get(name), options, COMMON_ARGUMENTS)


def load_model(checkpoint: str | os.PathLike[str]) -> nn.Module:
    """Rebuild a model from what training wrote, in evaluation mode, on the CPU. No code in the file is run.

    Raises:
        UserError: a file that cannot be read, or was not written by this package's training.
    """
    from st_reid.checkpoints import build_from_checkpoint, load_checkpoint

    return build_from_checkpoint(load_checkpoint(checkpoint), checkpoint)
