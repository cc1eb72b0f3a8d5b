"""The table over runs: means and deviations of reports, runs that fail, runs that are there already."""

import json
import sys

import numpy as np
import pytest

from benchmarks import accuracy


def report(mean_ap, joint=None, seconds=10):
    row = {"mAP": mean_ap, "rank1": mean_ap / 2, "mINP": mean_ap / 4}
    protocol = {"frames": "clips of 4 at 64 x 32, sampler all"}
    content = {"appearance": row, "train_seconds": seconds, "protocol": protocol}
    return content if joint is None else content | {"joint": row | {"mAP": joint}}


def test_means_and_deviations():
    summary = accuracy.summarise([report(0.5, 0.6), report(0.7, 0.8, seconds=20)])
    figure = summary["rankings"]["appearance"]["mAP"]
    assert figure["mean"] == pytest.approx(0.6)
    assert figure["deviation"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert summary["rankings"]["joint"]["mAP"]["mean"] == pytest.approx(0.7)
    assert (summary["runs"], summary["train_seconds"]) == (2, 15)


def test_the_best_comes_first_with_the_reported_figure_beside():
    text = accuracy.table(
        {
            "hacnn_softmax": accuracy.summarise([report(0.3)]),
            "resnet50mid_triplet": accuracy.summarise([report(0.5, 0.6), report(0.7, 0.8)]),
        }
    ).splitlines()
    assert text[2].startswith("| resnet50mid_triplet | appearance | 60.0 ± 14.1 |")
    assert text[2].endswith("| 77.8% / 68.0% |")
    assert "| 2 | clips of 4 at 64 x 32 | 10 s |" in text[2]
    assert text[3].startswith("|  | joint | 70.0 ± 14.1 |")
    assert text[4].startswith("| hacnn_softmax | appearance | 30.0 | 15.0 |")


def run(argv, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["accuracy", *map(str, argv)])
    with pytest.raises(SystemExit) as end:
        accuracy.main()
    return end.value.code


def test_finished_runs_are_used_and_failed_ones_named(tmp_path, monkeypatch, capsys):
    for name in ("good", "bad"):
        (tmp_path / f"{name}.yaml").write_text("sources: nowhere\n")
    for seed in (0, 1):
        folder = tmp_path / "out" / f"good-seed{seed}"
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(report(0.4 + seed / 10)))
    configs = [tmp_path / "good.yaml", tmp_path / "bad.yaml"]
    assert run([*configs, "--seeds", 0, 1, "--output", tmp_path / "out", "--", "--epochs", 1], monkeypatch) == 1
    content = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert content["failed"] == ["bad-seed0", "bad-seed1"]
    assert content["results"]["good"]["rankings"]["appearance"]["mAP"]["mean"] == pytest.approx(0.45)
    assert content["train_arguments"] == ["--epochs", "1"]
    assert "unknown dataset 'nowhere'" in (tmp_path / "out" / "bad-seed0.log").read_text()
    assert (tmp_path / "out" / "accuracy.png").stat().st_size > 1000
    assert "bad-seed0: failed" in capsys.readouterr().out
