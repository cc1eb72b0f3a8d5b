"""How a command ends: its exit status, and the one line that says why."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from st_reid.errors import Interrupted, UserError, one_line

MAX_LENGTH = 400  # characters of an unforeseen error's message; some list whole tensors


class Exit(IntEnum):
    """The exit statuses of every command."""

    DONE = 0
    UNFORESEEN = 1
    """An error of the program; ``--debug`` shows where it is."""
    MISTAKE = 2
    """A mistake that the user can correct, or a limit of the machine, such as a full disk."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM."""


OF_THE_MACHINE = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES", "EPERM", "EROFS", "ENOENT", "EEXIST", "EISDIR", "ENOTDIR", "ENOTEMPTY", "ENAMETOOLONG", "EILSEQ",
        "ELOOP", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOMEM", "EMFILE", "ENFILE", "EBUSY", "ETXTBSY", "ESTALE",
        "ENODEV", "ENXIO", "EADDRINUSE", "EADDRNOTAVAIL", "ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Errors of the operating system that the user can mend. Others, such as a closed descriptor, are the program's."""


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit status for what ended a command, and a line that says why."""
    text = one_line(error)
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return getattr(error, "status", Exit.INTERRUPTED), text or "interrupted"
    foreseen = text if isinstance(error, UserError) else _of_the_machine(error, text)
    if foreseen is not None:
        return Exit.MISTAKE, f"error: {foreseen}"
    what = f"{type(error).__name__}: {text:.{MAX_LENGTH}}" if text else type(error).__name__
    return Exit.UNFORESEEN, f"unforeseen error: {what} ({_where(error)}); the same command with --debug shows more"


def _of_the_machine(error: BaseException, text: str) -> str | None:
    """Return the message for a file, a disk, a memory or a process that failed; ``None`` for any other error."""
    goes_on = "resume with --resume"
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return f"{_printable(error.filename) or 'input or output'}: {error.strerror or error}"
    if isinstance(error, MemoryError) or re.search("(?i)out of memory|can't allocate memory", text):
        return f"memory ran out ({text or 'no more said'}); use smaller batches or inputs, or free some"
    if not isinstance(error, RuntimeError):
        return None
    if "DataLoader worker" in text:
        return f"a process that reads images died ({text}); if memory ran out, lower data.workers; {goes_on}"
    if "RANK" in os.environ and re.search(
        "(?i)connection (closed|reset)|broken pipe|remote process|timed out waiting", text
    ):
        return f"another process of this run ended ({text}); its own message says why; {goes_on}"
    return None


def _printable(name: object) -> str:
    """Return a file's name, or its number, on one line."""
    return "" if name is None else " ".join(str(os.fsdecode(name) if isinstance(name, bytes) else name).split())


def _where(error: BaseException) -> str:
    """Return the innermost place in this project where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    root = Path(__file__).parents[1]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root) and ".venv" not in frame.filename]
    for frame in reversed(own or frames):
        file = Path(frame.filename)
        return f"{file.relative_to(root) if own else file.name}, line {frame.lineno}"
    return "nowhere"


class Output(logging.StreamHandler):
    """The log on standard output. If it cannot be written any more, as behind ``| head``, the work goes on without."""

    def __init__(self) -> None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # names that its encoding does not have
        super().__init__(sys.stdout)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop an output that cannot be written."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            _drop(self.stream, error)
        else:
            super().handleError(record)


def flush_output() -> bool:
    """Write what waits in standard output and error; return whether that was possible, or nobody reads it."""
    written = True
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            written &= _drop(stream, error)
    return written


def say(line: str) -> None:
    """Print a line to standard error, if there is one."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError as error:
        _drop(sys.stderr, error)


def _drop(stream: TextIO, error: OSError) -> bool:
    """Lead a stream nowhere from now on; say why, and return false, unless its reader has gone."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # it is no file
        pass
    if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
        return True
    if stream is not sys.stderr:
        say(f"standard output cannot be written ({error.strerror}); the work goes on without it")
    return False
