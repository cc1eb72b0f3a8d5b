"""Every registered PSTA, by being registered."""

from __future__ import annotations

import pytest
import torch

import st_reid
from st_reid.models.base import MODELS
from st_reid.models.layers.backbone import BACKBONES
from st_reid.registry import Registry

# One of every family, the cheapest.
FAMILIES = ("resnet18", "osnet_x0_25", "osnet_ain_x0_25", "mobilenetv2_x1_0", "shufflenet_v2_x0_5")


def test_a_psta_for_every_backbone():
    assert st_reid.list_models("psta*") == sorted(["psta", *(f"psta_{name}" for name in BACKBONES.names())])
    for name in ("psta_resnet18", "psta_resnet50", "psta_osnet_x1_0", "psta_osnet_x0_25", "psta_mobilenetv2_x1_0"):
        assert name in MODELS


@pytest.mark.parametrize("T", [1, 3, 8])
@pytest.mark.parametrize("backbone", FAMILIES)
def test_clip_interface(backbone, T):
    model = st_reid.create_model(f"psta_{backbone}", 6, loss="triplet", dim=32, seq_len=T, height=64, width=32)
    logits, features = model(torch.randn(2, T, 3, 64, 32))
    assert all(y.shape == (2, 6) and f.shape == (2, 32) for y, f in zip(logits, features, strict=True))
    with torch.inference_mode():
        assert model.eval()(torch.randn(2, T, 3, 64, 32)).shape == (2, model.feature_dim)


def test_a_name_is_taken_once():
    registry = Registry("thing")
    registry.add("a", int)
    with pytest.raises(ValueError, match="thing 'a' is registered already"):
        registry.add("a", float)


def test_unknown_model():
    with pytest.raises(st_reid.registry.UserError, match=r"unknown model 'psta_osnet_x1_1'; did you mean .*psta_osnet"):
        st_reid.create_model("psta_osnet_x1_1", 5)
