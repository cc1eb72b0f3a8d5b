"""torchreid in either of its layouts: PyPI's ``torchreid.reid.models`` and git's ``torchreid.models``.

Nothing is imported before it is asked for: importing torchreid takes seconds.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any


@cache
def _prefix() -> str:
    with warnings.catch_warnings():
        # Neither layout's wheel has the extension; the ranking is our own.
        warnings.filterwarnings("ignore", message=".*[Cc]ython.*")
        importlib.import_module("torchreid")
    try:
        importlib.import_module("torchreid.reid")
    except ModuleNotFoundError:
        return "torchreid"
    return "torchreid.reid"


def is_pypi_layout() -> bool:
    """Whether torchreid's modules are below ``torchreid.reid``."""
    return _prefix() == "torchreid.reid"


def submodule(name: str) -> ModuleType:
    """Import ``models``, ``data``, ``engine``, ``metrics``, ... from whichever layout is installed."""
    return importlib.import_module(f"{_prefix()}.{name}")


def model_factory() -> dict[str, Callable[..., Any]]:
    """Return torchreid's own mapping of model names to builders: what is added to it, torchreid can build."""
    return getattr(submodule("models"), "__model_factory")
