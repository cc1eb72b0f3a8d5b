"""Exported models: the same features as in PyTorch, files that are whole or not there, and one line for a mistake."""

import json
import re
import sys

import pytest
import torch
from small_models import trained
from torch import nn
from torch.nn import functional as F

import st_reid
from st_reid import export, extract
from st_reid.data.transforms import to_float
from st_reid.errors import UserError
from st_reid.features.feature_set import FeatureSet, same_model
from st_reid.models import exporting
from st_reid.models.base import MODELS
from st_reid.models.exported import PACKAGES, ExportedModel, Sidecar
from st_reid.models.loading import load_for_evaluation

SIZES = {"height": 32, "width": 32, "seq_len": 3}


class Toy(nn.Module):
    """A model that is exported at once; with ``branch`` one that no exporter can take."""

    uses_time = True

    def __init__(self, branch):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.branch = branch
        self.feature_dim = 4

    def forward(self, clips):
        if self.branch and clips.sum() > 0:
            return clips.mean(dim=(1, 3, 4))
        return self.linear(clips.mean(dim=(1, 3, 4)))


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    def build(num_classes, *, loss, pretrained, seq_len, height, width, branch: bool = False):
        return Toy(branch)

    monkeypatch.setitem(MODELS._builders, "toy", build)


def write_checkpoint(path, name, **options):
    """Write a checkpoint as training does, of a model whose running statistics are not those of a new one."""
    torch.manual_seed(0)
    made_of = {"name": name, "num_classes": 5, "pretrained": False, **SIZES, **options}
    model = st_reid.create_model(**made_of)
    trained(model)
    config = {"data": {"interpolation": "bicubic"}}
    torch.save({"model": made_of, "state_dict": model.state_dict(), "config": config}, path)
    return path


def command(weights, output, *more):
    return [str(a) for a in ("--weights", weights, "--output", output, "--runs", 1, "--data.workers", 0, *more)]


def random_clips(batch, frames=3):
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(256, (batch, frames, 3, 32, 32), dtype=torch.uint8, generator=generator)


