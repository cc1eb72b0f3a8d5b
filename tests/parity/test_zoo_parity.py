"""The zoo against numbers computed once with the authors' own code, on weights and inputs from the formula.

p3d, ap3d and nonlocal are from guxinqian/AP3D (Apache-2.0), sanet and sbm from baist/SINet (MIT), nvan from
jackie840129/STE-NVAN (MIT). ``*_block.npz`` are single layers on 32 channels, ``*_resnet50.npz`` whole networks up to
the last feature map, averaged over its positions; of the channels every fourth or eighth is stored. The loss is
mean(y^2) + mean(y * input of that shape). Two slips of SINet's code were
mended before it ran: its ResNet's convolutions had biases, which batch norm cancels, and its max-pooling no padding.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch
from parity.weights import formula_input, formula_state_dict, load_reference
from torch import nn

from st_reid import create_model
from st_reid.models.ap3d import AP3D
from st_reid.models.layers.frames import per_frame
from st_reid.models.non_local import NonLocal
from st_reid.models.p3d import P3D
from st_reid.models.sanet import StatisticAttention
from st_reid.models.sbm import SalientToBroad

TOLERANCE = 1e-9
OURS = {  # of a layer's original names
    "temporal_conv3d": "conv",
    "APM.semantic_mapping": "semantic",
    "APM.x_mapping": "of_frame",
    "APM.n_mapping": "of_neighbour",
    "APM.contrastive_att_net.0": "trust",
    "g.0": "g",
    "phi.0": "phi",
    "W.": "out.",
    "down_channel": "down",
    "up_channel.": "up.",
    "kernel.": "spatial.",
    "se.1": "squeeze.0",
    "se.3": "squeeze.2",
}
EVERY_OTHER = {"nonlocal": ({2: (1, 3), 3: (1, 3, 5)}), "sanet": {2: (1, 3)}, "sbm": {3: (1, 3, 5)}}


class AfterConvolution(nn.Module):
    """P3D and AP3D come with the spatial convolution that they follow."""

    def __init__(self, layer):
        super().__init__()
        self.spatial_conv3d = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.layer = layer

    def forward(self, x):
        return self.layer(per_frame(self.spatial_conv3d, x))


class Rectified(nn.Module):
    """SANet and SBM follow a ReLU."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.relu())


BLOCKS = {
    "p3d_block": lambda: AfterConvolution(P3D(32)),
    "ap3d_block": lambda: AfterConvolution(AP3D(32)),
    "nonlocal_block": lambda: NonLocal(32),
    "nvan_block": lambda: NonLocal(32, subsample=False),
    "sanet_block": lambda: Rectified(StatisticAttention(32)),
    **{f"sbm_block_{m}": partial(lambda m: Rectified(SalientToBroad(32, m)), m) for m in (1, 2, 3)},
}


def renamed(name):
    """Return our name for an original one within a layer."""
    return next((new + name.removeprefix(old) for old, new in OURS.items() if name.startswith(old)), name)


def block_name(name):
    """Return our name in a block of the tests."""
    return name if name.startswith("spatial_conv3d") else f"layer.{renamed(name)}"


def network_name(family, name):
    """Return our name in ResNet-50: the original puts what follows a block between the blocks."""
    name = name.replace("conv2.spatial_conv3d.", "conv2.")
    name = re.sub(r"conv2\.((temporal_conv3d|APM)\..*)", lambda m: f"conv2.temporal.{renamed(m[1])}", name)
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", name)
    if found is None:
        return name
    stage, index, rest = int(found[1]), int(found[2]), found[3]
    order = []
    for block in range(6):
        order.append(f"{block}.{rest}")
        if block in EVERY_OTHER.get(family, {}).get(stage, ()):
            order.append(f"{block}.temporal.{renamed(rest)}")
    return f"layer{stage}.{order[index]}"


def ours(value):
    """Return a three-dimensional kernel as that of an image, with three frames in the place of their channels."""
    if value.ndim != 5:
        return value
    return value.transpose(1, 2).flatten(1, 2)


def load(model, reference, rename):
    weights = formula_state_dict(reference["keys"], reference["shapes"], int(reference["meta"][0]))
    own = model.state_dict()
    mine = {rename(key): ours(value).reshape(own[rename(key)].shape) for key, value in weights.items()}
    assert mine.keys() == own.keys()
    model.load_state_dict(mine)
    return model.double()


def error(got, expected):
    """Largest difference over largest value."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


def check(model, reference, forward, thinned, rename):
    x = formula_input(tuple(reference["input_shape"]), int(reference["meta"][0])).double()
    with torch.no_grad():
        assert error(thinned(forward(x)), reference["evaluation"]) < TOLERANCE
    model.train()
    x.requires_grad_()
    y = forward(x)
    loss = y.square().mean() + (y * formula_input(tuple(y.shape), int(reference["meta"][0]))).mean()
    loss.backward()
    assert error(thinned(y.detach()), reference["training"]) < TOLERANCE
    assert loss.item() == pytest.approx(float(reference["loss"]), rel=TOLERANCE)
    assert x.grad.norm().item() == pytest.approx(float(reference["input_grad_norm"]), rel=TOLERANCE)
    gradients = {key: p.grad.norm() for key, p in model.named_parameters()}
    names = [rename(str(key)) for key in reference["grad_names"]]
    assert sorted(names) == sorted(gradients)
    assert error([gradients[name] for name in names], reference["grad_norms"]) < TOLERANCE
    state = model.state_dict()
    for what, of in (("sums", torch.sum), ("norms", torch.linalg.vector_norm)):
        if len(reference["running_names"]):
            found = [of(state[rename(str(key))]) for key in reference["running_names"]]
            assert error(found, reference[f"running_{what}"]) < TOLERANCE


@pytest.mark.parametrize("name", BLOCKS)
def test_a_layer(name):
    reference = load_reference(name)
    model = BLOCKS[name]()
    rename = renamed if isinstance(model, NonLocal) else block_name
    load(model, reference, rename).eval()

    def forward(x):  # the original's axes are (B, C, T, h, w)
        return model(x.transpose(1, 2)).transpose(1, 2)

    check(model, reference, forward, lambda y: y[:, ::4], rename)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["p3d", "ap3d", "nonlocal", "sanet", "sbm"])
def test_the_whole_network(family):
    reference = load_reference(f"{family}_resnet50")
    model = create_model(f"{family}_resnet50", 5, dim=8)
    rename = partial(network_name, family)
    load(model.backbone, reference, rename)
    model.eval()
    check(model.backbone, reference, lambda x: model.feature_maps(x).mean(dim=(3, 4)), lambda y: y[..., ::8], rename)
