"""Small models: checkpoints of them, and weights as after training."""

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


def trained(model):
    """Give the values that training would give: nothing is zero any more, running statistics are those of data."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.1, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and not value.any():
            value.normal_(std=0.3, generator=generator)
    return model.eval()
