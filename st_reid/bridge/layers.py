"""torchreid's recipes for single layers, ``open_layers`` and ``staged_lr``, on clip models.

torchreid looks for a layer such as ``classifier`` among a model's children. Those of a clip model lie deeper, and there
may be several, one a level or part. So torchreid gets them as children of a wrapper.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from torch import nn

from st_reid import torchreid_compat
from st_reid.errors import UserError
from st_reid.models.checkpoints import CLASSIFIERS

SYNONYMS = {"classifier": CLASSIFIERS}
"""torchreid's names of layers, and the names here."""


def teach_layers(takes_clips: Callable[[Any], bool]) -> None:
    """Have torchreid's ``open_specified_layers`` and ``build_optimizer`` find the layers of clip models."""
    for modules, name, keyword in (
        (("utils", "utils.torchtools", "engine.engine"), "open_specified_layers", "open_layers"),
        (("optim", "optim.optimizer"), "build_optimizer", "new_layers"),
    ):
        try:
            places = [torchreid_compat.submodule(module) for module in modules]
            original = getattr(places[0], name)
        except (ModuleNotFoundError, AttributeError):
            warnings.warn(
                f"torchreid's {name} is not as st_reid knows it: {keyword} will not find the layers of clip models",
                stacklevel=2,
            )
            continue
        if hasattr(original, "__wrapped__"):
            continue
        wrapped = _on_children(original, keyword, takes_clips)
        for place in places:
            setattr(place, name, wrapped)


def _on_children(original: Any, keyword: str, takes_clips: Callable[[Any], bool]) -> Any:
    @wraps(original)
    def wrapped(model: Any, *args: Any, **kwargs: Any) -> Any:
        staged = keyword == "open_layers" or kwargs.get("staged_lr", False)
        if not staged or not takes_clips(model):
            return original(model, *args, **kwargs)
        layers = args[0] if keyword == "open_layers" and args else kwargs.get(keyword)
        names = [layers] if isinstance(layers, str) else list(layers or ())
        if not any(names):
            raise UserError(f"{keyword} is {layers!r}; expected the names of layers, such as 'classifier'")
        return original(show_layers(getattr(model, "module", model), names), *args, **kwargs)

    return wrapped


def show_layers(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """Return a module whose children are the layers of these names in ``model``, and whose other children are the rest.

    Raises:
        UserError: a layer that the model does not have.
    """
    shown = nn.Module()
    chosen: set[nn.Module] = set()
    for name in names:
        wanted = SYNONYMS.get(name, (name,))
        found = [m for path, m in model.named_modules() if path.rpartition(".")[2] in wanted and m not in chosen]
        if not found:
            children = ", ".join(name for name, _ in model.named_children())
            raise UserError(f"the model has no layer {name!r}; expected 'classifier', or one of {children}")
        chosen.update(found)
        shown.add_module(name, nn.ModuleList(found))
    rest = list(_rest(model, chosen))
    shown.add_module("all_others", nn.ModuleList(rest))
    return shown


def _rest(module: nn.Module, chosen: set[nn.Module]) -> Iterator[nn.Module]:
    """Yield the largest parts of a module that hold nothing chosen."""
    for child in module.children():
        if child in chosen:
            continue
        if chosen.isdisjoint(child.modules()):
            yield child
        else:
            yield from _rest(child, chosen)
