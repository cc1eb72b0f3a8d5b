"""What is in the folder of a run, and what may be begun or resumed in it."""

import os

import pytest

from st_reid.config import TrainConfig
from st_reid.errors import UserError
from st_reid.files import LOCK, PARTIAL
from st_reid.training.run_folder import Checkpoints, check_folder


def saved(folder):
    return [path.name for path in Checkpoints(folder, 1).newest_first()]


def test_checkpoints_are_ordered_by_their_names(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for number, (epoch, batch) in enumerate([(9998, 3), (9999, 99999), (10000, 0), (10000, 100000)]):
        checkpoints.save({"epoch": epoch}, epoch, batch)
        os.utime(checkpoints.newest_first()[0], (1000 - number, 1000 - number))  # the clock is set back
    assert saved(tmp_path) == ["epoch10000-batch100000.pth", "epoch10000-batch00000.pth"]


def test_what_is_ahead_of_where_a_run_resumes_is_dropped(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for batch in (1, 2, 3):
        checkpoints.save({"batch": batch}, 0, batch)
    checkpoints.save({"batch": 2}, 0, 2)  # as a run does that resumes from it
    assert saved(tmp_path) == ["epoch0000-batch00002.pth"]
    checkpoints.save({"batch": 4}, 0, 4)
    assert saved(tmp_path) == ["epoch0000-batch00004.pth", "epoch0000-batch00002.pth"]


def test_a_run_that_was_killed_before_it_had_begun_begins(tmp_path):
    config = TrainConfig(sources="walkers", output=str(tmp_path / "run"))
    left = tmp_path / "run" / f".config.yaml{PARTIAL}0123456789abcdef"
    left.mkdir(parents=True)
    (tmp_path / "run" / f".run{LOCK}").touch()
    assert check_folder(config) == tmp_path / "run"
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(UserError, match="holds a run already"):
        check_folder(config)
