"""Stops a command on Ctrl-C or SIGTERM; a run, at a point from which it can resume."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from st_reid.errors import Interrupted


class StopRequest:
    """Delays Ctrl-C and SIGTERM where they would do harm: :attr:`signum` is the signal that came, or ``None``.

    Elsewhere they raise :class:`Interrupted` at once, and so does a second Ctrl-C some seconds after the first. A
    signal that comes sooner is the same request: both the terminal and `torchrun` send it, also to the group. So it
    does not disturb how the first one is dealt with.

    As a context it handles the two signals, and restores the old handlers at its end. In a thread it does nothing.

    Args:
        hint: what to do about it, for the message.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    SAME = 3  # seconds

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self.signum: int | None = None
        self._holding = False
        self._came = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, StopRequest) and self.signum is not None:
                outer.signum, outer._came = self.signum, self._came
            signal.signal(signum, handler)

    @contextmanager
    def held(self, holding: bool = True) -> Iterator[None]:
        """Delay the signals in the body, or, within such a body, do not."""
        before, self._holding = self._holding, holding
        try:
            yield
        finally:
            self._holding = before

    def agreed(self) -> Interrupted:
        """Return the exception to raise when all processes have agreed to stop; only one of them knows the signal."""
        return Interrupted(self.signum or signal.SIGTERM, self.hint)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        now, first = time.monotonic(), self.signum is None
        again = not first and now - self._came > self.SAME and (signum == signal.SIGINT or not self._holding)
        if first:
            self.signum = signum
        if first or again:
            self._came = now
        if again or (first and not self._holding):
            raise Interrupted(signum, self.hint)
