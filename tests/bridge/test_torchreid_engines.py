"""torchreid's own engines and tools with clip models, after ``import st_reid``."""

import contextlib
import copy
import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import st_reid
from st_reid.bridge.register import takes_clips
from st_reid.models.checkpoints import load_checkpoint
from st_reid.torchreid_compat import submodule

CLASSES = 4


class FakeData:
    """As much of a data manager as an engine asks for."""

    def __init__(self, batches=()):
        self.num_train_pids = CLASSES
        self.train_loader = list(batches)
        self.test_loader = {}


def make(loss, T=4, name="psta_osnet_x0_25"):
    torch.manual_seed(0)
    model = st_reid.create_model(name, CLASSES, loss=loss, seq_len=T, height=64, width=32)
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(8, T, 3, 64, 32, generator=generator)
    return model, clips, torch.arange(8) % CLASSES


def stock_engine(loss, model, optimizer, **options):
    engine = submodule("engine")
    cls = engine.VideoSoftmaxEngine if loss == "softmax" else engine.VideoTripletEngine
    return cls(FakeData(), model, optimizer, use_gpu=False, **options)


def their_triplet(features, labels, margin=0.3):
    """torchreid's triplet is by Euclidean distance: written here once more, without its loops."""
    distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels
    hardest = distance.masked_fill(~same, -np.inf).amax(1) - distance.masked_fill(same, np.inf).amin(1)
    return torch.relu(hardest + margin).mean()


@pytest.mark.parametrize("T", [4, 8])
@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_a_step_of_the_stock_engine_is_a_clip_step(loss, T):
    model, clips, labels = make(loss, T)
    model, clips = model.double(), clips.double()  # in float32 the gradient's own rounding is near the bound
    ours = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01) for m in (model, ours)]
    stock_engine(loss, model.train(), optimizers[0]).forward_backward({"img": clips, "pid": labels})

    output = ours.train()(clips)
    logits = output if loss == "softmax" else output[0]
    total = torch.stack([torch.nn.functional.cross_entropy(y, labels, label_smoothing=0.1) for y in logits]).mean()
    if loss == "triplet":
        total = total + torch.stack([their_triplet(f, labels) for f in output[1]]).mean()
    total.backward()
    optimizers[1].step()
    for (name, a), b in zip(model.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=name)

    with torch.inference_mode():
        feature = stock_engine(loss, model.eval(), optimizers[0]).extract_features(clips)
        torch.testing.assert_close(feature, model(clips), atol=1e-5, rtol=1e-5)
    assert feature.shape == (8, model.feature_dim)


def test_the_whole_clip_is_seen_and_its_order_matters_to_psta():
    model, clips, _ = make("softmax")
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    engine = stock_engine("softmax", model.eval(), None)
    with torch.inference_mode():
        feature = engine.extract_features(clips)
        other = engine.extract_features(clips[:, [2, 0, 3, 1]])
    assert seen == [32, 32]
    assert (feature - other).abs().max() > 1e-6


def test_behind_data_parallel_too():
    model, clips, labels = make("softmax")
    wrapped = torch.nn.DataParallel(model)
    assert takes_clips(wrapped)
    engine = stock_engine("softmax", wrapped.eval(), None)
    assert engine.parse_data_for_train({"img": clips, "pid": labels})[0].shape == clips.shape
    with torch.inference_mode():
        torch.testing.assert_close(engine.extract_features(clips), model(clips))


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_nothing_changes_for_other_models(pooling):
    torch.manual_seed(0)
    model = submodule("models").build_model("osnet_x0_25", CLASSES, loss="triplet", pretrained=False, use_gpu=False)
    _, clips, labels = make("softmax")
    engine = stock_engine("triplet", model.eval(), None, pooling_method=pooling)
    images, repeated = engine.parse_data_for_train({"img": clips, "pid": labels})
    assert images.shape == (32, 3, 64, 32)
    assert repeated.tolist() == labels.repeat_interleave(4).tolist()
    with torch.inference_mode():
        frames = model(clips.flatten(0, 1)).view(8, 4, -1)
        expected = frames.mean(1) if pooling == "avg" else frames.max(1)[0]
        torch.testing.assert_close(engine.extract_features(clips), expected)


