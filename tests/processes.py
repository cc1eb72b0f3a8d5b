"""Training in processes of its own, that can be killed at a named moment. Forked from one that has torch loaded."""

import faulthandler
import importlib
import io
import itertools
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

import torch

from st_reid import cli, evaluate, files, train
from st_reid.data import frames
from st_reid.evaluation import report
from st_reid.features import parts as feature_parts
from st_reid.training import learner, run_folder
from st_reid.training import run as training_run

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["processes"])
PATHS = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
"""Where the server that processes are forked from finds this module; it says nothing where it does not."""

TIME_LIMIT = 180
"""Seconds that a process may run before it is said to hang."""


def start(target, *arguments, log: Path, environment=None):
    """Start ``target(*arguments)`` in a process whose output goes to ``log``."""
    with patch.dict(os.environ, PYTHONPATH=PATHS):
        forkserver.ensure_running()
    process = CONTEXT.Process(target=_main, args=(target, arguments, str(log), environment or {}))
    process.start()
    return process


def run(target, *arguments, log: Path, environment=None) -> int:
    """Run it to its end; return the exit status, minus the number of the signal that killed it."""
    process = start(target, *arguments, log=log, environment=environment)
    process.join(TIME_LIMIT)
    assert process.exitcode is not None, f"still running\n{log.read_text()}"
    return process.exitcode


def start_several(target, *arguments, log: Path, count=2, ranks=None):
    """Start ``count`` processes that know of each other as `torchrun`'s do, or only those of some ``ranks``."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    return [
        start(
            target,
            *arguments,
            log=log.with_suffix(f".{rank}"),
            environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (range(count) if ranks is None else ranks)
    ]


def _main(target, arguments, log, environment):
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    faulthandler.dump_traceback_later(TIME_LIMIT - 10)  # a hang leaves in its log where it was
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # so that its workers have its faults
    report.draw = training_run.training_curves = lambda *_, **__: None  # most of the time of so small a run
    target(*arguments)


def train_command(argv, fault=None, count=0):
    """``python -m st_reid.train`` with a fault: one of FAULTS, the ``count``-th time that there is occasion."""
    if fault is not None:
        FAULTS[fault](count)
    sys.argv = ["train", *map(str, argv)]
    cli.run(train.main, "train")


def evaluate_command(argv):
    """``python -m st_reid.evaluate``."""
    sys.argv = ["evaluate", *map(str, argv)]
    cli.run(evaluate.main, "evaluate")


WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")


def command(name, argv, folder, fault=None, at=None):
    """``python -m st_reid.NAME``, which meets a fault the ``at``-th time that it is about to write in ``folder``.

    How often it did is written to ``folder.writes``. Extraction keeps every tracklet at once.
    """
    _at_write(os.fspath(folder), at, WRITE_FAULTS.get(fault))
    feature_parts.PART_SECONDS = 0
    sys.argv = [name, *map(str, argv)]
    cli.run(importlib.import_module(f"st_reid.{name}").main, name)


def _at_write(folder, at, fault):
    calls, pid = itertools.count(1), os.getpid()
    told = os.open(f"{folder}.writes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def watch(event, arguments):
        writes = event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and os.getpid() == pid and str(arguments[0]).startswith(folder):
            number = next(calls)
            os.pwrite(told, str(number).encode(), 0)
            if number == at:
                fault(folder)

    sys.addaudithook(watch)


def _pause(folder):
    """Say so in ``folder.paused``, and wait until this file is removed."""
    with open(f"{folder}.paused", "w"):
        pass
    while os.path.exists(f"{folder}.paused"):
        time.sleep(0.01)


WRITE_FAULTS = {
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "SIGINT": lambda _: os.kill(os.getpid(), signal.SIGINT),
    "paused": _pause,
}


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def _before(owner, name, count, fault):
    """Make the ``count``-th call of ``owner.name``, from 1, meet the fault first."""
    original, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def patched(*args, **kwargs):
        if next(calls) == count:
            fault(*args)
        return original(*args, **kwargs)

    setattr(owner, name, patched)


def _half_a_checkpoint(checkpoint, file):
    buffer = io.BytesIO()
    torch.serialization.save(checkpoint, buffer)
    file.write(buffer.getvalue()[: buffer.tell() // 2])
    file.flush()
    _die()


def _full_disk(*_):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))


def _not_a_number(count):
    original, calls = learner.to_float, iter(range(1, 1_000_000))
    learner.to_float = lambda clips: original(clips) * (torch.nan if next(calls) == count else 1)


FAULTS = {
    "killed while writing": lambda count: _before(torch, "save", count, _half_a_checkpoint),
    "killed before the rename": lambda count: _before(files.os, "replace", count, lambda *_: _die()),
    "killed in mid-step": lambda count: _before(learner.Learner, "_update", count, lambda *_: _die()),
    "killed in a worker": lambda count: _before(frames.FrameReader, "read", count, lambda *_: _die()),
    **{
        name: lambda count, name=name: _before(
            learner.Learner, "_update", count, lambda *_: os.kill(os.getpid(), signal.Signals[name])
        )
        for name in ("SIGTERM", "SIGINT")
    },
    "SIGTERM to its group": lambda count: (
        os.setpgid(0, 0),
        _before(learner.Learner, "_update", count, lambda *_: subprocess.run(["kill", "--", f"-{os.getpid()}"])),
    ),
    "SIGTERM twice": lambda count: _before(learner.Learner, "_update", count, lambda *_: [_terminate(), _terminate()]),
    "SIGTERM while saving": lambda count: _before(torch, "save", count, lambda *_: _terminate()),
    "full disk": lambda count: _before(run_folder, "save_checkpoint", count, _full_disk),
    "not a number": _not_a_number,
}
