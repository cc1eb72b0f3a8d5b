"""Models of a backbone and a head: what they share, and what each does with the frames of a clip."""

from __future__ import annotations

import pytest
import torch
from small_models import trained
from torch import nn

from st_reid import create_model
from st_reid.errors import UserError
from st_reid.models.layers.frames import per_frame

SMALL = {"num_classes": 5, "dim": 32, "height": 64, "width": 32, "loss": "triplet"}
BACKBONE = "osnet_x0_25"


def test_mean_is_the_neck_of_the_mean_and_the_mean_of_single_frames():
    model = trained(create_model(f"mean_{BACKBONE}", **SMALL))
    clips = torch.randn(2, 3, 3, 64, 32)
    with torch.no_grad():
        maps = per_frame(model.head.reduce, per_frame(model.backbone, clips))
        expected = torch.stack([model.head.necks[0](clip.mean(dim=(0, 2, 3))[None])[0] for clip in maps])
        torch.testing.assert_close(model(clips), expected)
        singles = torch.stack([model(clip).mean(dim=0) for clip in clips])
        torch.testing.assert_close(model(clips), singles, rtol=1e-4, atol=1e-5)
    assert not model.uses_time


def test_max_is_the_maximum_over_frames():
    model = trained(create_model(f"max_{BACKBONE}", **SMALL))
    clips = torch.randn(2, 3, 3, 64, 32)
    with torch.no_grad():
        vectors = per_frame(model.head.reduce, per_frame(model.backbone, clips)).mean(dim=(3, 4))
        torch.testing.assert_close(model(clips), model.head.necks[0](vectors.max(dim=1).values))
    assert model.uses_time


def test_the_fair_baseline_differs_from_psta_in_the_pyramid_alone():
    torch.manual_seed(0)
    mean = create_model(f"mean_{BACKBONE}", **SMALL)
    torch.manual_seed(0)
    psta = create_model(f"psta_{BACKBONE}", **SMALL, levels=1)
    shared, more = mean.state_dict(), psta.state_dict()
    assert {key for key in more if key not in shared} == {key for key in more if key.startswith("head.stages.")}
    assert all(more[key].shape == value.shape for key, value in shared.items())
    for key in ("backbone.net.conv1.conv.weight", "head.reduce.0.weight", "head.classifiers.0.bias"):
        torch.testing.assert_close(more[key], shared[key])
    frozen = [name for name, p in mean.named_parameters() if not p.requires_grad]
    assert frozen == ["head.necks.0.bias"]


def test_the_last_stride_is_an_option():
    sizes = [create_model("mean_mobilenet_v2", **SMALL, last_stride=s).backbone for s in (1, 2)]
    images = torch.zeros(1, 3, 64, 32)
    with torch.no_grad():
        assert [tuple(b.eval()(images).shape[2:]) for b in sizes] == [(4, 2), (2, 1)]
    with pytest.raises(UserError, match="last_stride is 3; expected 1 or 2"):
        create_model("mean_mobilenet_v2", **SMALL, last_stride=3)


def test_wrong_options():
    with pytest.raises(UserError, match="dim is 0; expected at least 1"):
        create_model(f"mean_{BACKBONE}", 5, dim=0)
    with pytest.raises(UserError, match="unknown option of model 'mean_osnet_x0_25' 'head'"):
        create_model(f"mean_{BACKBONE}", 5, head=nn.Identity())
