"""A torchreid script with two names changed: data manager and engines, on six persons who differ in colour."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from small_data import write_dataset

import st_reid
from st_reid.bridge import clip_engine
from st_reid.data.datasets import read_dataset
from st_reid.data.frames import read_frame
from st_reid.data.transforms import EvalTransform, to_float
from st_reid.errors import UserError
from st_reid.torchreid_compat import submodule

SMALL = {"height": 64, "width": 32, "workers": 0, "use_gpu": False, "seq_len": 4, "batch_size_test": 5}


def manager(root, **changes):
    with contextlib.redirect_stdout(io.StringIO()):
        return st_reid.ClipDataManager(**{"root": str(root), "sources": "manifest", **SMALL, **changes})


@pytest.mark.parametrize(
    ("engine", "loss", "sampler"),
    [
        ("ClipSoftmaxEngine", "softmax", "RandomSampler"),
        ("ClipTripletEngine", "triplet", "RandomIdentitySampler"),
    ],
)
def test_a_script(dataset_folder, tmp_path, capsys, engine, loss, sampler):
    data = manager(
        dataset_folder,
        batch_size_train=4,
        num_instances=2,
        train_sampler=sampler,
        transforms=["random_flip", "random_erase"],
    )
    torch.manual_seed(0)
    model = submodule("models").build_model("psta_osnet_x0_25", data.num_train_pids, loss=loss, pretrained=False)
    optimizer = submodule("optim").build_optimizer(model, lr=1e-3)
    run = getattr(st_reid, engine)(data, model, optimizer, use_gpu=False)
    run.run(save_dir=str(tmp_path), max_epoch=2, print_freq=1, visrank=False)
    output = capsys.readouterr().out
    assert re.search(r"mAP: \d+\.\d%", output)
    assert re.search(r"Rank-1  : \d+\.\d%", output)
    assert "Rank-20 :" in output  # of 12 gallery items
    checkpoint = submodule("utils").load_checkpoint(str(tmp_path / "model" / "model.pth.tar-2"))
    assert type(checkpoint["rank1"]) is float
    assert "scheduler" not in checkpoint
    run.run(save_dir=str(tmp_path / "test"), test_only=True, visrank=True, rerank=False, dist_metric="cosine")
    assert (tmp_path / "test" / "visrank_manifest.png").exists()


def test_training_sees_each_tracklet_once_an_epoch_or_persons_in_groups(dataset_folder):
    by_tracklet = manager(dataset_folder, batch_size_train=3)
    assert len(by_tracklet.train_loader) == 4
    first, second = ([b["impath"].tolist() for b in by_tracklet.train_loader] for _ in range(2))
    assert sorted(t for batch in first for t in batch) == list(range(12))
    assert first != second  # another order in the next epoch
    by_person = manager(dataset_folder, batch_size_train=6, num_instances=2, train_sampler="RandomIdentitySampler")
    for batch in by_person.train_loader:
        persons, counts = batch["pid"].unique(return_counts=True)
        assert len(persons) == 3
        assert counts.tolist() == [2, 2, 2]
        assert batch["img"].shape == (6, 4, 3, 64, 32)
        assert batch["img"].dtype == torch.float32


def test_labels_belong_to_the_clips(dataset_folder):
    data = manager(dataset_folder, batch_size_train=4, transforms=None)
    train = read_dataset("manifest", dataset_folder).train
    persons = sorted({t.person for t in train})
    for batch in data.train_loader:
        for pid, tracklet in zip(batch["pid"].tolist(), batch["impath"].tolist(), strict=True):
            assert persons[pid] == train[tracklet].person


class Mean(torch.nn.Module):
    def __init__(self, uses_time):
        super().__init__()
        self.takes_clips = True
        self.uses_time = uses_time

    def forward(self, clips):
        return clips.mean(dim=(1, 3, 4))


def test_tests_see_every_frame_and_average_by_tracklet(dataset_folder):
    data = manager(dataset_folder, sample_method="random")  # clips of 4 frames; tracklets have 5 or 6
    gallery = data.test_dataset["manifest"]["gallery"]
    features = {}
    for uses_time in (True, False):
        engine = st_reid.ClipSoftmaxEngine(data, Mean(uses_time), None, use_gpu=False)
        features[uses_time] = engine._features(engine.test_loader["manifest"]["gallery"])
    for i, tracklet in enumerate(gallery):
        clip = to_float(EvalTransform(64, 32)([read_frame(p) for p in tracklet.paths])).mean(dim=(2, 3)).numpy()
        np.testing.assert_allclose(features[False][i], clip.mean(axis=0), atol=1e-5)
        last = np.concatenate([clip[4:], np.repeat(clip[-1:], 8 - len(clip), axis=0)])  # padded by repeating
        padded = (4 * clip[:4].mean(axis=0) + (len(clip) - 4) * last.mean(axis=0)) / len(clip)
        np.testing.assert_allclose(features[True][i], padded, atol=1e-5)


def test_a_run_that_goes_on_draws_what_comes_next(dataset_folder):
    data = manager(dataset_folder)
    first, second = ([b["impath"].tolist() for b in data.train_loader] for _ in range(2))
    again = manager(dataset_folder)
    again.train_loader.epoch = 1  # as the engine sets it with start_epoch=1
    assert [b["impath"].tolist() for b in again.train_loader] == second != first


def test_two_sources_are_different_persons(dataset_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_dataset(other)
    one, two = manager(dataset_folder), manager(other)
    both = clip_engine._together([read_dataset("manifest", dataset_folder), read_dataset("manifest", other)], False)
    assert len({t.person for t in both}) == one.num_train_pids + two.num_train_pids
    assert len({t.camera for t in both}) == 4
    everything = manager(dataset_folder, combineall=True)
    assert everything.num_train_pids == 6


def test_other_normalisation(dataset_folder):
    data = manager(dataset_folder, norm_mean=[0, 0, 0], norm_std=[1, 1, 1])
    pixels = next(iter(data.train_loader))["img"]
    assert 0 <= pixels.min() < pixels.max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": None}, "no sources given"),
        ({"sources": "mar"}, "unknown dataset 'mar'; did you mean 'mars'"),
        ({"sources": "mars"}, "no folder with bbox_train"),
        ({"transforms": "random_flop"}, "unknown transform 'random_flop'; did you mean 'random_flip'"),
        ({"sample_method": "evenlie"}, "did you mean 'evenly'"),
        ({"train_sampler": "RandomDomainSampler"}, "unknown train_sampler"),
        ({"train_sampler": "RandomIdentitySampler", "batch_size_train": 40}, "6 identities to train on"),
        ({"train_sampler": "RandomIdentitySampler", "batch_size_train": 6}, "a multiple of num_instances"),
        ({"num_instances": 0}, "num_instances 0"),
        ({"batch_size_train": 40}, "12 training tracklets; a batch needs 40"),
    ],
)
def test_errors(dataset_folder, change, message):
    with pytest.raises(UserError, match=message):
        manager(dataset_folder, **change)


def test_engine_errors(dataset_folder):
    data = manager(dataset_folder)
    engine = st_reid.ClipSoftmaxEngine(data, Mean(True), None, use_gpu=False)
    for options, message in (({"dist_metric": "cosin"}, "'cosine'"), ({"use_metric_cuhk03": True}, "CUHK03")):
        with pytest.raises(UserError, match=message):
            engine._evaluate("manifest", **options)


def test_an_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="ClipEngine"):
        st_reid.ClipEngine  # noqa: B018


def test_nobody_is_a_person_in_torchreid(own_dataset_folder, tmp_path, capsys):
    """Tracklets of unknown persons were one person there, so that any two of them were a match."""
    file = own_dataset_folder / "manifest.csv"
    lines = file.read_text().splitlines()
    for tracklet, person in (("p0c0", ""), ("p1c1", ""), ("p2c0", "distractor")):
        lines = [re.sub(f"(,{tracklet},.*),person\\d,", rf"\1,{person},", line) for line in lines]
    file.write_text("\n".join(lines))
    data = manager(own_dataset_folder)
    query, gallery = data.fetch_test_loaders("manifest")
    assert (data.num_train_pids, len(query), len(gallery)) == (6, 4, 10)
    engine = st_reid.ClipSoftmaxEngine(data, Mean(True), None, use_gpu=False)
    engine.run(save_dir=str(tmp_path), test_only=True)
    assert "Rank-1  : " in capsys.readouterr().out
    options = {"root": str(own_dataset_folder), "transform": str, "verbose": False}
    theirs = submodule("data.datasets").init_video_dataset("manifest", **options)
    assert [len(part) for part in (theirs.train, theirs.query, theirs.gallery)] == [9, 4, 10]
    distractor = ({p for _, p, *_ in theirs.gallery} - {p for _, p, *_ in theirs.query}).pop()
    assert sum(p == distractor for _, p, *_ in theirs.gallery) == 1
