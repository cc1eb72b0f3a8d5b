"""ST-ReID's appearance stream: its released checkpoints, renamed for the port."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from st_reid.errors import UserError

_RENAMED = (
    (re.compile(r"classifier(\d+)\.add_block\.([01])\."), r"embeddings.\1.\2."),
    (re.compile(r"classifier(\d+)\.classifier\.0\."), r"classifiers.\1."),
    (re.compile(r"model\."), "backbone."),
)
_UNUSED = "model.fc."


def convert_pcb(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released state dict of ST-ReID's PCB for ``create_model("st_reid_pcb", ...)``.

    ImageNet's classifier ``model.fc``, which the release carries along, is left out.

    Args:
        state_dict: with or without ``module.`` before every key.

    Raises:
        UserError: a key that is not of such a state dict; the message names it.
    """
    converted = {}
    for key, value in state_dict.items():
        name = key.removeprefix("module.")
        if name.startswith(_UNUSED):
            continue
        for pattern, replacement in _RENAMED:
            if pattern.match(name):
                converted[pattern.sub(replacement, name, count=1)] = value
                break
        else:
            raise UserError(f"{key!r} is no key of ST-ReID's PCB; expected model.*, classifier0.* and so on")
    return converted
