"""`import st_reid` beside torchreid, in real processes: who is imported first must not matter."""

import subprocess
import sys
import textwrap

import pytest


def run(code, **options):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, **options
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    "imports",
    [
        "import torchreid, st_reid",
        "import st_reid, torchreid",
        pytest.param("import st_reid.models.psta, torchreid", marks=pytest.mark.slow),
        pytest.param(
            "import st_reid, importlib.util; importlib.util.find_spec('torchreid'); import torchreid",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_torchreid_builds_our_models(imports):
    run(f"""
        import warnings; warnings.simplefilter("ignore")
        {imports}
        import importlib; importlib.reload(st_reid)
        from st_reid.torchreid_compat import model_factory, submodule
        theirs = model_factory()["osnet_x1_0"]
        assert theirs.__module__.startswith("torchreid"), theirs
        model = submodule("models").build_model("psta_osnet_x0_25", num_classes=4, loss="triplet", pretrained=False)
        assert type(model).__name__ == "PSTA"
        known = submodule("data.datasets").__dict__["__video_datasets"]
        assert {{"walkers", "manifest", "mars", "st_reid_mars"}} <= set(known), sorted(known)
        assert known["mars"].__module__.startswith("torchreid")
        """)


def test_torchreid_reads_our_dataset(dataset_folder):
    run(f"""
        import warnings; warnings.simplefilter("ignore")
        import st_reid, torchreid
        from st_reid.torchreid_compat import submodule
        data = submodule("data").VideoDataManager(
            root={str(dataset_folder)!r}, sources="manifest", height=32, width=16, batch_size_train=2, seq_len=3,
            workers=0, use_gpu=False)
        assert data.num_train_pids == 6
        clips = next(iter(data.train_loader))["img"]
        assert tuple(clips.shape) == (2, 3, 3, 32, 16), clips.shape
        """)


def test_the_git_layout(tmp_path):
    """A miniature package with git's module tree: torchreid.models and not torchreid.reid.models."""
    package = tmp_path / "torchreid"
    (package / "models").mkdir(parents=True)
    (package / "data" / "datasets").mkdir(parents=True)
    (package / "__init__.py").write_text("from torchreid import data, models\n")
    (package / "models" / "__init__.py").write_text(
        "def osnet_x0_25(num_classes, loss, pretrained, use_gpu): raise AssertionError\n"
        "__model_factory = {'osnet_x0_25': osnet_x0_25}\n"
    )
    (package / "engine.py").write_text(
        "class VideoSoftmaxEngine:\n"
        "    def parse_data_for_train(self, data): return 'flattened'\n"
        "    def extract_features(self, input): return 'pooled'\n"
        "class VideoTripletEngine(VideoSoftmaxEngine): pass\n"
    )
    (package / "data" / "__init__.py").write_text(
        "from torchreid.data.datasets import VideoDataset, register_video_dataset\n"
    )
    (package / "data" / "datasets" / "__init__.py").write_text(
        "class VideoDataset: pass\n"
        "__video_datasets = {'mars': VideoDataset}\n"
        "def register_video_dataset(name, dataset): __video_datasets[name] = dataset\n"
    )
    run(
        """
        import st_reid, torchreid.models
        from st_reid import torchreid_compat
        factory = torchreid_compat.model_factory()
        assert factory is getattr(torchreid.models, "__model_factory")
        assert "psta" in factory, sorted(factory)
        assert "walkers" in getattr(torchreid.data.datasets, "__video_datasets")
        from torchreid.engine import VideoSoftmaxEngine, VideoTripletEngine
        for kind in (VideoSoftmaxEngine, VideoTripletEngine):
            engine = kind()
            engine.model = factory["psta_resnet18"](3, pretrained=False)
            assert engine.parse_data_for_train({"img": "clip", "pid": "label"}) == ("clip", "label")
            engine.model = object()
            assert engine.parse_data_for_train({"img": "clip", "pid": "label"}) == "flattened"
            assert engine.extract_features("clip") == "pooled"
        """,
        env={"PYTHONPATH": f"{tmp_path}:."},
    )
