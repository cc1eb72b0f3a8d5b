"""Ends a process when another process of its run has died.

What they compute with does not always notice: gloo can wait forever on a message to a process that is gone, and nccl
waits until its timeout. So each keeps a connection to the first process for nothing but this: the system closes it when
its owner dies, whatever that one was doing.
"""

from __future__ import annotations

import atexit
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

GRACE = 10  # seconds for the main thread to end by itself, with an error that says more
GOODBYE = b"x"
KEY = "lifeline"
TOKEN_BYTES = 16
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}  # a machine that lost its power closes nothing


class Lifeline:
    """A connection to every process (of rank 0) or to the first one, and a thread that watches it.

    Args:
        store: where they have met.
        rank: number of this process.
        size: how many there are.
        host: name of the first one's machine.
        patience: how long the others may take to connect.

    Raises:
        OSError: the others do not come, or the first process cannot be reached.
    """

    def __init__(self, store: Store, rank: int, size: int, host: str, patience: timedelta) -> None:
        self._ended = threading.Event()
        seconds = patience.total_seconds()
        self._peers = _accept(store, size - 1, seconds) if rank == 0 else [_connect(store, host, seconds)]
        for peer in self._peers:
            _keep_alive(peer)
        os.register_at_fork(after_in_child=self._close)  # a worker must not keep its parent's connection open
        atexit.register(self.say_goodbye)
        threading.Thread(target=self._watch, daemon=True, name="lifeline").start()

    def say_goodbye(self) -> None:
        """Tell the others that this process has finished."""
        if not self._ended.is_set():
            self._ended.set()
            self._shut(GOODBYE)

    def cut(self) -> None:
        """Let the others end: this process will not continue."""
        self._ended.set()
        self._shut(b"")

    def _shut(self, last_word: bytes) -> None:
        for peer in self._peers:
            with suppress(OSError):  # it may be gone already
                peer.sendall(last_word)
                peer.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        for peer in self._peers:
            peer.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer in self._peers:
                selector.register(peer, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    if not _said_goodbye(key.fileobj):  # type: ignore[arg-type]
                        self._follow()
                    selector.unregister(key.fileobj)

    def _follow(self) -> None:
        if self._ended.is_set():
            return
        self._shut(b"")  # the others know only this process, and need not wait until it has ended
        if not self._ended.wait(GRACE):
            print("error: another process of this run ended; its own message says why", file=sys.stderr, flush=True)
            os._exit(2)  # the main thread may wait where no exception reaches it


def _accept(store: Store, count: int, patience: float) -> list[socket.socket]:
    token = secrets.token_bytes(TOKEN_BYTES)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    until = time.monotonic() + patience
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=count + 8) as server:
        store.set(KEY, f"{server.getsockname()[1]} {token.hex()}")
        peers: list[socket.socket] = []
        while len(peers) < count:
            server.settimeout(max(until - time.monotonic(), 0.001))
            peer, _ = server.accept()
            if _first_bytes(peer) == token:
                peers.append(peer)
            else:  # another program that found the port
                peer.close()
    return peers


def _first_bytes(peer: socket.socket) -> bytes:
    """Return the first bytes of a new connection: fewer than a token if it is not one of ours."""
    peer.settimeout(5)
    said = b""
    with suppress(OSError):
        while len(said) < TOKEN_BYTES and (more := peer.recv(TOKEN_BYTES - len(said))):
            said += more
    peer.settimeout(None)
    return said


def _connect(store: Store, host: str, patience: float) -> socket.socket:
    port, token = store.get(KEY).decode().split()
    peer = socket.create_connection((host, int(port)), timeout=patience)
    peer.settimeout(None)
    peer.sendall(bytes.fromhex(token))
    return peer


def _keep_alive(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):  # of Linux
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _said_goodbye(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == GOODBYE
    except OSError:
        return False
