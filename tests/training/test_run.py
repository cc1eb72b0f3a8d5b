"""Whole runs on six persons who differ in colour: train, resume, and everything that can be wrong."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from small_runs import LEARNING_RUN, to_argv

import st_reid
from st_reid import train
from st_reid.data.datasets import read_dataset
from st_reid.errors import UserError


def arguments(root, output, **changes):
    return to_argv(LEARNING_RUN | {"root": root, "output": output} | changes)


def report(folder):
    return json.loads((folder / "report.json").read_text())


def timeless(content):
    return {key: value for key, value in content.items() if not key.endswith("_seconds")}


def test_the_run_folder_holds_what_is_promised(finished_run):
    files = {str(p.relative_to(finished_run)) for p in finished_run.rglob("*") if p.is_file()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "report.json",
        "checkpoints/last.pth",
        "checkpoints/best.pth",
        "checkpoints/best.safetensors",
        "plots/cmc.png",
        "plots/contact_sheet.png",
        "plots/training.png",
        "plots/transit_times.png",
        "plots/changed_by_joint.png",
        "spatial_temporal.npz",
    } <= files
    assert any("tfevents" in f for f in files)
    assert not [f for f in files if "partial" in f]
    content = report(finished_run)
    assert content["arch"] == "psta_resnet18"
    assert (content["num_query"], content["num_gallery"]) == (6, 12)
    for key in ("untrained", "color_histogram", "one_frame", "shuffled", "appearance", "camera_mask", "joint"):
        assert set(content[key]) >= {"rank1", "rank5", "rank10", "mAP"}
        assert 0 <= content[key]["mAP"] <= 1
    assert content["protocol"]["junk"].startswith("same_camera")
    assert "validation identities" in content["best"]
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_colours_are_told_apart_by_a_histogram(finished_run):
    assert report(finished_run)["color_histogram"]["rank1"] == 1


def test_two_runs_with_one_seed_agree_and_workers_do_not_matter(finished_run, dataset_folder, tmp_path):
    train.main(arguments(dataset_folder, tmp_path / "again", **{"data.workers": 2}))
    assert timeless(report(tmp_path / "again")) == timeless(report(finished_run))


@pytest.mark.slow
def test_another_seed_gives_another_run(finished_run, dataset_folder, tmp_path):
    train.main(arguments(dataset_folder, tmp_path / "other", seed=1, baselines="false"))
    losses = [(p / "metrics.jsonl").read_text().split('"loss": ')[1][:12] for p in (finished_run, tmp_path / "other")]
    assert losses[0] != losses[1]
    assert "untrained" not in report(tmp_path / "other")


def test_a_resumed_run_ends_as_the_undisturbed_one(finished_run, dataset_folder, tmp_path, monkeypatch):
    half = tmp_path / "half"
    train.main(arguments(dataset_folder, half, epochs=1, **{"optim.schedule": "steps"}))
    monkeypatch.chdir(tmp_path)  # a run is resumed where it lies, wherever one stands
    train.main(["--resume", str(half), "--epochs", "2"])
    assert timeless(report(half)) == timeless(report(finished_run))
    assert not (tmp_path / "runs").exists()
    a, b = (torch.load(f / "checkpoints/last.pth", weights_only=True)["state_dict"] for f in (half, finished_run))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_holds_no_code_and_torchreids_keys(finished_run):
    checkpoint = torch.load(finished_run / "checkpoints" / "last.pth", weights_only=True)
    assert {"state_dict", "epoch", "rank1", "optimizer", "scheduler"} <= set(checkpoint)
    assert type(checkpoint["rank1"]) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "PSTA"}, "unknown model"),
        ({"arch": "psta_resnet5"}, "unknown model 'psta_resnet5'; did you mean .*'psta_resnet50'"),
        ({"data.sampler": "random_intervals"}, "unknown sampler .* did you mean 'random_interval'"),
        ({"eval.sampler": "every"}, "unknown sampler"),
        ({"sources": "mar"}, "unknown dataset 'mar'; did you mean 'mars'"),
        ({"sources": "mars"}, "mars: no folder with .*bbox_train.*looked at"),
        ({"model.options": "{dims: 3}"}, "unknown option of model 'psta_resnet18' 'dims'; did you mean 'dim'"),
        ({"model.pretrained": "missing.pth"}, "missing.pth"),
        ({"data.persons": 50}, "identities to train on; a batch needs 50"),
        ({"val-identities": 7}, "val_identities is 7; expected 0, or 2 up to the 6 training identities"),
        ({"val-identities": 1}, "val_identities is 1; expected 0, or 2"),
        ({"model.options": "{dim: wide}"}, "option 'dim' of model .* is 'wide'; expected int"),
        ({"model.options": "{name: resnet18}"}, "unknown option of model"),
        ({"data.options": "{root: x}"}, "unknown option of dataset 'manifest' 'root'"),
        ({"data.persons": 1, "data.clips": 1}, "a batch of 1 clip"),
        ({"data.workers": -1}, "data.workers is -1"),
        ({"eval.batch": 0}, "eval.batch is 0"),
        ({"data.flip": 2}, "data.flip is 2"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used"),
        ({"epochs": -1}, "epochs is -1"),
        ({"precision": "float16"}, "precision float16 needs a GPU, and the device is cpu; pass bfloat16 or float32"),
        ({"optim.ema": 1}, "optim.ema is 1"),
        ({"optim.clip_norm": 0}, "optim.clip_norm is 0"),
        ({"optim.accumulate": 0}, "optim.accumulate is 0"),
        ({"optim.sync_batchnorm": "true"}, "optim.sync_batchnorm needs GPUs"),
        ({"checkpoint.keep": 0}, "checkpoint.keep is 0"),
        ({"optim.lr": 0}, "optim.lr is 0"),
        ({"resume": "/nonexistent/checkpoints/last.pth"}, "nothing to resume at /nonexistent"),
        ({"resume": "/last.pth"}, "nothing to resume at /last.pth"),
    ],
)
def test_mistakes_write_nothing(changes, message, dataset_folder, tmp_path, command_error, monkeypatch):
    error = command_error(train.main, arguments(dataset_folder, tmp_path / "out", **changes), monkeypatch)
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_cannot_be_made(dataset_folder, command_error, monkeypatch):
    error = command_error(train.main, arguments(dataset_folder, dataset_folder / "manifest.csv" / "run"), monkeypatch)
    assert re.search("output .* cannot be made", error)


def test_a_finished_run_is_not_overwritten(finished_run, dataset_folder, command_error, monkeypatch):
    before = (finished_run / "report.json").read_bytes()
    assert "holds a run already" in command_error(train.main, arguments(dataset_folder, finished_run), monkeypatch)
    assert (finished_run / "report.json").read_bytes() == before


def test_another_seed_is_another_run_and_not_a_resumption(finished_run, command_error, monkeypatch):
    error = command_error(train.main, ["--resume", finished_run, "--seed", "3"], monkeypatch)
    assert "seed is 3, and was 0 in the run that is resumed" in error


def test_a_run_that_failed_in_its_first_epoch_is_resumed(own_dataset_folder, tmp_path, command_error, monkeypatch):
    image = own_dataset_folder / "images/p0c0/002.jpg"
    content = image.read_bytes()
    image.unlink()
    changes = {"epochs": 1, "baselines": "false", "val-identities": 0, "data.batches": 6}
    argv = arguments(own_dataset_folder, tmp_path / "out", **changes)
    command_error(train.main, argv, monkeypatch)
    image.write_bytes(content)
    train.main(["--resume", str(tmp_path / "out")])
    assert report(tmp_path / "out")["best"].startswith("the last epoch, 1")


def test_patience_ends_a_run_that_gets_no_better(dataset_folder, tmp_path):
    changes = {"epochs": 9, "patience": 2, "optim.lr": 1e-12, "baselines": "false"}
    train.main(arguments(dataset_folder, tmp_path / "out", **changes))
    content = report(tmp_path / "out")
    assert (content["epochs"], content["stopped_early"]) == (3, True)
    assert content["best"].startswith("epoch 3,")  # of equals the latest


def test_the_last_checkpoints_are_kept(finished_run):
    names = sorted(path.name for path in (finished_run / "checkpoints").glob("epoch*"))
    assert names == ["epoch0001-batch00002.pth", "epoch0002-batch00000.pth"]
    assert (finished_run / "checkpoints" / "last.pth").samefile(finished_run / "checkpoints" / names[-1])


def test_a_run_without_a_checkpoint_yet_begins_when_it_is_resumed(finished_run, tmp_path, caplog):
    (tmp_path / "begun").mkdir()
    shutil.copy(finished_run / "config.yaml", tmp_path / "begun")
    with caplog.at_level("INFO"):
        train.main(["--resume", str(tmp_path / "begun")])
    assert "from the start" in caplog.text
    assert timeless(report(tmp_path / "begun")) == timeless(report(finished_run))


def test_weights_to_pass_on_are_those_of_the_best_checkpoint(finished_run, tmp_path):
    ours = st_reid.load_model(finished_run / "checkpoints" / "best.pth").state_dict()
    passed_on = st_reid.load_model(finished_run / "checkpoints" / "best.safetensors").state_dict()
    torch.testing.assert_close(passed_on, ours, rtol=0, atol=0)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((finished_run / "checkpoints" / "best.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut.safetensors cannot be read .*complete"):
        st_reid.load_model(cut)


def test_no_epochs_report_the_untrained_model(dataset_folder, tmp_path):
    train.main(arguments(dataset_folder, tmp_path / "out", epochs=0))
    content = report(tmp_path / "out")
    assert content["appearance"] == content["untrained"]
    assert content["best"] == "the untrained model: 0 epochs"
    assert st_reid.load_model(tmp_path / "out/checkpoints/best.pth").feature_dim == 32


def test_queries_without_a_match_are_found_before_training(own_dataset_folder, tmp_path, command_error, monkeypatch):
    manifest = own_dataset_folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("train+gallery", "train"))
    error = command_error(train.main, arguments(own_dataset_folder, tmp_path / "out"), monkeypatch)
    assert "no query has a match" in error
    assert not (tmp_path / "out").exists()


def test_persons_unknown(own_dataset_folder, tmp_path, command_error, monkeypatch):
    manifest = own_dataset_folder / "manifest.csv"
    manifest.write_text(re.sub(r"person\d,", ",", manifest.read_text()))
    error = command_error(train.main, arguments(own_dataset_folder, tmp_path / "out"), monkeypatch)
    assert "have no person" in error


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_bad_image_is_named_or_skipped(own_dataset_folder, tmp_path, command_error, monkeypatch, damage, workers):
    image = own_dataset_folder / "images/p0c0/002.jpg"
    if damage == "truncated":
        image.write_bytes(image.read_bytes()[:300])
    else:
        image.unlink()
    changes = {"data.workers": workers, "epochs": 1, "baselines": "false"}
    argv = arguments(own_dataset_folder, tmp_path / "out", **changes)
    assert str(image) in command_error(train.main, argv, monkeypatch)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    train.main([*argv, "--data.on_bad_image", "skip"])
    assert report(tmp_path / "out")["appearance"]["num_valid"] == 6


def test_a_mistake_in_a_real_process_has_one_line_and_status_2(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "st_reid.train", "--sources", "prid2011", "--root", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert str(tmp_path / "nowhere") in result.stderr
    assert not list(tmp_path.iterdir())


def test_pcb_is_trained_on_images(dataset_folder, tmp_path):
    changes = {"arch": "st_reid_pcb", "optim.name": "sgd", "optim.backbone_lr": 0.1, "optim.levels": "sum", "epochs": 1}
    changes |= {"model.options": "{parts: 2, dim: 8}", "model.loss": "softmax", "data.interpolation": "bicubic"}
    train.main(arguments(dataset_folder, tmp_path / "pcb", **changes, **{"seq-len": 1}))
    assert 0 <= report(tmp_path / "pcb")["appearance"]["mAP"] <= 1


def test_the_configuration_is_in_the_folder(finished_run, dataset_folder):
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert config["root"] == str(dataset_folder)
    assert len(read_dataset(config["sources"], config["root"]).train) == 12
