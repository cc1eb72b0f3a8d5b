"""Importing this package registers every model, here and in torchreid."""

from st_reid import torchreid_bridge
from st_reid.models import frame_level, pcb, psta  # noqa: F401

torchreid_bridge.register()
