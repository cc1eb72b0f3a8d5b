"""Every family of temporal models, by being registered: how it begins, what it uses of a clip, and what it can take."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from processes import start_several
from runtime.test_distributed import finish
from small_models import trained
from torch import nn
from torch.nn import functional as F

import st_reid
from st_reid.models.folding import fold_batchnorm
from st_reid.models.layers.backbone import BACKBONES, build_backbone, has_stages
from st_reid.runtime.compute import Compute

BACKBONE = "osnet_x0_25"
FAMILIES = sorted(name.removesuffix(f"_{BACKBONE}") for name in st_reid.list_models(f"*_{BACKBONE}"))
SETS = {"mean", "max", "attention", "nonlocal", "sanet"}
"""What takes the frames of a clip in any order."""
NOT_AS_MEAN = {"max", "tsm", "sbm", "psta"}
"""What does not begin as the mean, as published."""
SIZE = {"num_classes": 5, "dim": 32, "height": 64, "width": 32, "loss": "triplet"}


@cache
def _built(family, backbone):
    torch.manual_seed(0)
    return st_reid.create_model(f"{family}_{backbone}", **SIZE)


def build(family, backbone=BACKBONE):
    return copy.deepcopy(_built(family, backbone))


def clips(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss_of(output):
    logits, features = output
    return sum(y.square().sum() for y in logits) + sum((f**3).sum() for f in features)


def test_the_zoo():
    expected = SETS | NOT_AS_MEAN | {"gru", "transformer", "motion", "p3d", "ap3d", "snippet"}
    assert set(FAMILIES) == expected
    for family in FAMILIES:
        on_all = family in {"mean", "max", "attention", "gru", "transformer", "motion", "psta"}
        backbones = {name for name in BACKBONES.names() if on_all or has_stages(name)}
        assert set(st_reid.list_models(f"{family}_*")) == {f"{family}_{name}" for name in backbones}


@pytest.mark.parametrize("backbone", [BACKBONE, "mobilenet_v2"])  # rectified maps, and signed ones
@pytest.mark.parametrize("family", sorted({*FAMILIES} - NOT_AS_MEAN))
def test_it_begins_exactly_as_the_mean(family, backbone):
    mean = trained(build("mean", backbone))
    model = build(family, backbone)
    new, unknown = model.load_state_dict(mean.state_dict(), strict=False)  # a trained mean is a start for all of them
    assert unknown == []
    assert all(".temporal." in name or name.startswith("head.") for name in new)
    with torch.no_grad():
        for frames in (1, 3):
            x = clips(2, frames, 3, 64, 32)
            rounding = 1e-6 if family == "attention" else 0  # its weights are thirds
            torch.testing.assert_close(model.eval()(x), mean(x), rtol=rounding, atol=rounding)


def test_psta_with_a_way_past_its_levels_begins_as_the_mean():
    mean = trained(build("mean"))
    model = st_reid.create_model(f"psta_{BACKBONE}", **SIZE, residual=True)
    state = mean.state_dict()
    state |= {key.replace(".0.", ".2.", 1): value for key, value in state.items() if key.startswith("head.necks.0.")}
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        for frames in (1, 8):
            x = clips(2, frames, 3, 64, 32)
            torch.testing.assert_close(model.eval()(x), mean(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_order_matters_or_not_by_construction(family):
    model = trained(build(family)).double()
    x = clips(2, 8, 3, 32, 16).double()
    with torch.no_grad():
        feature = model(x)
        orders = [1, 3, 0, 2, 7, 5, 4, 6], [2, 0, 7, 4, 6, 3, 1, 5]
        changes = [(model(x[:, order]) - feature).abs().max() for order in orders]
    if family in SETS:
        assert max(changes) < 1e-12
    else:
        assert min(changes) > 1e-9


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_in_every_parameter(family, frames):
    model = trained(build(family)).train()
    loss_of(model(clips(4, frames, 3, 64, 32))).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name  # DistributedDataParallel stops at one
            assert parameter.grad.isfinite().all(), name
            if frames > 1 and (".temporal." in name or name.startswith("head.")):  # one frame has no neighbours
                assert parameter.grad.any(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_any_length_and_any_size(family):
    model = trained(build(family))
    with torch.no_grad():
        for frames, height, width in ((1, 64, 32), (2, 48, 40), (5, 32, 16), (9, 37, 21)):
            feature = model(clips(2, frames, 3, height, width))
            assert feature.shape == (2, model.feature_dim)
            assert feature.isfinite().all()
        x = clips(2, 3, 64, 32)
        torch.testing.assert_close(model(x), model(x[:, None]))
        x = clips(3, 4, 3, 64, 32)
        torch.testing.assert_close(model(x)[1], model(x[1:2])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16(family):
    model = trained(build(family)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(clips(2, 4, 3, 64, 32))
    loss_of(tuple([x.float() for x in part] for part in output)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_continues_from_saved_weights(family, tmp_path):
    def step(model, optimizer, seed):
        optimizer.zero_grad()
        loss_of(model(clips(2, 2, 3, 32, 16, seed=seed))).backward()
        optimizer.step()

    def start():
        model = build(family).train()
        return model, torch.optim.Adam(model.parameters(), lr=1e-3)

    model, optimizer = start()
    step(model, optimizer, 1)
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / "saved.pth")
    step(model, optimizer, 2)
    other, other_optimizer = start()
    saved = torch.load(tmp_path / "saved.pth", weights_only=True)
    other.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    step(other, other_optimizer, 2)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["p3d", "ap3d"])
def test_batch_norm_is_not_folded_past_what_follows_the_convolution(family):
    model = build(family, "resnet18").eval()
    x = clips(2, 3, 3, 32, 16)
    with torch.no_grad():
        fold_batchnorm(model, x)  # what can be folded is found while the layer still does nothing
        trained(model)
        torch.testing.assert_close(fold_batchnorm(model, x)(x), model(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "osnet_x0_25", "osnet_ain_x0_25", "shufflenet_v2_x0_5"])
def test_stages(name):
    check_stages(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(filter(has_stages, BACKBONES.names())))
def test_stages_of_all(name):
    check_stages(name)
    for family in ("nonlocal", "p3d", "tsm", "sbm"):
        model = build(family, name).eval()
        with torch.no_grad():
            assert model(clips(2, 2, 3, 64, 32)).isfinite().all()


def check_stages(name):
    """Every block is called, and gives maps of its stage's stride."""
    backbone = build_backbone(name, last_stride=2).eval()
    sizes = {}
    for stage in backbone.stages:
        for block in stage:
            backbone.get_submodule(block).register_forward_hook(
                lambda module, inputs, output, block=block: sizes.update({block: output.shape[2]})
            )
    with torch.no_grad():
        backbone(torch.zeros(1, 3, 128, 64))
    assert len(backbone.stages) == (3 if name.startswith("osnet") else 4)
    for number, stage in enumerate(backbone.stages):
        for block in stage:
            assert sizes[block] == pytest.approx(128 / 2 ** (2 + number), abs=1), block