def assert_same_features(exported, model, clips):
    with torch.inference_mode():
        expected = model.eval()(to_float(clips))
    got = exported(clips)
    assert got.dtype == torch.float32
    assert got.shape == expected.shape
    torch.testing.assert_close(F.normalize(got), F.normalize(expected), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def psta(dataset_folder, tmp_path_factory):
    """PSTA with an odd number of frames: its checkpoint and its export, checked on a dataset too. Read only."""
    folder = tmp_path_factory.mktemp("psta")
    weights = write_checkpoint(folder / "best.pth", "psta_resnet18", dim=16, levels=1)
    output = folder / "made" / "model.onnx"
    export.main(command(weights, output, "--sources", "manifest", "--root", dataset_folder, "--clips", 5))
    return weights, output


def test_psta_in_onnxruntime(psta):
    weights, output = psta
    model, exported = st_reid.load_model(weights), ExportedModel(output)
    for batch in (1, 2, 5):
        assert_same_features(exported, model, random_clips(batch))
    for wrong in (random_clips(1, 4), random_clips(1).float(), random_clips(1)[0], random_clips(1)[:0]):
        with pytest.raises(UserError, match=r"expected the pixels, torch.uint8 \(B, 3, 3, 32, 32\)"):
            exported(wrong)


def test_the_file_beside_it_says_what_the_input_is(psta):
    weights, output = psta
    assert sorted(p.name for p in output.parent.iterdir()) == ["model.json", "model.onnx"]
    about = json.loads(output.with_suffix(".json").read_text())
    loaded = load_for_evaluation(str(weights))
    assert about == {
        "arch": "psta_resnet18",
        **SIZES,
        "interpolation": "bicubic",
        "sampler": "all",
        "feature_dim": 16,
        "uses_time": True,
        "fingerprint": loaded.about()["fingerprint"],
        "antialias": True,
        "colors": "RGB",
        "dtype": "uint8",
        "layout": "batch, frame, color, row, column",
    }
    exported = ExportedModel(output)
    for name in Sidecar.__annotations__.keys() - {"interpolation", "sampler"}:
        assert getattr(exported, name) == about[name]


def test_torch_export(psta, tmp_path, dataset_folder):
    weights, onnx = psta
    output = tmp_path / "model.pt2"
    output.with_suffix(".json").write_bytes(
        onnx.with_suffix(".json").read_bytes()
    )  # that of the same model may be there
    agreement = exporting.export(weights=str(weights), output=str(output), runs=1)
    assert agreement.differences["random"] < 1e-5
    assert min(agreement.torch_seconds, agreement.exported_seconds) > 0
    told = {"about.json": ""}
    program = torch.export.load(output, extra_files=told).module()
    assert told["about.json"] == output.with_suffix(".json").read_text()
    model = st_reid.load_model(weights)
    with torch.no_grad():
        for batch in (1, 5):
            assert_same_features(program, model, random_clips(batch))


def test_a_frame_level_model_takes_any_number_of_frames(tmp_path, caplog):
    model = st_reid.create_model("osnet_x0_25", 7, **SIZES)
    torch.save(model.model.state_dict(), tmp_path / "osnet.pth")  # as torchreid saves it
    argv = command(tmp_path / "osnet.pth", tmp_path / "osnet.onnx", "--arch", "osnet_x0_25", "--height", 32)
    with caplog.at_level("INFO"):
        export.main([*argv, "--width", "32"])
    exported = ExportedModel(tmp_path / "osnet.onnx")
    assert (exported.seq_len, exported.uses_time, exported.feature_dim) == (1, False, 512)
    for batch, frames in ((2, 1), (1, 3), (5, 1)):
        assert_same_features(exported, model, random_clips(batch, frames))
    assert re.search(r"random clips: unit-length features differ by \d\.\de-\d\d at most", caplog.text)
    assert re.search(r"a batch of 4 clips of 1 x 3 x 32 x 32: [\d.]+ ms in PyTorch, [\d.]+ ms exported", caplog.text)
    assert len(caplog.records) < 8  # the exporter's hundreds are kept back


def test_a_frame_level_model_with_as_many_frames_as_were_asked_for(tmp_path):
    weights = write_checkpoint(tmp_path / "toy.pth", "toy")
    about = {"seq_len": 3, "uses_time": False}
    export.main(command(weights, tmp_path / "toy.onnx", "--opset", 18))
    exported = ExportedModel(tmp_path / "toy.onnx", about=json.loads((tmp_path / "toy.json").read_text()) | about)
    for frames in (1, 3, 4):
        assert_same_features(exported, st_reid.load_model(weights), random_clips(2, frames))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "st_reid_pcb",
        *st_reid.list_models("*_osnet_x0_25"),
        *("mean_mobilenet_v2", "psta_mobilenetv2_x1_0", "psta_shufflenet_v2_x0_5", "ap3d_resnet18", "tsm_mobilenet_v2"),
    ],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_other_families(name, frames, tmp_path):
    weights = write_checkpoint(tmp_path / "w.pth", name, **({"parts": 2} if name == "st_reid_pcb" else {"dim": 16}))
    export.main(command(weights, tmp_path / "model.onnx", "--seq-len", frames))
    exported, model = ExportedModel(tmp_path / "model.onnx"), st_reid.load_model(weights)
    for batch in (1, 5):
        assert_same_features(exported, model, random_clips(batch, frames))


