"""Folded batch norms: the same features, and a model that stays as it is."""

import copy

import pytest
import torch
from torch import nn

from st_reid import create_model
from st_reid.data.clip_spec import ClipSpec
from st_reid.features.extraction import features_of_clips, for_extraction
from st_reid.models import folding
from st_reid.models.folding import fold_batchnorm
from st_reid.runtime.compute import Compute

NORM = nn.modules.batchnorm._BatchNorm


def warmed(model):
    """Give running statistics that are not 0 and 1, and weights and biases likewise."""
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, NORM)):
        norm.running_mean.normal_(std=0.2, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, std=0.2, generator=generator)
    return model.eval()


def count(model):
    return sum(isinstance(m, NORM) for m in model.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [("psta_resnet18", 15), ("psta_osnet_x0_25", 15), ("osnet_x1_0", 1), ("pcb_p4", 1), ("mlfn", 0)],
)
def test_features_are_those_of_the_model(name, left):
    torch.manual_seed(0)
    model = warmed(create_model(name, 3, height=64, width=32))
    state = copy.deepcopy(model.state_dict())
    clips = torch.randn(2, 4, 3, 64, 32)
    folded = fold_batchnorm(model, clips[:1])
    assert (
        count(folded) == left
    )  # of vectors; and of each of PSTA's levels four, of what is no single convolution's output
    with torch.no_grad():
        torch.testing.assert_close(folded(clips), model(clips), rtol=1e-3, atol=1e-4)
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)


class Twice(nn.Module):
    """What a convolution returns is used beside its batch norm, by a second norm, or is what a second call returns."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.other = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        if self.how == "sum":
            return y + self.norm(y)
        if self.how == "norms":
            return self.norm(y) - self.other(y)
        return self.conv(self.norm(y))


@pytest.mark.parametrize("how", ["sum", "norms", "calls"])
def test_what_cannot_be_folded_is_left(how):
    model = warmed(Twice(how))
    x = torch.randn(2, 3, 8, 8)
    folded = fold_batchnorm(model, x)
    assert count(folded) == 2
    torch.testing.assert_close(folded(x), model(x))


def test_a_model_is_tried_once_and_folded_with_the_weights_it_has(monkeypatch):
    model = warmed(create_model("osnet_x0_25", 3, height=64, width=32))
    clips = torch.randn(1, 2, 3, 64, 32)
    fold_batchnorm(model, clips)
    warmed(model.apply(lambda m: nn.init.normal_(m.weight, std=0.1) if isinstance(m, nn.Conv2d) else None))
    monkeypatch.setattr(folding, "_pairs", None)
    with torch.no_grad():
        torch.testing.assert_close(fold_batchnorm(model, clips)(clips), model(clips), rtol=1e-3, atol=1e-4)


def test_shared_layers_are_folded_once():
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3))
    model = warmed(nn.Sequential(block, nn.ReLU(), block))
    x = torch.randn(2, 3, 8, 8)
    folded = fold_batchnorm(model, x)
    assert count(folded) == 0
    torch.testing.assert_close(folded(x), model(x))


def test_a_norm_without_statistics_is_left():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert count(fold_batchnorm(model, torch.randn(2, 3, 8, 8))) == 1


def test_extraction_folds_unless_the_model_is_compiled():
    model = warmed(create_model("osnet_x0_25", 3, height=64, width=32)).train()
    cpu = Compute(torch.device("cpu"), torch.float32)
    spec = ClipSpec(64, 32, 2)
    folded = for_extraction(model, spec, cpu)
    assert count(folded) < count(model)
    clips = torch.randint(256, (3, 2, 3, 64, 32), dtype=torch.uint8)
    expected = features_of_clips(model, clips, cpu)
    torch.testing.assert_close(features_of_clips(folded, clips, cpu), expected, rtol=1e-3, atol=1e-4)
    compiled = Compute(torch.device("cpu"), torch.float32, compile=True)
    assert for_extraction(model, spec, compiled) is model
    assert for_extraction(exported := object(), spec, cpu) is exported
