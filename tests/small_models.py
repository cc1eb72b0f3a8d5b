"""Checkpoints of small models."""

import torch

from st_reid import create_model

MODELS = {"psta_osnet_x0_25": {"dim": 16, "levels": 1}, "osnet_x0_25": {}}


def write_weights(name, path, seed=0):
    """Write a checkpoint of a small model, as training does."""
    torch.manual_seed(seed)
    made_of = {"name": name, "num_classes": 3, "seq_len": 4, "height": 64, "width": 32}
    model = create_model(**made_of, **MODELS[name])
    torch.save({"state_dict": model.state_dict(), "model": made_of | MODELS[name]}, path)
    return path
