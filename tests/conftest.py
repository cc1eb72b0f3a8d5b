"""What tests share: small data, and how a command line fails."""

import os
import subprocess

import pytest
import torch
from small_data import write_dataset
from small_runs import LEARNING_RUN, to_argv

# Two workers share two cores; one alone has both.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    """A manifest dataset of 6 persons x 2 cameras x 5 or 6 frames. Read only."""
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def own_dataset_folder(tmp_path):
    """The same, for one test to spoil."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    return write_dataset(folder)


@pytest.fixture(scope="session")
def finished_run(dataset_folder, tmp_path_factory):
    """The folder of a finished run of two epochs. Read only."""
    from st_reid import train

    folder = tmp_path_factory.mktemp("runs") / "psta-tiny-seed0"
    train.main(to_argv(LEARNING_RUN | {"root": dataset_folder, "output": folder}))
    return folder


@pytest.fixture
def disk_of(tmp_path):
    """Make a disk of a size; skip where that is not permitted."""
    disk = tmp_path / "disk"

    def mount(size):
        disk.mkdir()
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
        if subprocess.run(mounting, capture_output=True).returncode:
            pytest.skip("mounting is not permitted here")
        return disk

    yield mount
    subprocess.run(["umount", "--lazy", disk], capture_output=True)


@pytest.fixture
def command_error(capsys):
    """Run a command's main as the command line does; return the one line of its error, the exit status being 2."""

    def check(main, argv, monkeypatch):
        from st_reid import cli

        monkeypatch.setattr("sys.argv", ["command", *map(str, argv)])
        with pytest.raises(SystemExit) as exit_status:
            cli.run(main, "command")
        captured = capsys.readouterr()
        assert exit_status.value.code == 2, captured.err
        lines = [line for line in captured.err.splitlines() if line.strip()]
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("command: error: ")
        return lines[0]

    return check