def test_a_tsm_is_the_shift_of_the_paper():
    layer = build("tsm").backbone.get_submodule("net.conv3.0.conv1").temporal
    x = clips(2, 5, 64, 3, 2)
    expected = x.clone()
    for t in range(5):
        expected[:, t, :8] = x[:, t + 1, :8] if t + 1 < 5 else 0
        expected[:, t, 8:16] = x[:, t - 1, 8:16] if t > 0 else 0
    torch.testing.assert_close(layer(x), expected)


def test_a_snippet_is_the_maximum_over_neighbours():
    layer = build("snippet").backbone.get_submodule("net.conv3.1").temporal
    trained(layer)
    x = clips(2, 5, 96, 3, 2)
    for t in range(5):
        strongest = torch.stack([x[:, s] for s in range(5) if abs(s - t) <= 1]).amax(dim=0)
        torch.testing.assert_close(layer(x)[:, t], x[:, t] + layer.out(strongest), rtol=1e-4, atol=1e-5)


def test_motion_is_the_deviation_over_time():
    head = trained(build("motion").head).double()
    x = clips(2, 5, 32).double()
    kernel = head.temporal.weight[:, 0]  # (D, 3)
    responses = torch.zeros_like(x)
    for t in range(5):
        for k in range(3):
            responses[:, t] += kernel[:, k] * x[:, min(max(t + k - 1, 0), 4)]
    deviation = (responses.var(dim=1, correction=0) + 1e-6).sqrt() - 1e-3
    torch.testing.assert_close(head.unite(x), x.mean(dim=1) + head.project(deviation))
    torch.testing.assert_close(head.unite(x[:, :1]), x[:, 0], rtol=0, atol=0)  # one frame does not move


def test_attention_is_a_weighted_mean():
    head = trained(build("attention").head)
    x = clips(2, 5, 32)
    scores = (x @ head.score.weight[0]).exp()
    torch.testing.assert_close(head.unite(x), (scores[..., None] * x).sum(1) / scores.sum(1, keepdim=True))


def test_the_transformer_is_pytorchs_layer():
    head = trained(build("transformer").head)
    x = clips(2, 5, 32)
    reference = nn.MultiheadAttention(256, 4, bias=False, batch_first=True)
    nn.init.eye_(reference.out_proj.weight)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.eye(256).repeat(3, 1))
    number, channel = torch.arange(5.0)[:, None], torch.arange(32)
    angle = number / 10_000 ** (channel // 2 * 2 / 32)
    positions = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    query, key, value = head.query_key_value(head.norms[0](x + positions)).chunk(3, dim=2)
    y = x + head.project(reference(query, key, value)[0])
    torch.testing.assert_close(head.unite(x), (y + head.mlp(head.norms[1](y))).mean(dim=1), rtol=1e-4, atol=1e-4)


def test_the_gru_is_beside_the_mean():
    head = trained(build("gru").head)
    cell = nn.GRUCell(32, 256)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in head.gru.state_dict().items()})
    x = clips(2, 5, 32)
    state, states = torch.zeros(2, 256), []
    for t in range(5):
        state = cell(x[:, t], state)
        states.append(state)
    expected = x.mean(dim=1) + head.project(torch.stack(states).mean(dim=0))
    torch.testing.assert_close(head.unite(x), expected, rtol=1e-4, atol=1e-4)


def _two_steps(output):
    world = Compute.choose("cpu", "float32").world
    found = {}
    for family in FAMILIES:
        model = trained(build(family)).train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # whose statistics would be those of a half of the batch
        forward = nn.parallel.DistributedDataParallel(model) if world.size > 1 else model
        for seed in (1, 2):
            model.zero_grad()
            x = clips(2, 3, 3, 32, 16, seed=seed)[world.rank :: world.size]
            (loss_of(forward(x)) / len(x)).backward()
        found[family] = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    torch.save(found, f"{output}.{world.rank}")


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    _two_steps(tmp_path / "one")
    codes, logs = finish(start_several(_two_steps, tmp_path / "two", log=tmp_path / "log"), tmp_path / "log")
    assert codes == [0, 0], logs
    one, two = (torch.load(f"{tmp_path / name}.0", weights_only=True) for name in ("one", "two"))
    for family in FAMILIES:
        assert F.cosine_similarity(one[family], two[family], dim=0) > 0.9999, family
