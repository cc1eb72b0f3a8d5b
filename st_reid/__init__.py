"""Video person re-identification for torchreid: models that see time, on today's PyTorch.

Importing this package makes every model and dataset of it known to torchreid, whichever of its layouts is installed.
It stays quick and quiet: torch and torchreid are imported when something needs them.
"""

from __future__ import annotations

from typing import Any

from st_reid import torchreid_bridge
from st_reid.registry import create_model, list_models, load_model

__version__ = "0.1.0"
__all__ = [
    "ClipDataManager",
    "ClipSoftmaxEngine",
    "ClipTripletEngine",
    "create_model",
    "list_models",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name.startswith("Clip") and name in __all__:
        from st_reid import clip_engine  # now, as it imports torchreid

        return getattr(clip_engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


torchreid_bridge.register_on_import()
