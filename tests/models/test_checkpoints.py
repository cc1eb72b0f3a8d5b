"""Reading checkpoints: what torchreid writes, what is damaged, and what could run code."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from st_reid.errors import UserError
from st_reid.models.checkpoints import load_backbone_weights, load_checkpoint, load_matching, load_state_dict


def network(classes=3):
    return nn.Sequential(
        OrderedDict(body=nn.Linear(4, 5), norm=nn.BatchNorm1d(5), fc=nn.Linear(5, 6), classifier=nn.Linear(6, classes))
    )


@pytest.mark.parametrize("rank1", [np.float32(0.5), np.float64(0.5), np.bool_(True), np.int64(3)])
def test_torchreids_checkpoint_with_a_numpy_scalar(tmp_path, rank1):
    path = tmp_path / "model.pth.tar-60"
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    torch.save(
        {
            "state_dict": nn.DataParallel(model).state_dict(),
            "epoch": 60,
            "rank1": rank1,
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        },
        path,
    )
    assert load_checkpoint(path)["rank1"] == rank1
    torch.testing.assert_close(load_state_dict(path), dict(model.state_dict()))


def test_code_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "touched"), "w")

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="could run code"):
        load_checkpoint(tmp_path / "evil.pth")
    with open(tmp_path / "plain.pkl", "wb") as file:
        pickle.dump(Evil(), file, protocol=2)
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "plain.pkl")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02}q\x00.", bytes(range(256))])
def test_damaged_files(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_state_dict(tmp_path / "bad.pth")
    assert "bad.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path):
    torch.save(network().state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "part.pth").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"part\.pth"):
            load_state_dict(tmp_path / "part.pth")


def test_what_is_no_state_dict(tmp_path):
    path = tmp_path / "x.pth"
    for content, message in (
        (torch.zeros(3), "holds a Tensor; expected a dict"),
        ({"epoch": 3}, "'epoch' is a int; expected tensors"),
        ({"state_dict": 3}, "holds no weights"),
        ({}, "holds no weights"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            load_state_dict(path)
    with pytest.raises(UserError, match="is a folder; expected a file"):
        load_state_dict(tmp_path)


def test_classifier_of_another_size_is_left_out():
    source, target = network(3), network(7)
    before = target.classifier.weight.clone()
    assert load_matching(target, source.state_dict(), "f.pth") == ["classifier.bias", "classifier.weight"]
    torch.testing.assert_close(target.body.weight, source.body.weight)
    torch.testing.assert_close(target.classifier.weight, before)
    assert load_matching(target, target.state_dict(), "f.pth") == []


def test_what_does_not_fit_is_named_and_nothing_is_loaded():
    source, target = network(), network()
    state = source.state_dict()
    del state["norm.bias"], state["norm.num_batches_tracked"]
    state |= {"more.weight": torch.zeros(1), "body.weight": torch.zeros(2, 2)}
    before = target.body.bias.clone()
    with pytest.raises(UserError) as caught:
        load_matching(target, state, "f.pth")
    assert str(caught.value) == (
        "f.pth does not fit this model: 1 missing (norm.bias), 1 unknown (more.weight), 1 of another shape "
        "('body.weight' is (2, 2), expected (5, 4)); pass a checkpoint of the same architecture"
    )
    torch.testing.assert_close(target.body.bias, before)
    with pytest.raises(UserError, match="none of its 1 entries belongs"):
        load_matching(target, {"elsewhere": torch.zeros(1)}, "f.pth")


def test_backbone_weights_may_lack_what_is_behind_the_map(tmp_path):
    source, target = network(3), network(7)
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("fc")}
    torch.save(state, tmp_path / "x.pth")
    left_out = load_backbone_weights(target, tmp_path / "x.pth")
    assert left_out == ["classifier.bias", "classifier.weight", "fc.bias", "fc.weight"]
    with pytest.raises(UserError, match=r"missing \(fc"):
        load_matching(target, state, "x.pth")
