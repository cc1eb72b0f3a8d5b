"""torchreid's models as clip models."""

import pytest
import torch

from st_reid import create_model, list_models
from st_reid.errors import UserError
from st_reid.models.frame_level import NAMES
from st_reid.torchreid_compat import model_factory

SMALL = {"height": 64, "width": 32}


def test_every_torchreid_model_is_a_clip_model():
    assert set(model_factory()) >= {"osnet_x1_0", "resnet50", "hacnn"}
    assert set(list_models()) >= set(model_factory())


def test_the_names_are_torchreids_own():
    theirs = {name for name, build in model_factory().items() if build.__module__.startswith("torchreid")}
    assert set(NAMES) == theirs
    assert len(NAMES) == len(theirs), "each once"
    others = set(model_factory()) - theirs  # which we have put there
    assert others == set(list_models()) - theirs


@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_feature_and_logits_are_means_over_frames(loss):
    model = create_model("osnet_x0_25", 5, loss=loss, **SMALL)
    clips = torch.randn(2, 3, 3, 64, 32)
    frames = [clips[:, t] for t in range(3)]
    model.eval()
    with torch.inference_mode():
        expected = torch.stack([model.model(frame) for frame in frames]).mean(0)
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-5)
        assert model(clips).shape == (2, model.feature_dim)
        torch.testing.assert_close(model(clips[:, :1]), model(clips[:, 0]), rtol=1e-4, atol=1e-5)
    output = model.train()(clips)
    logits = output if loss == "softmax" else output[0]
    assert logits.shape == (2, 5)
    assert loss == "softmax" or output[1].shape == (2, model.feature_dim)


def test_a_model_that_returns_lists():
    model = create_model("pcb_p4", 5, **SMALL)
    assert [tuple(logits.shape) for logits in model(torch.randn(2, 2, 3, 64, 32))] == [(2, 5)] * 4
    assert model.feature_dim == model.eval()(torch.randn(1, 2, 3, 64, 32)).shape[1]


@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_pcb_in_channels_last(loss):
    model = create_model("pcb_p4", 5, loss=loss, **SMALL).eval()
    clips = torch.randn(2, 2, 3, 64, 32)
    with torch.no_grad():
        expected = model(clips)
        torch.testing.assert_close(model.to(memory_format=torch.channels_last)(clips), expected, rtol=1e-4, atol=1e-5)
    model.train()(clips)


@pytest.mark.parametrize("train", [True, False])
def test_hacnn_makes_its_tensors_where_its_images_are(train):
    torch.manual_seed(0)
    ours = create_model("hacnn", 5, height=160, width=64).train(train)
    theirs = model_factory()["hacnn"](num_classes=5, pretrained=False, use_gpu=False).train(train)
    theirs.load_state_dict(ours.model.state_dict())
    images = torch.randn(2, 3, 160, 64)
    torch.testing.assert_close(ours.model(images), theirs(images), rtol=0, atol=0)
    on_meta = ours.to("meta")(images.to("meta"))
    assert (on_meta[0] if train else on_meta).is_meta


def test_an_input_size_that_a_model_cannot_take():
    with pytest.raises(UserError, match="hacnn cannot take frames of 128 x 128"):
        create_model("hacnn", 5, height=128, width=128)


def test_pretrained_backbone_from_a_file(tmp_path):
    theirs = model_factory()["osnet_x0_25"](num_classes=3, pretrained=False)
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "weights.pth")
    ours = create_model("osnet_x0_25", 7, pretrained=str(tmp_path / "weights.pth"), **SMALL)
    torch.testing.assert_close(ours.model.conv1.conv.weight, theirs.conv1.conv.weight)
    assert ours.model.classifier.weight.shape[0] == 7


def test_weights_that_cannot_be_had(tmp_path):
    with pytest.raises(UserError, match=r"missing\.pth"):
        create_model("osnet_x0_25", 7, pretrained=tmp_path / "missing.pth", **SMALL)
    with pytest.raises(UserError, match="hacnn: torchreid has no ImageNet weights of it"):
        create_model("hacnn", 7, pretrained=True, height=160, width=64)


def test_wrong_rank():
    with pytest.raises(ValueError, match="expected"):
        create_model("osnet_x0_25", 2, **SMALL)(torch.zeros(3, 64, 32))