def test_all_frames_of_a_tracklet_with_batch_1():
    model, _, _ = make("softmax")
    engine = stock_engine("softmax", model.eval(), None)
    with torch.inference_mode():
        assert engine.extract_features(torch.randn(1, 19, 3, 64, 32)).shape == (1, model.feature_dim)


def test_single_frames_stay_single_frames(tmp_path):
    """FeatureExtractor, the complexity count and main.py's dummy image pass 4 axes."""
    from PIL import Image

    model, _, _ = make("softmax")
    model.eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 64, 32)).shape == (1, model.feature_dim)
    utils = submodule("utils")
    with contextlib.redirect_stdout(io.StringIO()):
        parameters, flops = utils.compute_model_complexity(model, (1, 3, 64, 32))
        torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
        extractor = utils.FeatureExtractor(
            "psta_osnet_x0_25", str(tmp_path / "w.pth"), image_size=(64, 32), device="cpu", verbose=False
        )
    assert parameters > 100_000
    assert flops > 1e6
    Image.new("RGB", (32, 64)).save(tmp_path / "a.png")
    assert extractor([str(tmp_path / "a.png")] * 3).shape == (3, 1024)


def test_an_engine_of_another_torchreid_is_named():
    from types import SimpleNamespace

    from st_reid.bridge.register import _keep_clips_whole

    strange = SimpleNamespace(VideoSoftmaxEngine=type("E", (), {}), VideoTripletEngine=type("F", (), {}))
    with pytest.warns(UserWarning, match="VideoSoftmaxEngine is not as st_reid knows it"):
        _keep_clips_whole(strange)


def run(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)] if code else [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_gits_module_names_work_and_are_the_same_modules():
    result = run("""
        import warnings; warnings.simplefilter("ignore")
        import st_reid
        import torchreid.models
        from torchreid.utils import FeatureExtractor
        import torchreid.models.osnet as a
        from torchreid.reid.models import osnet as b
        assert a is b and torchreid.models.__spec__.name == "torchreid.reid.models", torchreid.models.__spec__
        assert torchreid.models.build_model("psta_osnet_x0_25", 3, pretrained=False).feature_dim == 1024
        try:
            import torchreid.nothing
        except ModuleNotFoundError as error:
            assert "torchreid.nothing" in str(error), error
        else:
            raise AssertionError
        """)
    assert result.returncode == 0, result.stderr


def test_checkpoints_of_torchreids_engine_load_again(tmp_path):
    utils = submodule("utils")
    state = {"state_dict": {"w": torch.ones(2)}, "epoch": 3, "rank1": np.float64(0.5), "optimizer": {}}
    with contextlib.redirect_stdout(io.StringIO()):
        utils.save_checkpoint(state, str(tmp_path))
        ours = load_checkpoint(tmp_path / "model.pth.tar-3")
        again = utils.load_checkpoint(str(tmp_path / "model.pth.tar-3"))  # ours left it allowed
    assert again["rank1"] == ours["rank1"] == 0.5


def test_run_runs_a_script_unchanged(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "import helper\n"
        "import torchreid\n"
        "model = torchreid.models.build_model('psta_osnet_x0_25', 3, pretrained=False)\n"
        "print(__name__, sys.argv, type(model).__name__, helper.x)\n"
        "raise SystemExit(5)\n"
    )
    (tmp_path / "helper.py").write_text("x = 7\n")
    result = run(None, "-m", "st_reid.run", str(script), "--root", "x")
    assert (result.returncode, result.stderr) == (5, "")
    assert result.stdout.strip() == f"__main__ ['{script}', '--root', 'x'] PSTA 7"


@pytest.mark.parametrize(
    ("arguments", "message"), [(["nowhere.py"], "script nowhere.py does not exist"), ([], "no script given")]
)
def test_run_mistakes(arguments, message):
    result = run(None, "-m", "st_reid.run", *arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_run_help():
    result = run(None, "-m", "st_reid.run", "--help")
    assert result.returncode == 0
    assert "usage: python -m st_reid.run SCRIPT" in result.stdout
