"""The errors that end a command early: a mistake that the user can correct, or a signal."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for, not in the program.

    The message is one line: the value, what was expected, what to do.
    The command lines print it without a traceback and exit with status 2.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the run; its exit status is 128 plus the signal's number, as in the shell.

    Like Python's own exception for Ctrl-C it is no ``Exception``, so nobody takes it for an error of what was called.

    Args:
        signum: the signal.
        hint: what to do about it, for the message.
    """

    def __init__(self, signum: int, hint: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; {hint}")
        self.status = 128 + signum


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that says something, or else the error's name."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def one_line(error: BaseException) -> str:
    """Return an error's message as one line, without the traceback that a loader's worker wraps it in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Caught "):
        return lines[-1].partition(": ")[2] or lines[-1]
    return " ".join(lines)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist, with the nearest ones that do."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(repr(n) for n in near)}?"
    elif not known:
        hint = "there are none"
    elif len(known) <= 20:
        hint = f"known: {', '.join(known)}"
    else:
        hint = f"there are {len(known)} to choose from"
    return UserError(f"unknown {kind} {name!r}; {hint}")
