"""Video person re-identification for torchreid: models that see time, on today's PyTorch.

Importing this package makes every model and dataset of it known to torchreid, whichever of its layouts is installed.
It stays quick and quiet: torch and torchreid are imported when something needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from st_reid.bridge.imports import after_import
from st_reid.models.factory import create_model, list_models

__version__ = "0.1.0"
__all__ = [
    "ClipDataManager",
    "ClipSoftmaxEngine",
    "ClipTripletEngine",
    "create_model",
    "list_models",
    "load_model",
]
_LAZY = {
    "ClipDataManager": "st_reid.bridge.clip_engine",
    "ClipSoftmaxEngine": "st_reid.bridge.clip_engine",
    "ClipTripletEngine": "st_reid.bridge.clip_engine",
    "load_model": "st_reid.models.loading",
}
"""Names whose modules import torch or torchreid, by their modules."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    import_module("st_reid.bridge.register").register()


after_import("torchreid", _register)
