"""Loading and waiting: the share of a run's time, and the whole command at toy size."""

import json

import pytest
import torch
from small_runs import SMALLEST_RUN, to_argv

from benchmarks import pipeline
from benchmarks.clip_loading import HEIGHT, SEQ_LEN, WIDTH, made_up_tracklets
from st_reid.runtime.compute import Compute

EPOCHS = [{"seconds": 10.0, "data_seconds": 5.0}, {"seconds": 4.0, "data_seconds": 1.0}]
SHORT = SMALLEST_RUN | {
    "arch": "osnet_x0_25",
    "model.options": "{}",
    "epochs": 2,
    "val-identities": 0,
    "data.persons": 3,
    "data.batches": 1,
}


def test_the_share_of_waiting():
    found = pipeline.waiting(EPOCHS)
    assert (found["epochs"], found["seconds"], found["data_seconds"]) == (2, 14, 6)
    assert found["share"] == pytest.approx(6 / 14)
    assert found["share_after_first"] == pytest.approx(1 / 4)
    assert pipeline.waiting(EPOCHS[:1])["share_after_first"] is None


def test_frames_are_counted_between_two_clocks(monkeypatch):
    now, arrived = [0.0], []

    def bring(item):
        arrived.append(item)
        now[0] += 1.0 if 3 <= item < 7 else 100.0  # only what is counted is fast
        return torch.zeros(2, SEQ_LEN, 1)

    monkeypatch.setattr(pipeline.time, "perf_counter", lambda: now[0])
    compute = Compute(torch.device("cpu"), torch.float32)
    rate = pipeline.frames_per_second((range(9), bring), skipped=3, counted=4, compute=compute)
    assert rate == 2 * SEQ_LEN
    assert len(arrived) == 9  # the workers had more to do when the clock stopped


@pytest.mark.parametrize("name", pipeline.PIPELINES)
def test_both_pipelines_bring_normalised_clips(tmp_path, name):
    tracklets = made_up_tracklets(tmp_path, None, 2)
    loader, bring = pipeline.PIPELINES[name](tracklets, 0, 2, 3, torch.device("cpu"))
    batches = [bring(item) for item in loader]
    assert [tuple(b.shape) for b in batches] == [(2, SEQ_LEN, 3, HEIGHT, WIDTH)] * 3
    assert all(b.dtype == torch.float32 and b.abs().max() < 3 for b in batches)


def test_the_whole_command(dataset_folder, run_script, tmp_path):
    output = tmp_path / "pipeline.json"
    arguments = ("--workers", 0, 1, "--batch", 2, "--batches", 1, "--rounds", 1, "--device", "cpu")
    content = run_script("pipeline", *arguments, "--", *to_argv(SHORT | {"root": dataset_folder}), output=output)
    assert [(row["workers"], row["pipeline"]) for row in content["loading"]] == [
        (workers, name) for workers in (0, 1) for name in pipeline.PIPELINES
    ]
    for row in content["loading"]:
        assert row["frames_per_second"]["median"] > 0
        assert row["pipeline"] == "st_reid" or row["over_torchreid"]["median"] == 1
    (run,) = content["training"].values()
    assert run["epochs"] == 2
    assert (run["arch"], run["seq_len"], run["workers"]) == ("osnet_x0_25", 2, 0)
    assert 0 <= run["share"] <= 1
    assert output.with_suffix(".png").stat().st_size > 1000
    assert "training run" in output.with_suffix(".md").read_text()


def test_finished_runs_are_read(run_script, tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EPOCHS))
    content = run_script("pipeline", "--workers", "--runs", run, output=tmp_path / "p.json")
    assert content["training"][str(run)]["share"] == pytest.approx(6 / 14)
    assert content["loading"] == []
