"""How a command ends: its exit status, the one line, ``--debug``, and an output that cannot be written."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from st_reid import cli
from st_reid.errors import Interrupted, UserError
from st_reid.exits import Exit, explain


def os_error(number, *filename):
    return OSError(number, os.strerror(number), *filename)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UserError("top is\n  0; expected 1"), 2, "error: top is 0; expected 1"),
        (os_error(errno.ENOSPC, "a/b.npz"), 2, "error: a/b.npz: No space left on device"),
        (os_error(errno.EACCES, b"a\xff"), 2, "error: a\udcff: Permission denied"),
        (os_error(errno.ENOENT, "a\nb"), 2, "error: a b: No such file or directory"),
        (os_error(errno.EMFILE), 2, "error: input or output: Too many open files"),
        (MemoryError(), 2, "error: memory ran out (no more said)"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "error: memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 2, "error: memory ran out (CUDA"),
        (RuntimeError("DataLoader worker (pid 7) is killed"), 2, "error: a process that reads images died"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted(signal.SIGTERM, "resume it"), 143, "stopped by SIGTERM; resume it"),
        # What nobody foresaw, though it is of a kind that often is.
        (os_error(errno.EBADF), 1, "unforeseen error: OSError: [Errno 9] Bad file descriptor"),
        (OSError("image file is truncated"), 1, "unforeseen error: OSError: image file is truncated"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 1, "unforeseen error: RuntimeError: mat1"),
        (RuntimeError("Connection reset by peer"), 1, "unforeseen error: RuntimeError: Connection"),
        (KeyError("time"), 1, "unforeseen error: KeyError: 'time' (nowhere); the same command with --debug"),
        (ValueError("x" * 1000), 1, f"unforeseen error: ValueError: {'x' * 400} ("),
        (AssertionError(), 1, "unforeseen error: AssertionError (nowhere)"),
        (RecursionError("too\ndeep"), 1, "unforeseen error: RecursionError: too deep"),
    ],
)
def test_status_and_line(error, status, text, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    found, line = explain(error)
    assert (found, line[: len(text)]) == (status, text)
    assert "\n" not in line


def test_another_process_that_ended_is_foreseen_among_several(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert explain(RuntimeError("Connection reset by peer"))[0] == Exit.MISTAKE


def wrong(argv):
    return {}[("a key", *argv)]


def test_the_net_says_where_and_debug_shows_the_traceback(monkeypatch, capsys):
    for debug in (False, True):
        monkeypatch.setattr("sys.argv", ["it", "--top", "3", *["--debug"] * debug])
        with pytest.raises(SystemExit) as stop:
            cli.run(wrong, "it")
        *before, line = capsys.readouterr().err.splitlines()
        assert stop.value.code == Exit.UNFORESEEN
        assert line.startswith("it: unforeseen error: KeyError: ('a key', '--top', '3') (tests/test_exits.py, line ")
        assert (before[:1] == ["Traceback (most recent call last):"]) == debug
        assert bool(before) == debug


def test_debug_shows_the_traceback_of_a_mistake_too(monkeypatch, capsys):
    from st_reid import group

    monkeypatch.setattr("sys.argv", ["group", "--features", "no.npz", "--debug", "--output", "x.csv"])
    with pytest.raises(SystemExit) as stop:
        cli.run(group.main, "group")
    *before, line = capsys.readouterr().err.splitlines()
    assert (stop.value.code, before[0]) == (Exit.MISTAKE, "Traceback (most recent call last):")
    assert line.startswith("group: error: no file ")
    assert "no.npz" in line


@pytest.mark.parametrize("own", ["debug: true", "import: my_models"])
def test_what_works_on_the_command_line_only(own, tmp_path):
    from st_reid import train

    (tmp_path / "c.yaml").write_text(own)
    with pytest.raises(UserError, match=f"^{own.partition(':')[0]} stands in a file; expected --"):
        train.parse(["--config", str(tmp_path / "c.yaml")])


LONG = """
import logging, os, sys
from st_reid import cli
def work(argv):
    for i in range(2000):
        logging.info("line %d \\N{CAT} \\udcff", i)
    open(argv[0], "w").write("done")
cli.run(work, "work")
"""


def shell(command, tmp_path, **environment):
    """Run a shell's command with $PYTHON, $LONG and $DONE; return its status, output and error."""
    names = {"PYTHON": sys.executable, "LONG": str(tmp_path / "long.py"), "DONE": str(tmp_path / "done")}
    (tmp_path / "long.py").write_text(LONG)
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], env={**os.environ, **names, **environment},
        capture_output=True, text=True, timeout=60, errors="surrogateescape",
    )  # fmt: skip
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("command", "said", "told"),
    [
        ("$PYTHON $LONG $DONE | head -n 1", "line 0 \N{CAT} \\udcff\n", ""),
        ("$PYTHON $LONG $DONE 2>&1 | true", "", ""),
        ("$PYTHON $LONG $DONE >&-", "", None),  # then the log is on standard error
        (
            "$PYTHON $LONG $DONE > /dev/full",
            "",
            "standard output cannot be written (No space left on device); the work goes on without it\n",
        ),
        ("PYTHONIOENCODING=ascii $PYTHON $LONG $DONE | tail -n 1", "line 1999 \\U0001f408 \\udcff\n", ""),
        (
            "LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 $PYTHON $LONG $DONE | tail -n 1",
            "line 1999 \\U0001f408 \\udcff\n",
            "",
        ),
    ],
)
def test_the_work_does_not_depend_on_its_output(command, said, told, tmp_path):
    status, out, err = shell(command, tmp_path)
    assert (tmp_path / "done").read_text() == "done"
    assert (status, out) == (0, said)
    assert told in (None, err)
    assert "Traceback" not in err


def test_help_into_a_closed_pipe(tmp_path):
    for module in ("st_reid", "st_reid.group"):
        for unbuffered in ("", "1"):
            status, out, err = shell(f"$PYTHON -m {module} --help | head -n 1", tmp_path, PYTHONUNBUFFERED=unbuffered)
            assert (status, err) == (0, "")
            assert out.startswith("usage: ")
