"""What is registered after ``import st_reid`` is known to torchreid; maps and batches are as its tools want them."""

import pytest
import torch
from torch import nn

import st_reid
from st_reid.data.datasets.base import DATASETS
from st_reid.data.tracklet import Dataset
from st_reid.models.base import MODELS, ClipModel
from st_reid.torchreid_compat import model_factory, submodule


class OneNumber(ClipModel):
    feature_dim = 1

    def __init__(self, num_classes):
        super().__init__()
        self.classifier = nn.Linear(1, num_classes)

    def forward_clips(self, clips):
        feature = clips.mean(dim=(1, 2, 3, 4))[:, None]
        return self.classifier(feature) if self.training else feature


@pytest.fixture(autouse=True)
def torchreid():
    return pytest.importorskip("torchreid")


def test_a_model_registered_later(monkeypatch):
    monkeypatch.setattr(MODELS, "_builders", dict(MODELS._builders))
    monkeypatch.setitem(model_factory(), "mine", None)
    del model_factory()["mine"]
    MODELS.add("mine", lambda num_classes: OneNumber(num_classes))
    model = submodule("models").build_model("mine", 4, pretrained=False)
    assert model.takes_clips
    assert model(torch.zeros(2, 3, 3, 8, 8)).shape == (2, 4)
    assert "mine" in st_reid.list_models()


def test_a_dataset_registered_later(monkeypatch):
    monkeypatch.setattr(DATASETS, "_builders", dict(DATASETS._builders))
    taken = getattr(submodule("data.datasets"), "__video_datasets")
    before = dict(taken)
    DATASETS.add("mine", lambda root: Dataset("mine"))
    assert "mine" in taken
    taken.clear()
    taken.update(before)


def test_activation_maps_as_torchreids_tool_asks_for_them():
    model = st_reid.create_model("psta_osnet_x0_25", 3, dim=16, levels=1).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        maps = model(images, return_featuremaps=True)
        assert maps.shape == (2, 128, 4, 2)
        clips = torch.stack([images, images.flip(3)], dim=1)
        torch.testing.assert_close(model(clips, return_featuremaps=True)[:, 0], maps)
        frame_level = st_reid.create_model("osnet_x0_25", 3, height=64, width=32).eval()
        assert frame_level(images, return_featuremaps=True).shape == (2, 128, 4, 2)


def test_test_batches_have_persons_and_cameras(dataset_folder, capsys):
    manager = st_reid.ClipDataManager(
        str(dataset_folder), "manifest", height=64, width=32, use_gpu=False, workers=0, seq_len=4, batch_size_train=4
    )
    query, gallery = manager.fetch_test_loaders("manifest")
    persons = sorted({t.person for t in (*query, *gallery)})
    cameras = sorted({t.camera for t in (*query, *gallery)})
    for part, tracklets in (("query", query), ("gallery", gallery)):
        for batch in manager.test_loader["manifest"][part]:
            found = [tracklets[int(i)] for i in batch["tracklet"]]
            assert batch["pid"].tolist() == [persons.index(t.person) for t in found]
            assert batch["camid"].tolist() == [cameras.index(t.camera) for t in found]
