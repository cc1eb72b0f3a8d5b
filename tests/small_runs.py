"""Settings of training runs that take seconds or less, and command lines of them."""

SETTINGS = {
    "sources": "manifest",
    "device": "cpu",
    "precision": "float32",
    "val-identities": 2,
    "model.pretrained": "false",
    "data.clips": 2,
    "data.workers": 0,
}
"""What all of them have."""

LEARNING_RUN = SETTINGS | {
    "arch": "psta_resnet18",
    "height": 64,
    "width": 32,
    "seq-len": 4,
    "epochs": 2,
    "validate-every": 1,
    "model.options": "{dim: 32}",
    "data.persons": 3,
    "data.batches": 2,
    "optim.lr": 1e-3,
    "optim.warmup_epochs": 1,
}
"""Learns to tell six persons apart by their colours, somewhat, in two epochs."""

SMALLEST_RUN = SETTINGS | {
    "arch": "psta_osnet_x0_25",  # a checkpoint of it is a matter of milliseconds
    "height": 32,
    "width": 32,
    "seq-len": 2,
    "model.options": "{dim: 16, levels: 1}",
}
"""For runs in processes of their own, of which it does not matter what they learn."""


def to_argv(settings):
    """Return settings as a command line has them."""
    return [str(a) for name, value in settings.items() for a in (f"--{name}", value)]
