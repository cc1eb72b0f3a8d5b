"""Checkpoints that somebody else made: nothing is downloaded, opened or run for them, and no memory is filled."""

import builtins
import os
import socket
import urllib.request

import pytest
import torch

import st_reid
from st_reid.errors import UserError
from st_reid.models.checkpoints import load_checkpoint, load_state_dict
from st_reid.models.loading import load_for_evaluation

MADE_OF = {
    "name": "psta_osnet_x0_25",
    "num_classes": 3,
    "seq_len": 2,
    "height": 32,
    "width": 32,
    "dim": 16,
    "levels": 1,
}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return st_reid.create_model(**MADE_OF).state_dict()


@pytest.fixture
def write(weights, tmp_path):
    """Write a checkpoint with other entries than a good one."""

    def written(changes=None, **model):
        checkpoint = {"state_dict": weights, "model": MADE_OF | model} | (changes or {})
        torch.save({name: value for name, value in checkpoint.items() if value is not None}, tmp_path / "w.pth")
        return tmp_path / "w.pth"

    return written


def refused(read, *needed):
    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    for text in needed:
        assert str(text) in str(caught.value)


@pytest.mark.parametrize("pretrained", [True, "secret.pth", "/etc/passwd", 7])
def test_nothing_is_downloaded_or_opened(pretrained, write, tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError(f"asked for {args}")

    path = write(pretrained=pretrained)
    (tmp_path / "secret.pth").write_text("")
    really_open = builtins.open

    def only_the_checkpoint(file, *args, **kwargs):
        assert not {"secret.pth", "passwd"} & set(str(file).split("/"))
        return really_open(file, *args, **kwargs)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", forbidden)
    monkeypatch.setattr(builtins, "open", only_the_checkpoint)
    assert st_reid.load_model(path).feature_dim
    assert load_for_evaluation(str(path)).arch == MADE_OF["name"]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"name": 3}, "does not say which model|model, name: expected str, got int"),
        ({"num_classes": "3"}, "model, num_classes: expected int, got str"),
        ({"num_classes": 10**12}, "num_classes is 1000000000000, and no weight is longer than 65536"),
        ({"num_classes": -1}, "num_classes: expected int >= 0"),
        ({"dim": 10**9}, "dim is 1000000000"),
        ({"dim": 2.5}, "is 2.5; expected int"),
        ({"levels": [1]}, "is [1]; expected int"),
        ({"height": 10**6}, "height: expected int <= 4096"),
        ({"loss": "none"}, "loss: invalid enum value"),
        ({"colour": 1}, "colour"),
        ({3: 4}, "model"),
        ({"num_classes": 4}, "does not fit this model"),
    ],
)
def test_models_that_will_not_do(changes, needed, write):
    path = write()
    checkpoint = torch.load(path) | {"model": MADE_OF | changes}
    torch.save(checkpoint, path)
    with pytest.raises(UserError) as caught:
        st_reid.load_model(path)
    message = str(caught.value)
    assert any(text in message for text in needed.split("|")), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"model": None}, "does not say which model it is of"),
        ({"model": 7}, "does not say which model it is of"),
        ({"state_dict": None}, "is no state dict"),
        ({"state_dict": []}, "no weights"),
        ({"state_dict": {}}, "no weights"),
        ({"state_dict": {"a": 1}}, "'a' is a int"),
        ({"config": 5}, "config: expected object, got int"),
        ({"config": {"data": {"interpolation": "nearest"}}}, "config, data.interpolation: invalid enum value"),
    ],
)
def test_checkpoints_that_will_not_do(changes, needed, write):
    refused(lambda: load_for_evaluation(str(write(changes))), needed)


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def laughs():
    value = [0] * 9
    for _ in range(9):
        value = [value] * 9
    return value


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "needed"),
    [
        (lambda: torch.zeros(3, device="meta"), "meta tensor"),
        (lambda: torch.zeros(3).to_sparse(), "sparse or nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "quantised tensor"),
        (lambda: {"deeper": [torch.zeros(3, device="meta")]}, "meta tensor"),
        (lambda: nested(200), "100 levels"),
        (endless, "levels"),
        (laughs, "entries"),
    ],
    ids=["meta", "sparse", "quantised", "inside", "deep", "endless", "laughs"],
)
@pytest.mark.filterwarnings("ignore:.*(quantiz|sparse|deprecat).*")
def test_values_that_no_checkpoint_has(value, needed, tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(2)}, "odd": value()}, tmp_path / "w.pth")
    refused(lambda: load_checkpoint(tmp_path / "w.pth"), tmp_path / "w.pth", needed)
    refused(lambda: load_state_dict(tmp_path / "w.pth"), needed)


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    os.mkfifo(tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        refused(lambda name=name: load_checkpoint(tmp_path / name), "is a pipe; expected a file")
    refused(lambda: load_checkpoint(tmp_path), "is a folder; expected a file")
    refused(lambda: load_checkpoint(tmp_path / "none.pth"), "none.pth does not exist")


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "{", "NaN", ""])
def test_metadata_of_safetensors(text, weights, tmp_path):
    from safetensors.torch import save_file

    tensors = {name: value.contiguous().clone() for name, value in weights.items()}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"model": text})
    refused(lambda: load_checkpoint(tmp_path / "w.safetensors"), "w.safetensors", "model")
