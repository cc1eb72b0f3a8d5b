"""Weights as other programs wrap and name them load the same."""

import pytest
import torch

from st_reid import create_model, export
from st_reid.errors import UserError
from st_reid.models.checkpoints import load_state_dict
from st_reid.models.layers.backbone import build_backbone
from st_reid.models.loading import load_for_evaluation
from st_reid.torchreid_compat import submodule

WRAPPED = {
    "bare": lambda weights: weights,
    "torchreid": lambda weights: {"state_dict": weights, "epoch": 3, "rank1": 0.5},
    "compiled": lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
    "compiled and parallel": lambda weights: {f"module._orig_mod.{k}": v for k, v in weights.items()},
    "parallel and compiled": lambda weights: {f"_orig_mod.module.{k}": v for k, v in weights.items()},
    "net_dict": lambda weights: {"net_dict": weights},
    "model_state_dict": lambda weights: {"model_state_dict": weights, "optimizer_state_dict": {"state": {}}},
    "fast-reid": lambda weights: {"model": weights, "iteration": 7},
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("osnet_x0_25", 5, height=64, width=32)


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_weights_are_those_inside(how, model, tmp_path):
    own = model.model.state_dict()
    torch.save(WRAPPED[how](own), tmp_path / "w.pth")
    found = load_state_dict(tmp_path / "w.pth")
    assert found.keys() == own.keys()
    loaded = load_for_evaluation(str(tmp_path / "w.pth"), "osnet_x0_25", height=64, width=32).model
    clips = torch.randn(2, 3, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(clips), model.eval()(clips))


def test_a_backbone_in_a_whole_model(tmp_path):
    """fast-reid has ``backbone.`` before the names, ``heads.`` behind it, and the pixels' mean."""
    source = build_backbone("resnet18")
    weights = {f"backbone.{k}": v for k, v in source.state_dict().items()}
    weights |= {"heads.bottleneck.0.weight": torch.ones(4), "pixel_mean": torch.zeros(1, 3, 1, 1)}
    torch.save({"model": weights}, tmp_path / "fastreid.pth")
    loaded = build_backbone("resnet18", pretrained=tmp_path / "fastreid.pth")
    for (name, expected), found in zip(source.state_dict().items(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_what_holds_no_weights(tmp_path):
    torch.save({"model": {"epoch": 3}, "optimizer": {}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="is no state dict"):
        load_state_dict(tmp_path / "x.pth")


def test_weights_for_torchreid_load_there(tmp_path, model, capsys):
    """What training writes has our names, of which torchreid loaded nothing, with a warning only."""
    made_of = {"name": "osnet_x0_25", "num_classes": 5, "height": 64, "width": 32, "seq_len": 4}
    torch.save({"state_dict": model.state_dict(), "model": made_of}, tmp_path / "best.pth")
    output = tmp_path / "out" / "t.pth"
    argv = ["--weights", str(tmp_path / "best.pth"), "--output", str(output), "--format", "torchreid"]
    export.main(argv)
    theirs = submodule("models").build_model("osnet_x0_25", 5, pretrained=False)
    submodule("utils").load_pretrained_weights(theirs, str(output))
    assert "cannot be loaded" not in capsys.readouterr().out
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(images), model.eval()(images))
    with pytest.raises(UserError, match="exists; pass another"):
        export.main(argv)


def test_what_is_not_torchreids_is_not_exported_to_it(tmp_path):
    psta = create_model("psta_osnet_x0_25", 5, dim=8, levels=1)
    torch.save(psta.state_dict(), tmp_path / "w.pth")
    argv = ["--arch", "psta_osnet_x0_25", "--options", "{dim: 8, levels: 1}", "--weights", str(tmp_path / "w.pth")]
    with pytest.raises(UserError, match="is no model of torchreid's"):
        export.main([*argv, "--output", str(tmp_path / "t.pth"), "--format", "torchreid"])
    with pytest.raises(UserError, match=r"are a \.pth file"):
        export.main([*argv, "--output", str(tmp_path / "t.onnx"), "--format", "torchreid"])
