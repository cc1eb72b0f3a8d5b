"""Writes files and folders whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from st_reid.errors import UserError

PARTIAL = ".partial-"


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file beside ``path`` for writing; when all is written and flushed to the disk, it takes the name ``path``.

    After an error ``path`` is unchanged. After a kill the other file stays, for :func:`remove_partial`.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Make a folder beside ``path`` to write into; if the body raises no error, it takes the name ``path``."""
    with partial_folder(path) as partial:
        yield partial
        os.rename(partial, path)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside ``path`` to write into; what the body leaves in it is removed."""
    partial = path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process with the same number
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_output(folder: Path) -> None:
    """Raise :class:`UserError` for an output folder that cannot be made, before hours of work."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"output {folder} cannot be made: {nearest} is no folder that can be written; pass another")


def check_new_folder(folder: Path) -> None:
    """Raise :class:`UserError` for an output folder that exists, or cannot be made."""
    if folder.exists():
        raise UserError(f"{folder} exists; pass another --output")
    check_output(folder)


def write_text(text: str, path: Path) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as file:
        file.write(text.encode())


def remove_partial(folder: Path) -> None:
    """Remove partial files that a killed process left in ``folder``."""
    for path in folder.glob(f".*{PARTIAL}*"):
        path.unlink(missing_ok=True)


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)