@pytest.mark.parametrize(
    ("output", "more", "message"),
    [
        ("model.tflite", [], "has no known suffix; expected a name that ends in .onnx or .pt2"),
        ("there.onnx", [], "there.onnx exists; pass another --output"),
        ("other.onnx", [], "other.json exists, and is of another model"),
        ("toy.pth/model.onnx", [], "cannot be made: .*toy.pth is no folder"),
        ("model.onnx", ["--arch", "osnet_x0_25"], "is of toy, made with its own options"),
        ("model.onnx", ["--sampler", "al"], "unknown sampler 'al'; did you mean 'all'"),
        ("model.onnx", ["--opset", 99], r"opset is 99; expected one of 18 to \d+ that onnxruntime .* runs"),
        ("model.onnx", ["--batch", 0], "batch is 0; expected at least 1"),
        ("model.onnx", ["--root", "."], "of which dataset"),
        ("model.onnx", ["--sources", "manifest", "--root", "nowhere"], "nowhere"),
        ("model.onnx", ["--out", "x"], "did you mean 'output'"),
    ],
)
def test_mistakes_leave_nothing_behind(output, more, message, tmp_path, command_error, monkeypatch):
    weights = write_checkpoint(tmp_path / "toy.pth", "toy")
    (tmp_path / "there.onnx").touch()
    (tmp_path / "other.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    assert re.search(message, command_error(export.main, command(weights, tmp_path / output, *more), monkeypatch))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_a_model_that_the_exporter_cannot_take(suffix, tmp_path, command_error, monkeypatch):
    weights = write_checkpoint(tmp_path / "toy.pth", "toy", branch=True)
    error = command_error(export.main, command(weights, tmp_path / "new" / f"model.{suffix}"), monkeypatch)
    assert "the exporter cannot take toy: GuardOnDataDependentSymNode: Could not guard on data-dependent" in error
    assert [p.name for p in tmp_path.iterdir()] == ["toy.pth"]


@pytest.mark.parametrize(("suffix", "tolerance"), [("onnx", -1.0), ("pt2", float("nan"))])
def test_an_export_that_is_not_the_model(suffix, tolerance, tmp_path, command_error, monkeypatch):
    weights = write_checkpoint(tmp_path / "toy.pth", "toy")
    monkeypatch.setattr(exporting, "TOLERANCE", tolerance)
    error = command_error(export.main, command(weights, tmp_path / "a" / "b" / f"model.{suffix}"), monkeypatch)
    assert "the export of toy is not the model: unit-length features differ by up to" in error
    assert [p.name for p in tmp_path.iterdir()] == ["toy.pth"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package(package, tmp_path, command_error, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    error = command_error(export.main, command("w.pth", tmp_path / "model.onnx"), monkeypatch)
    assert f"ONNX needs {package}: pip install st_reid[export]" in error


def test_files_that_will_not_do(psta, tmp_path):
    _, whole = psta
    path, beside = tmp_path / "model.onnx", tmp_path / "model.json"
    with pytest.raises(UserError, match=r"no file .*model\.onnx; make an exported model"):
        ExportedModel(path)
    path.write_bytes(whole.read_bytes()[:10_000])
    about = json.loads(whole.with_suffix(".json").read_text())
    for content, message in (
        (None, r"no file .*model\.json"),
        ("{", "is no JSON, or cut short"),
        ("[]", "expected object, got array"),
        ("{}", "object missing required field arch"),
        (json.dumps(about | {"height": "32"}), "height: expected int, got str"),
        (json.dumps(about | {"seq_len": -1}), r"seq_len: expected int >= 0"),
        (json.dumps(about), r"onnxruntime cannot load .*model\.onnx"),
    ):
        if content is not None:
            beside.write_text(content)
        with pytest.raises(UserError, match=message) as caught:
            ExportedModel(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="do not belong together"):
        ExportedModel(whole, about | {"fingerprint": "0" * 16})


def test_an_exported_model_extracts_what_the_weights_do(dataset_folder, tmp_path):
    weights = write_checkpoint(tmp_path / "w.pth", "toy")
    export.main(["--weights", str(weights), "--output", str(tmp_path / "m.onnx")])
    common = ["--root", str(dataset_folder), "--device", "cpu", "--precision", "float32", "--data.workers", "0"]
    for name, source in (("a.npz", weights), ("b.npz", tmp_path / "m.onnx")):
        extract.main(["--weights", str(source), "--output", str(tmp_path / name), *common])
    a, b = (FeatureSet.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    same_model(a, b)
    assert a.tracklet.tolist() == b.tracklet.tolist()
    torch.testing.assert_close(torch.from_numpy(b.features), torch.from_numpy(a.features), rtol=0, atol=1e-5)
    extract.main(
        ["--weights", str(tmp_path / "m.onnx"), "--output", str(tmp_path / "c.npz"), *common, "--sampler", "evenly"]
    )
    assert FeatureSet.load(tmp_path / "c.npz").fingerprint != a.fingerprint
    with pytest.raises(UserError, match=r"height is 64, and .*m\.onnx was exported for 32"):
        load_for_evaluation(str(tmp_path / "m.onnx"), height=64)
