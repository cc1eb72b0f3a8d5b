"""ST-ReID's appearance stream: its released checkpoints, renamed for the port."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from st_reid.errors import UserError
from st_reid.models.released import pcb_key, rename_pcb


def convert_pcb(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released state dict of ST-ReID's PCB for ``create_model("st_reid_pcb", ...)``.

    ImageNet's classifier ``model.fc``, which the release carries along, is left out.

    Args:
        state_dict: with or without ``module.`` before every key.

    Raises:
        UserError: a key that is not of such a state dict; the message names it.
    """
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    for key in state_dict:
        if pcb_key(key) is None:
            raise UserError(f"{key!r} is no key of ST-ReID's PCB; expected model.*, classifier0.* and so on")
    return dict(rename_pcb(state_dict))
