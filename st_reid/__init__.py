"""Video person re-identification for torchreid: models that see time, on today's PyTorch.

Importing this package makes every model and dataset of it known to torchreid, whichever of its layouts is installed.
It stays quick and quiet: torch and torchreid are imported when something needs them.
"""

from __future__ import annotations

from st_reid import torchreid_bridge
from st_reid.registry import create_model, list_models, load_model

__version__ = "0.1.0"
__all__ = ["create_model", "list_models", "load_model"]


torchreid_bridge.register_on_import()
