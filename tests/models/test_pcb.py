"""ST-ReID's PCB: shapes, the mirrored pass, parts, and its checkpoints."""

import pytest
import torch

import st_reid
from legacy_ports import convert_pcb
from st_reid.errors import UserError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return st_reid.create_model("st_reid_pcb", 5, loss="triplet", height=96, width=32, parts=3, dim=8)


def test_interface(model):
    clips = torch.randn(2, 3, 3, 96, 32)
    logits, features = model.train()(clips)
    assert [y.shape for y in logits] == [(2, 5)] * 3
    assert [f.shape for f in features] == [(2, 8)] * 3
    with torch.inference_mode():
        feature = model.eval()(clips)
        frames = torch.stack([model(clips[:, i]) for i in range(3)])
    assert feature.shape == (2, model.feature_dim) == (2, 2048 * 3)
    torch.testing.assert_close(feature, frames.mean(dim=0))
    assert not model.uses_time


def test_mirrored_images_have_one_feature_of_parts_of_unit_length(model):
    images = torch.randn(2, 3, 96, 32)
    with torch.inference_mode():
        feature, mirrored = model.eval()(images), model(images.flip(3))
    torch.testing.assert_close(feature, mirrored)
    lengths = feature.view(2, 2048, 3).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2, 3))


def test_a_part_sees_its_stripe(model):
    maps = torch.zeros(1, 2048, 6, 2)
    maps[:, :, 2:4] = 1
    backbone, model.backbone = model.backbone, torch.nn.Identity()
    try:
        parts = model.pool(maps)
    finally:
        model.backbone = backbone
    assert parts[0, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"parts": 0}, "parts is 0"), ({"dropout": 1.0}, "dropout is 1.0"), ({"stripes": 4}, "stripes")],
)
def test_errors(options, message):
    with pytest.raises(UserError, match=message):
        st_reid.create_model("st_reid_pcb", 5, **options)


def test_a_checkpoint_of_something_else():
    with pytest.raises(UserError, match=r"'head\.weight' is no key of ST-ReID's PCB"):
        convert_pcb({"module.model.conv1.weight": torch.zeros(1), "head.weight": torch.zeros(1)})
