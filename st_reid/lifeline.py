"""Ending a process when another one of its run has died.

What they compute with does not always notice: gloo can wait for good on a message to a process that is gone, and nccl
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
from contextlib import suppress

from torch.distributed import Store

GRACE = 10  # seconds for the main thread to end by itself, with an error that says more
PATIENCE = 60  # seconds for the others to connect, who have just been met
GOODBYE = b"x"
KEY = "st_reid/lifeline"
TOKEN_BYTES = 16


class Lifeline:
    """A connection to every process (of rank 0) or to the first one, and a thread that watches it.

    Args:
        store: where they have met.
        rank: number of this process.
        size: how many there are.
        host: name of the first one's machine.

    Raises:
        OSError: the others do not come, or the first process cannot be reached.
    """

    def __init__(self, store: Store, rank: int, size: int, host: str) -> None:
        self._ended = threading.Event()
        self._peers = _accept(store, size - 1) if rank == 0 else [_connect(store, host)]
        atexit.register(self.say_goodbye)
        threading.Thread(target=self._watch, daemon=True, name="lifeline").start()

    def say_goodbye(self) -> None:
        """Tell the others that this process has done its part."""
        self._end(GOODBYE)

    def cut(self) -> None:
        """Let the others end: this process will not go on."""
        self._end(b"")

    def _end(self, last_word: bytes) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        for peer in self._peers:
            with suppress(OSError):  # it may be gone already
                peer.sendall(last_word)
                peer.shutdown(socket.SHUT_WR)  # closing would not do: workers hold it too

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
        if self._ended.wait(GRACE):
            return
        print("error: another process of this run ended; its own message says why", file=sys.stderr, flush=True)
        os._exit(2)  # the main thread may wait where no exception reaches it


def _accept(store: Store, count: int) -> list[socket.socket]:
    token = secrets.token_bytes(TOKEN_BYTES)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=count) as server:
        server.settimeout(PATIENCE)
        store.set(KEY, f"{server.getsockname()[1]} {token.hex()}")
        peers: list[socket.socket] = []
        while len(peers) < count:
            peer, _ = server.accept()
            if peer.recv(TOKEN_BYTES, socket.MSG_WAITALL) == token:
                peers.append(peer)
            else:  # somebody who has come across the port
                peer.close()
    store.delete_key(KEY)  # a later run in these processes has a port of its own
    return peers


def _connect(store: Store, host: str) -> socket.socket:
    port, token = store.get(KEY).decode().split()
    peer = socket.create_connection((host, int(port)), timeout=PATIENCE)
    peer.settimeout(None)
    peer.sendall(bytes.fromhex(token))
    return peer


def _said_goodbye(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == GOODBYE
    except OSError:
        return False
