"""Whole runs in processes that are killed, run out of disk, or meet what is not a number: nothing is lost."""

import json
import random
import signal
import time

import pytest
import torch
from processes import run, start, train_command
from small_runs import SMALLEST_RUN, to_argv

SETTINGS = SMALLEST_RUN | {
    "epochs": 3,
    "validate-every": 2,
    "baselines": "false",
    "data.persons": 2,
    "data.batches": 3,
    "data.jitter": 0.2,
    "optim.ema": 0.5,
    "checkpoint.every_steps": 1,
}


def arguments(root, output, **changes):
    return to_argv(SETTINGS | {"root": root, "output": output} | changes)


def outcome(folder):
    """Return what must not depend on an interruption: the last checkpoint, the figures, and the report."""
    last = torch.load(folder / "checkpoints" / "last.pth", weights_only=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    content = json.loads((folder / "report.json").read_text())

    def timeless(row):
        return {k: v for k, v in row.items() if "second" not in k and k != "memory_gb"}

    return last, [timeless(row) for row in rows], timeless(content)


def assert_same(folder, undisturbed):
    (a, *figures), (b, *expected) = outcome(folder), outcome(undisturbed)
    assert figures == expected
    for key in ("state_dict", "learned"):
        assert a[key].keys() == b[key].keys()
        assert all(torch.equal(a[key][name], b[key][name]) for name in a[key]), key
    states = a["optimizer"]["state"], b["optimizer"]["state"]
    assert all(torch.equal(states[0][i]["exp_avg_sq"], states[1][i]["exp_avg_sq"]) for i in states[0])
    assert not list(folder.rglob(".*partial*"))


def steps_done(folder):
    path = folder / "checkpoints" / "last.pth"
    if not path.exists():
        return 0
    checkpoint = torch.load(path, weights_only=True)  # it always loads
    return 3 * checkpoint["epoch"] + checkpoint["totals"]["batches"]


@pytest.fixture(scope="module")
def undisturbed(dataset_folder, tmp_path_factory):
    """A run that nothing happened to. Read only."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(train_command, arguments(dataset_folder, folder / "run"), log=folder / "log") == 0
    lines = (folder / "log").read_bytes().decode().split("\n")
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert not any("\r" in line or "it/s" in line for line in lines), "a progress bar in a file"
    return folder / "run"


@pytest.mark.parametrize(
    ("fault", "count", "done"),
    [
        ("killed while writing", 6, 3),  # written are the start, three steps, the end of the epoch, and the fourth step
        ("killed before the rename", 15, 3),  # each of them has two names, and config.yaml and metrics.jsonl have one
        ("killed in mid-step", 6, 5),
    ],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(fault, count, done, dataset_folder, undisturbed, tmp_path):
    killed, log = tmp_path / "run", tmp_path / "log"
    assert run(train_command, arguments(dataset_folder, killed), fault, count, log=log) == -signal.SIGKILL
    assert not (killed / "report.json").exists()
    assert steps_done(killed) == done
    assert run(train_command, ["--resume", killed], log=log) == 0, log.read_text()
    assert_same(killed, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_at_any_moment(seed, dataset_folder, undisturbed, tmp_path):
    killed, log = tmp_path / "run", tmp_path / "log"
    process = start(train_command, arguments(dataset_folder, killed), log=log)
    deadline = time.monotonic() + 60
    while not killed.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 2))
    process.kill()
    process.join()
    before = steps_done(killed)
    assert run(train_command, ["--resume", killed], log=log) == 0, log.read_text()
    assert f"epoch {before // 3 + 1}/3" in log.read_text() or before == 9
    assert_same(killed, undisturbed)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(signum, dataset_folder, undisturbed, tmp_path):
    stopped, log = tmp_path / "run", tmp_path / "log"
    # Only the signal makes it save within an epoch.
    argv = arguments(dataset_folder, stopped, **{"checkpoint.every_steps": "null"})
    assert run(train_command, argv, signum.name, 5, log=log) == 128 + signum
    assert log.read_text().splitlines()[-1] == f"train: stopped by {signum.name}; resume with --resume {stopped}"
    assert steps_done(stopped) == 5
    assert run(train_command, ["--resume", stopped], log=log) == 0, log.read_text()
    assert_same(stopped, undisturbed)


@pytest.mark.parametrize(
    ("fault", "workers", "done"),
    [
        ("SIGTERM to its group", 2, 5),  # Slurm, systemd: the workers get it too
        ("SIGTERM twice", 0, 5),  # Slurm signals torchrun and its processes, and torchrun signals them again
        ("SIGTERM while saving", 0, 3),  # the end of the first epoch
    ],
)
def test_no_way_of_asking_costs_a_step(fault, workers, done, dataset_folder, undisturbed, tmp_path):
    stopped, log = tmp_path / "run", tmp_path / "log"
    argv = arguments(dataset_folder, stopped, **{"checkpoint.every_steps": "null", "data.workers": workers})
    assert run(train_command, argv, fault, 2 if "saving" in fault else 5, log=log) == 128 + signal.SIGTERM
    assert steps_done(stopped) == done
    assert run(train_command, ["--resume", stopped], log=log) == 0, log.read_text()
    assert_same(stopped, undisturbed)


def test_a_full_disk_costs_one_checkpoint(dataset_folder, undisturbed, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    assert run(train_command, arguments(dataset_folder, folder), "full disk", 5, log=log) == 2
    *_, line = log.read_text().splitlines()
    assert line.startswith("train: error: cannot write checkpoint")
    assert "File too large" in line
    assert "Traceback" not in log.read_text()
    assert steps_done(folder) == 3
    assert run(train_command, ["--resume", folder], log=log) == 0, log.read_text()
    assert_same(folder, undisturbed)


def test_a_truncated_checkpoint_is_named_and_the_one_before_it_offered(dataset_folder, undisturbed, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    assert run(train_command, arguments(dataset_folder, folder), "killed in mid-step", 6, log=log) == -signal.SIGKILL
    last = folder / "checkpoints" / "last.pth"
    with open(last, "r+b") as file:
        file.truncate(last.stat().st_size // 2)
    assert run(train_command, ["--resume", folder], log=log) == 2
    line = log.read_text().splitlines()[-1]
    assert str(last) in line
    assert "; the one before it is whole: --resume " in line
    other = line.rpartition("--resume ")[2]
    assert run(train_command, ["--resume", other], log=log) == 0, log.read_text()
    assert_same(folder, undisturbed)


def test_a_worker_that_dies(dataset_folder, tmp_path):
    log = tmp_path / "log"
    argv = arguments(dataset_folder, tmp_path / "run", **{"data.workers": 1})
    assert run(train_command, argv, "killed in a worker", 3, log=log) == 2
    assert "a process that reads images died" in log.read_text().splitlines()[-1]


def test_what_is_not_a_number_stops_the_run_with_the_tracklets_named(dataset_folder, tmp_path):
    log = tmp_path / "log"
    assert run(train_command, arguments(dataset_folder, tmp_path / "run"), "not a number", 5, log=log) == 2
    line = log.read_text().splitlines()[-1]
    assert line.startswith("train: error: the loss is nan at epoch 2, batch 2, learning rate ")
    assert line.count("p") >= 4
    assert "tracklets p" in line


def test_what_is_not_a_number_is_skipped_on_request(dataset_folder, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    argv = arguments(dataset_folder, folder, **{"optim.on_bad_loss": "skip"})
    assert run(train_command, argv, "not a number", 5, log=log) == 0
    assert "skipped: the loss is nan at epoch 2, batch 2, tracklets p" in log.read_text()
    last, rows, _ = outcome(folder)
    assert [row["skipped"] for row in rows] == [0, 1, 0]
    assert all(value.isfinite().all() for value in last["learned"].values())


def test_an_unreadable_image_in_the_middle_is_named_and_the_run_goes_on(
    own_dataset_folder, undisturbed, dataset_folder, tmp_path
):
    image = own_dataset_folder / "images/p0c0/002.jpg"
    content = image.read_bytes()
    image.write_bytes(content[:200])
    folder, log = tmp_path / "run", tmp_path / "log"
    argv = arguments(own_dataset_folder, folder, **{"val-identities": 0, "data.batches": 12, "data.persons": 3})
    assert run(train_command, argv, log=log) == 2
    assert str(image) in log.read_text().splitlines()[-1]
    done = torch.load(folder / "checkpoints" / "last.pth", weights_only=True)["totals"]["batches"]
    image.write_bytes(content)
    assert run(train_command, ["--resume", folder], log=log) == 0, log.read_text()
    assert done < 12
