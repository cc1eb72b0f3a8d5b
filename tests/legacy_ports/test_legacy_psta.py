"""The oracle's names, the converter, and the port against the oracle where both are cheap."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.weights import load_reference
from torch import nn

from legacy_ports import convert_psta
from legacy_ports.psta import LegacyPSTA
from st_reid import create_model
from st_reid.errors import UserError
from st_reid.models.psta import PSTAHead
from st_reid.models.released import port_key

CHANNELS, DIM, CLASSES, GRID = 12, 16, 5, (4, 2)


def random_oracle(seed):
    """Build a small float64 oracle without backbone, every weight and statistic of which matters."""
    oracle = LegacyPSTA(CLASSES, base=nn.Identity(), channels=CHANNELS, dim=DIM, positions=GRID[0] * GRID[1]).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in oracle.state_dict().items():
            if value.is_floating_point():
                n = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                scale = n[0].numel() ** -0.5 if n.ndim > 1 else 0.3
                offset = 1 if n.ndim == 1 and key.endswith(("weight", "running_var")) else 0
                value.copy_(offset + (n.abs() if key.endswith("running_var") else n) * scale)
    return oracle


def port_of(oracle):
    head = PSTAHead(CHANNELS, CLASSES, dim=DIM, grid=GRID).double()
    state = {port_key(key).removeprefix("head."): value.clone() for key, value in oracle.state_dict().items()}
    head.load_state_dict(state)
    return head


def run(model, maps, projections):
    """Return outputs, gradients and running statistics of one training step."""
    maps = maps.clone().requires_grad_()
    logits, features = model.train()(maps)[:2]
    outputs = [*logits, *features]
    sum((output * p).sum() for output, p in zip(outputs, projections, strict=True)).backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    return outputs, maps.grad, gradients, dict(model.named_buffers())


@settings(max_examples=8, deadline=None)
@given(T=st.sampled_from([8, 16, 24]), B=st.integers(2, 4), seed=st.integers(0, 2**16))
def test_port_trains_exactly_as_the_oracle(T, B, seed):
    oracle = random_oracle(seed)
    port = port_of(oracle)
    generator = torch.Generator().manual_seed(seed + 1)
    maps = torch.randn(B, T, CHANNELS, *GRID, generator=generator, dtype=torch.float64)
    projections = [torch.randn(B, n, generator=generator, dtype=torch.float64) for n in [CLASSES] * 3 + [DIM] * 3]
    expected, expected_input, expected_gradients, expected_buffers = run(oracle, maps, projections)
    got, got_input, got_gradients, got_buffers = run(port, maps, projections)

    # One-channel batch norms over few values amplify rounding, hence a tolerance above that of the outputs.
    close = {"rtol": 1e-7, "atol": 1e-9}
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got_input, expected_input, **close)
    assert len(got_gradients) == len(expected_gradients)
    for key, gradient in expected_gradients.items():
        torch.testing.assert_close(got_gradients[port_key(key).removeprefix("head.")], gradient, **close)
    assert len(got_buffers) == len(expected_buffers)
    for key, value in expected_buffers.items():
        torch.testing.assert_close(got_buffers[port_key(key).removeprefix("head.")], value, **close)


def test_oracle_is_sensitive_to_every_weight():
    # Else equality with it would prove nothing: a gate that saturates hides what is behind it.
    oracle = random_oracle(0).eval()
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 8, CHANNELS, *GRID, generator=generator, dtype=torch.float64)
    oracle(maps).square().sum().backward()
    silent = [
        key
        for key, p in oracle.named_parameters()
        if not key.startswith(("classifier", "bottleneck")) and p.grad.abs().max() < 1e-8
    ]
    assert silent == []


@pytest.mark.parametrize("T", [8, 16])
def test_port_evaluates_exactly_as_the_oracle(T):
    oracle = random_oracle(3).eval()
    maps = torch.randn(3, T, CHANNELS, *GRID, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(port_of(oracle).eval()(maps), oracle(maps), rtol=1e-10, atol=1e-12)


def test_oracle_has_the_released_keys_and_shapes():
    reference = load_reference("psta_t8")
    state = LegacyPSTA(int(reference["meta"][3])).state_dict()
    assert list(state) == [str(key) for key in reference["keys"]]
    assert [str(tuple(value.shape)) for value in state.values()] == [str(shape) for shape in reference["shapes"]]


@pytest.fixture(scope="module")
def released():
    return LegacyPSTA(7).state_dict()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_convert_fills_the_port_completely(released, prefix):
    before = {prefix + key: value for key, value in released.items()}
    given_dict = copy.copy(before)
    converted = convert_psta(given_dict)
    assert given_dict.keys() == before.keys()
    model = create_model("psta", 7)
    model.load_state_dict(converted, strict=True)
    assert len(converted) == len(released)
    torch.testing.assert_close(model.backbone.layer3[2].conv2.weight, released["base.layer3.2.conv2.weight"])


def test_convert_refuses_what_is_no_psta_checkpoint(released):
    without = {key: value for key, value in released.items() if "TRAG.gg_temporal" not in key}
    with pytest.raises(UserError, match=r"18 entries missing .*gg_temporal"):
        convert_psta(without)
    with pytest.raises(UserError, match=r"1 entries unknown .*fc\.weight"):
        convert_psta({**released, "base.fc.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"1 entries of another shape .*base\.conv1\.weight"):
        convert_psta({**released, "base.conv1.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="not a released PSTA state dict"):
        convert_psta({})
