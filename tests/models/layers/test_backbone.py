"""Every backbone yields maps and keeps nothing else; weights are loaded whole or refused in one line."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
import torchvision

from st_reid import torchreid_compat
from st_reid.errors import UserError
from st_reid.models.layers.backbone import BACKBONES, MOBILENETS, RESNETS, TORCHREID, build_backbone

HEAVY = {"resnet101", "resnet152", "resnext101_32x8d", "se_resnet101", "se_resnext101_32x4d", "mudeep", "xception"}
LIGHT = sorted(set(BACKBONES.names()) - HEAVY)


def test_names():
    assert set(BACKBONES.names()) == {*RESNETS, *MOBILENETS, *TORCHREID}
    assert set(TORCHREID) <= set(torchreid_compat.model_factory())


def check_maps_and_gradients(name):
    backbone = build_backbone(name)
    maps = backbone(torch.randn(2, 3, 64, 32))
    assert maps.shape[:2] == (2, backbone.channels)
    assert maps.ndim == 4
    maps.square().sum().backward()
    # DistributedDataParallel stops at a parameter without gradient.
    assert [key for key, p in backbone.named_parameters() if p.grad is None] == []
    assert not [key for key in backbone.state_dict() if "classifier" in key]


@pytest.mark.parametrize("name", LIGHT)
def test_backbone_yields_maps_and_trains_every_parameter(name):
    check_maps_and_gradients(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HEAVY))
def test_heavy_backbone_yields_maps_and_trains_every_parameter(name):
    check_maps_and_gradients(name)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", 512), ("resnet50", 2048), ("mobilenet_v2", 1280), ("osnet_x0_25", 128)],
)
def test_256_x_128_gives_16_x_8(name, channels):
    backbone = build_backbone(name).eval()
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, 256, 128)).shape == (1, channels, 16, 8)
    assert backbone.channels == channels


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "resnet50_ibn_a", "se_resnet50"])
def test_last_stride(name):
    with torch.inference_mode():
        sizes = [build_backbone(name, last_stride=s).eval()(torch.zeros(1, 3, 64, 32)).shape[2:] for s in (1, 2)]
    assert sizes == [(4, 2), (2, 1)]
    with pytest.raises(UserError, match="last_stride is 3; expected 1 or 2"):
        build_backbone(name, last_stride=3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions(name):
    reference = torchvision.models.get_model(name)
    backbone = build_backbone(name, last_stride=2)
    backbone.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}, strict=True)
    x = torch.randn(2, 3, 64, 32)
    reference.avgpool, reference.fc = torch.nn.Identity(), torch.nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(backbone.eval()(x).flatten(1), reference.eval()(x))


def test_mobilenet_is_torchvisions():
    reference = torchvision.models.mobilenet_v2().eval()
    backbone = build_backbone("mobilenet_v2", last_stride=2).eval()
    backbone.load_state_dict({k: v for k, v in reference.state_dict().items() if "classifier" not in k}, strict=True)
    x = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x), reference.features(x))


def test_zero_init_residual():
    for name, norm in (("resnet18", "bn2"), ("resnet50", "bn3")):
        state = build_backbone(name, zero_init_residual=True).state_dict()
        last = [value for key, value in state.items() if key.startswith("layer") and key.endswith(f"{norm}.weight")]
        assert last
        assert not any(value.any() for value in last)
        for chosen, zero in ((None, True), (False, False)):  # from random weights it is the default
            weight = build_backbone(name, zero_init_residual=chosen).state_dict()[f"layer1.0.{norm}.weight"]
            assert bool(weight.any()) != zero
    for name in ("osnet_x0_25", "mobilenet_v2"):
        with pytest.raises(UserError, match=f"zero_init_residual means nothing to the backbone '{name}'.*resnet50"):
            build_backbone(name, zero_init_residual=True)


def test_unknown_backbone_gets_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown backbone 'resnet51'; did you mean .*'resnet50'"):
        build_backbone("resnet51")


def torchreid_model(name="osnet_x0_25", classes=3):
    build = torchreid_compat.model_factory()[name]
    return build(num_classes=classes, loss="softmax", pretrained=False, use_gpu=False)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_checkpoint_of_torchreid(tmp_path, wrap):
    model = torchreid_model().eval()
    torch.save(wrap(model.state_dict()), tmp_path / "weights.pth")
    backbone = build_backbone("osnet_x0_25", pretrained=str(tmp_path / "weights.pth")).eval()
    x = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(x), model.featuremaps(x))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_checkpoint_of_torchvision(name, tmp_path, caplog):
    reference = torchvision.models.get_model(name)
    path = str(tmp_path / "weights.pth")
    torch.save(reference.state_dict(), path)
    with caplog.at_level("INFO"):
        backbone = build_backbone(name, pretrained=path)
    state = backbone.state_dict()
    torch.testing.assert_close(state, {key: reference.state_dict()[key] for key in state})
    assert f"{path}: {len(state)} entries loaded into the backbone {name}, 2 left out" in caplog.text


def test_checkpoint_of_another_network(tmp_path):
    path = str(tmp_path / "weights.pth")
    torch.save(torchreid_model().state_dict(), path)
    with pytest.raises(UserError, match=r"none of its 567 entries belongs.*'conv1\.conv\.weight'.*'conv1\.weight'"):
        build_backbone("resnet18", pretrained=path)
    with pytest.raises(UserError, match=r"\d+ of another shape \('.*' is \(.*\), expected \(.*\)\)"):
        build_backbone("osnet_x0_5", pretrained=path)
    state = torchreid_model().state_dict()
    del state["conv5.conv.weight"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"1 missing \(conv5\.conv\.weight\)"):
        build_backbone("osnet_x0_25", pretrained=path)
    with pytest.raises(UserError, match="does not exist"):
        build_backbone("resnet18", pretrained=str(tmp_path / "absent.pth"))


def offline(*args, **kwargs):
    raise URLError("no network here")


def test_download_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("gdown.download", offline)
    for name in ("resnet18", "mobilenet_v2", "osnet_x0_25", "resnet50_ibn_a"):
        with pytest.raises(UserError, match=f"^{name}: the download .* failed: .*; pass pretrained=False, or the path"):
            build_backbone(name, pretrained=True)


@pytest.mark.parametrize("name", ["mobilenetv2_x1_0", "shufflenet_v2_x1_5"])
def test_download_that_torchreid_does_not_have(name):
    # torchreid goes on with random weights and a warning.
    with pytest.raises(UserError, match=f"^{name}: .*pretrained weights.*; pass pretrained=False"):
        build_backbone(name, pretrained=True)


def test_download_of_torchreid_is_silent_and_loaded(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = torchreid_model(classes=1000)
    monkeypatch.setattr("gdown.download", lambda url, path, **_: torch.save(model.state_dict(), path))
    backbone = build_backbone("osnet_x0_25", pretrained=True)
    torch.testing.assert_close(backbone.net.conv1.conv.weight, model.conv1.conv.weight)
    assert capfd.readouterr() == ("", "")
