"""Writes files and folders whole or not at all, and by one process at a time, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from st_reid.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")
LOCK = ".st_reid-lock"
PARTIAL = ".st_reid-partial-"
PATIENCE = 1.0  # seconds until a lock counts as held: one that is just being given back is not
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
logger = logging.getLogger(__name__)


@contextmanager
def locked(output: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of an output, and first remove what killed writers of it have left.

    The lock is a file ``.NAME.st_reid-lock`` beside the output. It says who holds it, and is gone afterwards. If its
    holder dies, the system frees it. Folders that are missing on the way to the output are made, and removed if the
    body puts nothing into them.

    Args:
        output: a file or a folder, which need not exist.
        wait: whether to wait for another holder instead of raising.

    Raises:
        UserError: another process holds it, or the output cannot be made.
    """
    path = Path(os.path.realpath(output))
    own = path.is_dir() and not os.access(path.parent, os.W_OK)  # as where the output is what is mounted
    folder = path if own else path.parent
    check_output(folder)
    with naming(path), _made(folder), _held(folder / f".{path.name}{LOCK}", output, wait):
        _remove_left(path)
        yield


def only_writer(command: Callable[P, T]) -> Callable[P, T]:
    """Let a function hold the lock of its argument ``output`` while it runs, see :func:`locked`."""
    parameters = signature(command)

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with locked(parameters.bind(*args, **kwargs).arguments["output"]):
            return command(*args, **kwargs)

    return run


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing; when all is written and flushed to the disk, it takes the name ``path``.

    It is made in a folder of its own beside ``path``, with a random name, that other users cannot enter. After an error
    ``path`` is unchanged. After a kill the folder stays, for :func:`locked`.
    """
    with partial_path(path) as partial:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Make a folder beside ``path`` to write into; if the body raises no error, it takes the name ``path``."""
    with partial_path(path) as partial:
        partial.mkdir()
        yield partial
        os.rename(partial, path)


@contextmanager
def partial_path(path: Path) -> Iterator[Path]:
    """Return a path to write to before it is renamed to ``path``, in a folder of its own, which is removed."""
    with naming(path):
        own = path.with_name(f".{path.name}{PARTIAL}{secrets.token_hex(8)}")
        try:
            own.mkdir(0o700)
            yield own / path.name
        finally:
            _whatever_comes(lambda: shutil.rmtree(own, ignore_errors=True))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in the system's errors about writing that name no file: a full disk, for example."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in CANNOT_WRITE:
            error.filename = str(path)
        raise


def check_output(folder: Path) -> None:
    """Raise :class:`UserError` for an output folder that cannot be made, before hours of work."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"output {folder} cannot be made: {nearest} is no folder that can be written; pass another")


def check_new_folder(folder: Path) -> None:
    """Raise :class:`UserError` for an output folder that exists, also as a link to nothing, or cannot be made."""
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists; pass another --output")
    check_output(folder)


def write_text(text: str, path: Path) -> None:
    """Write a text file in UTF-8, whole or not at all; of names of files, what is not UTF-8 is escaped."""
    with written_whole(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def is_ours(path: Path) -> bool:
    """Whether a file or folder is a lock, or was left by a killed writer."""
    return _output_of(path) is not None


def remove_left_in(folder: Path) -> None:
    """Remove what killed writers left in a folder; what a living one is writing, whose lock it holds, stays."""
    if folder.is_dir():
        for output in sorted({name for path in folder.iterdir() if (name := _output_of(path)) is not None}):
            with suppress(UserError), locked(folder / output):
                pass


def _output_of(path: Path) -> str | None:
    """Return the name of the output that a lock or a partial folder belongs to; ``None`` for any other path."""
    found = re.fullmatch(rf"\.(.+)(?:{re.escape(LOCK)}|{re.escape(PARTIAL)}\w+)", path.name, re.DOTALL)
    return found[1] if found else None


def _remove_left(output: Path) -> None:
    for path in output.parent.glob(f".*{PARTIAL}*"):
        if _output_of(path) == output.name and not path.is_symlink():
            logger.info("removing %s, which a killed process left", path)
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; at the end, those that had to be made are removed again as far as they are empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _held(file: Path, output: str | os.PathLike[str], wait: bool) -> Iterator[None]:
    lock = FileLock(file)
    try:
        _acquire(lock, os.fspath(output), wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s: no locks on its file system; see to it that no other process writes it", output)
    by_system = lock.is_locked and type(lock) is FileLock  # another class is its way to do without

    def give_back() -> None:
        if by_system and lock.is_locked:
            file.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
        lock.release()

    try:
        if by_system:
            _sign(file)
        yield
    finally:
        _whatever_comes(give_back)


def _acquire(lock: BaseFileLock, output: str, wait: bool) -> None:
    file = Path(lock.lock_file)
    try:
        try:
            lock.acquire(timeout=PATIENCE)
        except FileNotFoundError:  # another process has just removed the empty folder
            file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=PATIENCE)
    except PermissionError:
        raise UserError(
            f"{output} is locked by another user: {_holder(file)}; if that has ended, remove {file}"
        ) from None
    except Timeout:
        said = f"{output} is being written by {_holder(file)}"
        if not wait:
            raise UserError(f"{said}; wait until it has ended, or pass another --output") from None
        logger.info("%s: waiting for it", said)
        lock.acquire()


def _whatever_comes(clean: Callable[[], None]) -> None:
    """Clean up, and again if a signal comes meanwhile."""
    try:
        clean()
    except KeyboardInterrupt:
        clean()
        raise


def _sign(file: Path) -> None:
    """Write into a lock who holds it, unless it is a link to something else."""
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    flags = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    # Windows lets nobody write what is locked.
    with suppress(OSError), open(os.open(file, flags), "wb") as signed:
        if os.fstat(signed.fileno()).st_nlink == 1:
            signed.truncate()
            signed.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())


def _holder(file: Path) -> str:
    """Return who holds a lock, as far as it is said."""
    with suppress(OSError, ValueError), open(file, "rb") as signed:
        said = signed.read(300).decode("ascii").strip()
        if re.fullmatch(r"process \d+ on [\w.-]+ since [\d :+-]+", said):
            return said
    return "another process"
