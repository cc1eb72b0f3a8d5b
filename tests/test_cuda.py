"""What only a GPU can show: `pytest -m cuda`."""

import json

import numpy as np
import pytest
import torch
from small_runs import LEARNING_RUN, to_argv

from benchmarks import speed, timing
from st_reid import create_model, evaluate, train
from st_reid.retrieval import evaluate_rank

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_psta_gives_the_same_feature_on_the_gpu():
    torch.manual_seed(0)
    model = create_model("psta", 5).eval()
    clips = torch.randn(2, 8, 3, 256, 128)
    with torch.inference_mode():
        expected = model(clips)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.testing.assert_close(model.cuda()(clips.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_on_the_gpu_is_evaluated_alike_on_the_cpu(dataset_folder, tmp_path, precision):
    common = {"sources": "manifest", "root": dataset_folder, "precision": precision}
    train.main(to_argv(LEARNING_RUN | common | {"device": "cuda", "output": tmp_path / "run"}))
    weights = tmp_path / "run" / "checkpoints" / "best.pth"
    evaluate.main(to_argv(common | {"device": "cpu", "weights": weights, "output": tmp_path / "cpu"}))
    gpu, cpu = (json.loads((tmp_path / f / "report.json").read_text()) for f in ("run", "cpu"))
    assert gpu["appearance"]["mAP"] == pytest.approx(cpu["appearance"]["mAP"], abs=0.05)


def test_ranking_on_the_gpu_is_that_of_the_cpu():
    rng = np.random.default_rng(0)
    distances = rng.random((40, 3000), dtype=np.float32)
    labels = [rng.integers(n, size=size) for n, size in ((30, 40), (30, 3000), (4, 40), (4, 3000))]
    for ap in ("step", "trapezoid"):
        ours = evaluate_rank(torch.from_numpy(distances).cuda(), *labels, ap=ap, block_bytes=100_000)
        expected = evaluate_rank(distances, *labels, ap=ap)
        np.testing.assert_array_equal(ours.cmc, expected.cmc)
        assert ours.mAP == pytest.approx(expected.mAP, abs=1e-9)


def test_nothing_in_a_call_waits_for_the_gpu():
    case = speed.Case("psta_resnet18", "inference", 4, 2, "bfloat16", "channels_last", 64, 32)
    device = torch.device("cuda")
    model = case.build()
    call = speed.inference(model, speed.place(model, case.precision, case.mode, device), case.clips(device))
    call()  # once, to load kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("task", speed.TASKS)
@pytest.mark.parametrize("mode", speed.MODES)
@pytest.mark.parametrize("precision", timing.DTYPES)
def test_a_row_of_speed(task, mode, precision):
    case = speed.Case("psta_resnet18", task, 4, 2, precision, mode, 64, 32)
    row = speed.measure(case, torch.device("cuda"), timing.Effort(rounds=5, seconds=0.5))
    assert "failed" not in row, row
    assert row["clips_per_second"]["median"] > 0
    assert row["peak_memory_gb"] * 2**30 > 4 * row["parameters"]


def test_hacnn_runs_where_its_images_are():
    model = create_model("hacnn", 5, height=160, width=64).cuda()
    model(torch.randn(2, 2, 3, 160, 64, device="cuda"))[0].sum().backward()


def test_the_time_of_kernels_by_kind():
    x = torch.randn(512, 512, device="cuda")
    found = timing.seconds_by_kind(lambda: torch.mm(x, x), torch.device("cuda"))
    assert found["matrix products"] > 0
    assert found["convolutions"] == 0
