"""Every command that writes, in processes of its own: two at once, stopped, and killed at any moment."""

import json
import random
import shutil
import subprocess
import time
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch
import yaml
from processes import TIME_LIMIT, command, run, start
from safetensors.torch import load_file
from small_data import make_features
from small_models import write_weights
from small_runs import SMALLEST_RUN, to_argv
from test_cli import WITH_SETTINGS, config_of

from st_reid import files, tracklets
from st_reid.errors import UserError
from st_reid.files import LOCK, PARTIAL, locked

OUTPUTS = {
    "extract": "f.npz",
    "tracklets": "cut",
    "append": "cut",
    "train": "run",
    "evaluate": "evaluated",
    "search": "found",
    "group": "groups.csv",
    "calibrate": "calibration",
    "check": "checked",
    "report": "page.html",
    "export": "model.pth",
}
"""What each writes. ``append`` is ``tracklets --append``."""
STATUS = {"SIGTERM": 143, "SIGINT": 130}
TRIALS = 20
LOCKED = 6
"""The number of a write before which the lock is taken."""


def _write_video(folder, name):
    writer = cv2.VideoWriter(str(folder / f"{name}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    lines = []
    for i in range(6):
        frame = np.full((48, 64, 3), 40 + 10 * i, np.uint8)
        writer.write(frame)
        lines += [f"{i + 1},{track},{4 * i + 10 * track},5,10,30,1,-1,-1,-1" for track in (1, 2)]
    writer.release()
    (folder / f"{name}.txt").write_text("\n".join(lines))
    return ["--video", folder / f"{name}.avi", "--tracks", folder / f"{name}.txt"]


@pytest.fixture(scope="module")
def inputs(dataset_folder, tmp_path_factory):
    """The command line of each but for its output, and what has to be in the folder before. Read only."""
    folder = tmp_path_factory.mktemp("inputs")
    features = folder / "features.npz"
    make_features().save(features)
    weights = write_weights("osnet_x0_25", folder / "weights.pth")
    on = ["--device", "cpu", "--precision", "float32"]
    first, second = (_write_video(folder, name) for name in ("gate", "door"))
    (folder / "before").mkdir()
    tracklets.main([*map(str, first), "--output", str(folder / "before" / "cut")])
    small = SMALLEST_RUN | {
        "epochs": 1,
        "validate-every": 1,
        "baselines": "false",
        "data.persons": 2,
        "data.batches": 2,
    }
    (folder / "results").mkdir()
    (folder / "results" / "report.json").write_text(json.dumps({"same": 0.5}))
    argv = {
        "extract": ["--weights", weights, "--root", dataset_folder, "--data.workers", 0, *on],
        "tracklets": first,
        "append": [*second, "--append"],
        "train": to_argv(small | {"root": dataset_folder, "checkpoint.every_steps": 1}),
        "evaluate": ["--features", features],
        "search": ["--features", features, "--query", "t0"],
        "group": ["--features", features, "--threshold", 0.5],
        "calibrate": ["--features", features, "--far", 0.1, "--samples", 5],
        "check": ["--root", dataset_folder, "--read", "false", "--persons", 2],
        "report": ["--folder", folder / "searched"],
        "export": ["--weights", weights, "--format", "torchreid"],
    }
    log = folder / "log"
    searched = [*argv["search"], "--output", folder / "searched"]
    assert run(command, "search", searched, folder / "searched", log=log) == 0, log.read_text()
    return argv, folder / "before"


class Trial:
    """A command with a folder ``out`` of its own, in which only its output is."""

    def __init__(self, name, inputs, folder):
        self.name = name
        self.folder = folder / "out"
        self.output = self.folder / OUTPUTS[name]
        self.log = folder / "log"
        argv, before = inputs
        self._argv = argv[name]
        self._before = before if name == "append" else None
        self.begin()
        self.before = self.listing()

    def begin(self):
        """Begin with what has to be there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._before is None:
            self.folder.mkdir(parents=True)
        else:
            shutil.copytree(self._before, self.folder)

    def is_done(self):
        """Whether it is there, of what cannot be done again."""
        if self.name == "append":
            return "door_c1" in (self.output / "manifest.csv").read_text()
        return self.name != "train" and self.output.exists()

    def arguments(self, *faults):
        """Return what to run; a run that has begun is resumed."""
        argv = [*self._argv, "--output", self.output]
        if self.name == "train" and (self.output / "config.yaml").exists():
            argv = ["--resume", self.output]
        return command, {"append": "tracklets"}.get(self.name, self.name), argv, self.folder, *faults

    def run(self, *faults):
        self.log.unlink(missing_ok=True)
        return run(*self.arguments(*faults), log=self.log)

    def listing(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))

    def leftovers(self):
        return [name for name in self.listing() if LOCK in name or PARTIAL in name]

    def writes(self):
        return int(self.folder.with_name("out.writes").read_text())

    def content(self):
        paths = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and not p.name.startswith("events.out")]
        return {str(p.relative_to(self.folder)): _content(p, str(self.folder)) for p in paths}


def _content(file, folder):
    """Return what is in a file, without times and the place where it lies."""
    if file.suffix == ".npz":
        with np.load(file) as archive:
            return {name: archive[name] for name in archive.files}
    if file.suffix == ".pth":
        return _timeless(torch.load(file, weights_only=True))
    if file.suffix in (".json", ".jsonl"):
        return [_timeless(json.loads(part)) for part in ([file.read_text()] if file.suffix == ".json" else open(file))]
    if file.suffix == ".yaml":
        return _timeless(yaml.safe_load(file.read_text()))
    if file.suffix == ".safetensors":
        return load_file(file)
    return file.read_bytes().replace(folder.encode(), b"")


def _timeless(value):
    if isinstance(value, dict):
        return {
            k: _timeless(v)
            for k, v in value.items()
            if "second" not in str(k) and k not in ("memory_gb", "output", "resume")
        }
    return [_timeless(item) for item in value] if isinstance(value, list | tuple) else value


def assert_same(found, expected, where=""):
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=where)  # batches after a kill are others
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert np.array_equal(found, expected), where


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    """Return what a command writes that nothing happens to, how often it writes, and the seconds it takes."""
    known = {}

    def of(name):
        if name not in known:
            trial = Trial(name, inputs, tmp_path_factory.mktemp(name))
            began = time.monotonic()
            assert trial.run() == 0, trial.log.read_text()
            assert trial.leftovers() == []
            known[name] = trial.content(), trial.writes(), time.monotonic() - began
        return known[name]

    return of


def _finish(trial, expected):
    assert trial.run() == 0, trial.log.read_text()
    assert trial.leftovers() == []
    assert_same(trial.content(), expected)


def assert_done(trial, expected):
    """Assert that it is as without a kill; the same command says that it is there, and leaves nothing beside it."""
    assert trial.run() == (0 if trial.name == "train" else 2), trial.log.read_text()
    assert trial.leftovers() == []
    assert_same(trial.content(), expected)


def _second_of_two(trial, expected, at=LOCKED):
    """Let a second one come while the first is writing: it is told who that is, and nothing is lost."""
    first_log = trial.log.with_name("first")
    first = start(*trial.arguments("paused", at), log=first_log)
    paused = trial.folder.with_name("out.paused")
    deadline = time.monotonic() + TIME_LIMIT
    try:
        while not paused.exists() and first.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert paused.exists(), first_log.read_text()
        assert trial.run() == 2, trial.log.read_text()
        *_, line = trial.log.read_text().splitlines()
        assert f"{trial.output} is being written by process {first.pid} on " in line
        paused.unlink()
        first.join(TIME_LIMIT)
    finally:
        first.kill()
    assert first.exitcode == 0, first_log.read_text()
    assert trial.leftovers() == []
    assert_same(trial.content(), expected)


def _stop(trial, signal, at, expected):
    """Send a signal: it ends with one line, and what it was to write is not there, or whole."""
    assert trial.run(signal, at) == STATUS[signal], trial.log.read_text()
    *_, line = trial.log.read_text().splitlines()
    assert f": stopped by {signal}; " in line
    assert "Traceback" not in trial.log.read_text()
    assert trial.leftovers() == []
    if trial.name in ("train", "extract"):  # they go on where they were
        return
    if trial.listing() != trial.before:
        assert_same(trial.content(), expected)
    trial.begin()


@pytest.mark.parametrize("name", OUTPUTS)
def test_stopped_then_killed_then_two_at_once(name, inputs, undisturbed, tmp_path):
    expected, writes, _ = undisturbed(name)
    draw = random.Random(name)
    trial = Trial(name, inputs, tmp_path)
    _stop(trial, draw.choice(list(STATUS)), draw.randint(LOCKED, writes - 1), expected)
    assert trial.run("killed", draw.randint(LOCKED, min(writes, LOCKED + 4))) == -9, trial.log.read_text()
    if trial.is_done():
        assert_done(trial, expected)
        trial.begin()
    _second_of_two(trial, expected)


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_lock_is_taken_before_anything_is_read(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0)
    _, required = config_of(name)
    if "output" not in required:
        pytest.skip("where its output goes depends on what it reads")
    argv = to_argv(required | {"output": tmp_path / "out"})
    with locked(tmp_path / "out"), pytest.raises(UserError, match="is being written by process"):
        import_module(f"st_reid.{name}").main(argv)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "tracklets" else pytest.mark.slow) for n in OUTPUTS])
def test_a_full_disk(name, inputs, undisturbed, disk_of, tmp_path):
    expected, _, _ = undisturbed(name)
    trial = Trial(name, inputs, disk_of("64k" if name == "append" else "4k"))
    trial.log = tmp_path / "log"
    assert trial.run() == 2, trial.log.read_text()
    *_, line = trial.log.read_text().splitlines()
    assert str(trial.output.parent) in line
    assert "No space left on device" in line or "is the disk full?" in line
    assert trial.leftovers() == []
    if name not in ("train", "extract"):
        assert trial.listing() == trial.before
    subprocess.run(["mount", "-o", "remount,size=64m", trial.folder.parent], check=True)
    _finish(trial, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_second_one_at_any_moment(name, inputs, undisturbed, tmp_path):
    expected, writes, _ = undisturbed(name)
    draw = random.Random(name)
    for number in range(TRIALS):
        trial = Trial(name, inputs, tmp_path / str(number))
        _second_of_two(trial, expected, draw.randint(LOCKED, writes))


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_two_at_once(name, inputs, undisturbed, tmp_path):
    expected, _, _ = undisturbed(name)
    told = 0
    for number in range(TRIALS):
        trial = Trial(name, inputs, tmp_path / str(number))
        logs = [trial.log.with_name(f"log{i}") for i in (0, 1)]
        both = [start(*trial.arguments(), log=log) for log in logs]
        for process in both:
            process.join(TIME_LIMIT)
        codes = sorted(process.exitcode for process in both)
        said = "".join(log.read_text() for log in logs)
        assert codes in ([0, 2], [0, 0]), said
        assert codes == [0, 2] or name == "report"  # which may be written again
        told += f"{trial.output} is being written by process " in said
        assert trial.leftovers() == []
        assert_same(trial.content(), expected)
    print(f"{name}: {told} of {TRIALS} second ones came while the first was writing, the others when it had ended")


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_killed_at_any_moment(name, inputs, undisturbed, tmp_path):
    expected, _, seconds = undisturbed(name)
    draw = random.Random(name)
    killed = 0
    for number in range(TRIALS):
        trial = Trial(name, inputs, tmp_path / str(number))
        process = start(*trial.arguments(), log=trial.log)
        process.join(draw.uniform(0, seconds))
        process.kill()
        process.join()
        killed += process.exitcode == -9
        if process.exitcode == -9 and not trial.is_done():
            _finish(trial, expected)
        assert_done(trial, expected)
    print(f"{name}: {killed} of {TRIALS} were killed before they had ended")


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_killed_or_stopped_before_each_write(name, inputs, undisturbed, tmp_path):
    expected, writes, _ = undisturbed(name)
    draw = random.Random(name)
    print(f"{name}: {writes} writes")
    for at in sorted(draw.sample(range(1, writes + 1), min(writes, TRIALS))):
        for fault in ("killed", draw.choice(list(STATUS))):
            trial = Trial(name, inputs, tmp_path / f"{fault}{at}")
            status = trial.run(fault, at)
            assert status == STATUS.get(fault, -9), (at, trial.log.read_text())
            assert fault == "killed" or trial.leftovers() == [], at
            if not trial.is_done():
                _finish(trial, expected)
            assert_done(trial, expected)
