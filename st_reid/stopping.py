"""Ending a run when somebody asks for it, at a place from which it can go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Ctrl-C or SIGTERM ended the run; its exit status is 128 plus the signal's number, as the shell has it."""

    def __init__(self, signum: int, hint: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; {hint}")
        self.status = 128 + signum


class StopRequest:
    """Holds Ctrl-C and SIGTERM back while a step is taken: :attr:`signum` says which came, ``None`` for none.

    Outside of :attr:`holding`, and the second time, they raise :class:`Interrupted` at once.

    As a context it takes the two signals over, and gives them back at its end. In a thread it does nothing.

    Args:
        hint: what to do about it, for the message.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self.signum: int | None = None
        self.holding = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._receive) for signum in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if not self.holding or self.signum is not None:
            raise Interrupted(signum, self.hint)
        self.signum = signum
