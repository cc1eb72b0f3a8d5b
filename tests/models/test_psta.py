"""PSTA: its interface, its initialisation, any clip length and any input size."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from st_reid import create_model
from st_reid.errors import UserError
from st_reid.models.layers.frames import per_frame, repeat_frames
from st_reid.models.psta import PSTAHead

SMALL = "psta_osnet_x0_25"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model(SMALL, 5, loss="triplet", dim=64)


def test_size_of_the_published_model():
    model = create_model("psta", 150)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(33.96e6, rel=2e-4)
    assert model.feature_dim == 1024
    assert model.uses_time


@pytest.mark.parametrize("T", [1, 2, 3, 4, 7, 8, 9, 16])
def test_any_clip_length(model, T):
    x = torch.randn(2, T, 3, 64, 32)
    with torch.no_grad():
        feature = model.eval()(x)
        logits, features = copy.deepcopy(model).train()(x)
    assert feature.shape == (2, 64)
    assert [y.shape for y in logits] == [(2, 5)] * 3
    assert [f.shape for f in features] == [(2, 64)] * 3


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (160, 60), (384, 192)])
def test_any_input_size(model, size):
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 2, 3, *size)).isfinite().all()


def test_images_are_clips_of_one_frame(model):
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), model(x[:, None]))


def test_frames_are_repeated_to_the_next_multiple():
    def indices(frames, multiple=8):
        return repeat_frames(torch.arange(frames)[None], multiple)[0].tolist()

    assert indices(1) == [0] * 8
    assert indices(3) == [0, 0, 0, 1, 1, 1, 2, 2]
    assert indices(5) == [0, 0, 1, 1, 2, 3, 3, 4]
    assert indices(8) == list(range(8))
    assert indices(9) == [math.floor(i * 9 / 16) for i in range(16)]
    assert indices(3, multiple=2) == [0, 0, 1, 2]


def test_short_clip_equals_the_clip_with_its_frames_repeated(model):
    x = torch.randn(2, 3, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), model(x[:, [0, 0, 0, 1, 1, 1, 2, 2]]))


def test_a_single_frame_is_not_copied_and_has_the_features_of_its_copies(model):
    seen = []
    hook = model.head.stages[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    x = torch.randn(2, 1, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), model(x.expand(-1, 8, -1, -1, -1)), rtol=1e-5, atol=1e-6)
        model.train()(x)
    hook.remove()
    assert seen == [1, 8, 8]  # a training step has as many momentum updates as ever


def test_order_and_motion_of_frames_matter(model):
    x = torch.randn(1, 8, 3, 64, 32)
    with torch.no_grad():
        feature, shuffled = model.eval()(x), model(x[:, [0, 2, 1, 3, 4, 5, 6, 7]])
    assert not torch.allclose(feature, shuffled, rtol=1e-3)


def test_clips_of_a_batch_do_not_mix_in_evaluation(model):
    x = torch.randn(3, 8, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x)[1], model(x[1:2])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 64, 32), (2, 8, 1, 64, 32), (2, 0, 3, 64, 32), (1, 2, 8, 3, 64, 32)])
def test_wrong_inputs(model, shape):
    with pytest.raises(ValueError, match=r"input is \(.*\); expected \(B, T, 3, H, W\) or \(B, 3, H, W\)"):
        model(torch.zeros(shape))


def test_losses_choose_what_training_returns():
    x = torch.randn(2, 2, 3, 64, 32)
    logits = create_model(SMALL, 5, dim=32)(x)
    assert [y.shape for y in logits] == [(2, 5)] * 3

    torch.manual_seed(0)
    after = create_model(SMALL, 5, loss="triplet", dim=32)
    before = copy.deepcopy(after)
    before.triplet_before_neck = True
    _, features = after(x)
    _, means = before(x)
    for mean, feature, neck in zip(means, features, after.head.necks, strict=True):
        torch.testing.assert_close(nn.functional.batch_norm(mean, None, None, neck.weight, neck.bias, True), feature)
        assert not torch.allclose(mean, feature)


def test_levels():
    model = create_model(SMALL, 5, dim=32, levels=2)
    assert len(model(torch.randn(2, 4, 3, 64, 32))) == 2
    assert model.eval()(torch.randn(2, 5, 3, 64, 32)).shape == (2, 32)


def pyramid(head, maps):
    return head.pyramid(per_frame(head.reduce, maps))


@pytest.mark.parametrize(("frames", "levels"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 3), (15, 3), (16, 4)])
def test_automatic_levels_halve_the_clip_to_one_frame(frames, levels):
    model = create_model(SMALL, 5, dim=32, levels="auto", seq_len=frames)
    assert len(model.head.stages) == levels


def test_levels_that_are_none():
    for wrong in (0, -1, "many", "3"):
        with pytest.raises(UserError, match=f"levels is {wrong!r}; expected a number of at least 1, or 'auto'"):
            create_model(SMALL, 5, levels=wrong)
    with pytest.raises(UserError, match=r"option 'levels' of model .* is 1\.5; expected int or str"):
        create_model(SMALL, 5, levels=1.5)


def test_a_way_past_the_levels():
    torch.manual_seed(0)
    published = create_model(SMALL, 5, dim=32)
    torch.manual_seed(0)
    model = create_model(SMALL, 5, dim=32, residual=True)
    assert model.state_dict().keys() == published.state_dict().keys()
    assert not model.head.stages[0].out[-2].weight.any()
    assert published.head.stages[0].out[-2].weight.all()


def test_level_features_are_running_means():
    head = PSTAHead(6, 4, dim=8, grid=(2, 2))
    maps = torch.randn(2, 8, 6, 2, 2)
    f = [level.mean(dim=(1, 3, 4)) for level in pyramid(copy.deepcopy(head), maps)]
    means = head(maps)[2]
    for got, expected in zip(means, [f[0], (f[0] + f[1]) / 2, (f[0] + f[1] + f[2]) / 3], strict=True):
        torch.testing.assert_close(got, expected)


def test_every_parameter_but_the_neck_biases_trains(model):
    model = copy.deepcopy(model).train()
    logits, features = model(torch.randn(4, 8, 3, 64, 32))
    sum(y.logsumexp(1).sum() for y in logits).add(sum((f**3).sum() for f in features)).backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None]
    assert idle == [f"head.necks.{k}.bias" for k in range(3)]


def test_initialisation():
    torch.manual_seed(0)
    head = PSTAHead(512, 400)
    stage = head.stages[1]
    expected = {
        stage.embed[0].weight: (2 / 1024) ** 0.5,  # convolutions: fan in
        stage.out[3].weight: (2 / (9 * 256)) ** 0.5,
        stage.tra.theta.weight: (2 / 1024) ** 0.5,
        stage.tra.relation.project.weight: (2 / 256) ** 0.5,
        stage.tra.rho[0].weight: (2 / 128) ** 0.5,  # linear: fan out
        stage.sra.rho[2].weight: (2 / 1024) ** 0.5,
        head.classifiers[2].weight: 0.001,
        head.reduce[0].weight: (1 / (3 * 512)) ** 0.5,  # PyTorch's default, uniform
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    for linear in (stage.tra.rho[0], stage.sra.rho[2], head.classifiers[0]):
        assert not linear.bias.any()
    assert all(m.weight.eq(1).all() and not m.bias.any() for m in head.modules() if hasattr(m, "running_var"))


def test_options_reach_the_backbone():
    model = create_model("psta_resnet18", 5, dim=32, zero_init_residual=True)
    assert not model.backbone.layer1[0].bn2.weight.any()
    with pytest.raises(UserError, match="zero_init_residual means nothing"):
        create_model(SMALL, 5, zero_init_residual=True)


def test_wrong_options():
    with pytest.raises(UserError, match="unknown option of model 'psta' 'dimm'; did you mean 'dim'"):
        create_model("psta", 5, dimm=3)
    with pytest.raises(UserError, match="unknown option of model 'psta' 'backbone'"):
        create_model("psta", 5, backbone="resnet18")
    with pytest.raises(UserError, match="dim is 0"):
        create_model("psta", 5, dim=0)
    with pytest.raises(UserError, match="unknown loss 'tripplet'; did you mean 'triplet'"):
        create_model("psta", 5, loss="tripplet")


def test_pretrained_path(tmp_path, model):
    torch.save({f"module.{k}": v for k, v in model.backbone.net.state_dict().items()}, tmp_path / "w.pth")
    other = create_model(SMALL, 9, pretrained=str(tmp_path / "w.pth"), dim=32)
    torch.testing.assert_close(other.backbone.state_dict(), model.backbone.state_dict())


def test_bfloat16_autocast(model):
    model = copy.deepcopy(model).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, features = model(torch.randn(2, 8, 3, 64, 32))
    sum(y.float().sum() for y in (*logits, *features)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
