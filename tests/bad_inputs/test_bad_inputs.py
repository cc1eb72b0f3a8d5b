"""Bad inputs of every command: exit status 2, one line that says what and where, and nothing left behind."""

import json
import re
import subprocess
import sys
from importlib import import_module

import cv2
import numpy as np
import pytest
import rows_files
import rows_options
from small_data import make_features, write_dataset
from small_models import write_weights

TINY = "--arch=psta_osnet_x0_25 --model.pretrained=false --height=32 --width=32 --seq-len=2 --data.workers=0 --epochs=0"
GOOD = {
    "train": f"--sources=manifest --root={{good}} --output={{out}}/run --data.persons=2 --device=cpu {TINY}",
    "evaluate": "--weights={good}/weights.pth --sources=manifest --root={good} --output={out}/x --device=cpu",
    "extract": "--weights={good}/weights.pth --sources=manifest --root={good} --output={out}/x.npz --device=cpu",
    "export": "--weights={good}/weights.pth --output={out}/x.onnx",
    "search": "--features={good}/features.npz --query=t1 --output={out}/x --device=cpu",
    "check": "--root={good} --output={out}/x --persons=2",
    "calibrate": "--features={good}/features.npz --output={out}/x --far=0.1",
    "group": "--features={good}/features.npz --output={out}/x.csv --threshold=0.5",
    "report": "--folder={good}/found --output={out}/x.html",
    "tracklets": "--video={good}/walk.avi --tracks={good}/boxes.txt --output={out}/x",
}
"""What would work; what a row gives comes instead."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A dataset, weights, features, a calibration, a video, its boxes, and the folder of a search. Read only."""
    folder = write_dataset(tmp_path_factory.mktemp("good"), persons=3, frames=2)
    write_weights("osnet_x0_25", folder / "weights.pth")
    make_features().save(folder / "features.npz")
    calibration = {"same": 0.5, "unsure": 0.2, "false_accept_rate": 0.1, "about": {"fingerprint": "abc"}}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    writer = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    (folder / "boxes.txt").write_text("".join(f"{frame},7,10,10,20,30,0.9\n" for frame in (1, 2, 3)))
    (folder / "classes.txt").write_text("1,7,10,10,20,30,0.9,1,1\n")
    return folder


OPTIONS = [(command, options, None, None, says, options) for command, options, says in rows_options.rows()]
ROWS = OPTIONS + list(rows_files.rows())


def argv_of(command, options, places):
    """Return the arguments: those that would work, without the ones that are given instead."""
    given = [
        argument
        for option in re.split(r" (?=--)", options)
        for argument in ([option] if "=" in option else option.split(" "))
    ]
    names = {option.partition("=")[0].replace("-", "_") for option in given}
    kept = [option for option in GOOD[command].split() if option.partition("=")[0].replace("-", "_") not in names]
    argv = [*kept, *(option for option in given if option)]
    for name, path in places.items():
        argv = [argument.replace(f"{{{name}}}", str(path)) for argument in argv]
    return argv


@pytest.fixture
def places(good, tmp_path):
    """Folders of what is good, of what is bad, and for the output."""
    for name in ("bad", "out"):
        (tmp_path / name).mkdir()
    return {"good": good, "bad": tmp_path / "bad", "out": tmp_path / "out"}


def prepare(row, places):
    """Write the bad file; return the command's arguments and what must be said."""
    command, options, name, content, says, _ = row
    if name is not None:
        (places["bad"] / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for place, path in places.items():
        says = says.replace(f"{{{place}}}", str(path))
    return argv_of(command, options, places), says


def check(row, places, command_error, monkeypatch):
    argv, says = prepare(row, places)
    monkeypatch.chdir(places["bad"])
    before = sorted(path.name for path in places["bad"].iterdir())
    line = command_error(import_module(f"st_reid.{row[0]}").main, argv, monkeypatch)
    assert says in line
    assert len(line) > len("command: error: ") + 10
    assert list(places["out"].iterdir()) == []
    assert sorted(path.name for path in places["bad"].iterdir()) == before


def named(rows):
    return [pytest.param(row, id=f"{row[0]}-{row[5]}".replace("{", "").replace("}", "")) for row in rows]


@pytest.mark.parametrize("row", named(ROWS[::7]))
def test_sample(row, places, command_error, monkeypatch):
    check(row, places, command_error, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("row", named([row for i, row in enumerate(ROWS) if i % 7]))
def test_the_rest(row, places, command_error, monkeypatch):
    check(row, places, command_error, monkeypatch)


PROCESSES = ["train---epochs=-1", "search---top=x", "group---threshold=nan", "calibrate---far=nan"]
WITH_TORCH = ["tracklets---camera=a:b", "evaluate-b.pth: a pickle that runs"]
BY_NAME = {parameter.id: row for row, parameter in zip(ROWS, named(ROWS), strict=True)}


@pytest.mark.parametrize("name", [*PROCESSES, *(pytest.param(name, marks=pytest.mark.slow) for name in WITH_TORCH)])
def test_as_a_process(name, places):
    row = BY_NAME[name]
    argv, says = prepare(row, places)
    done = subprocess.run(
        [sys.executable, "-m", "st_reid", row[0], *argv], capture_output=True, text=True, timeout=120, check=False
    )
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert lines[0].startswith(f"python -m st_reid.{row[0]}: error: ")
    assert says in lines[0]
    assert list(places["out"].iterdir()) == []


def test_there_are_enough_of_every_command():
    assert len(ROWS) >= 300
    for command in GOOD:
        assert sum(row[0] == command for row in ROWS) >= 10
