"""The image files in a folder, and their order."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from st_reid.data.frames import SUFFIXES
from st_reid.errors import UserError

SUFFIX_PATTERN = f"({'|'.join(map(re.escape, sorted(SUFFIXES)))})"
"""A regular expression for the suffixes of images, for names in any case."""


UNREAD_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".raw", ".tga"})
"""The suffixes of images that are not read."""


def images_of(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names, without hidden files."""
    images = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    return sorted(images, key=lambda p: natural_order(p.name))


def unread_images_of(folder: Path) -> list[Path]:
    """Return the images of a folder in formats that are not read."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in UNREAD_SUFFIXES and p.name[0] != ".")


def check_inside(paths: Iterable[Path], root: Path) -> None:
    """Raise :class:`UserError` if a file is not inside ``root`` once links are resolved.

    It looks at the folders, and not at every file in them. A folder or file that does not exist is inside.
    """
    top = os.path.realpath(root)
    names = defaultdict(set)
    for path in paths:
        folder, name = os.path.split(path)
        names[folder or os.curdir].add(name)
    for folder, some in names.items():
        try:
            with os.scandir(folder) as entries:
                linked = [entry.path for entry in entries if entry.name in some and entry.is_symlink()]
        except OSError:  # reading it will say what is wrong
            linked = []
        for place in (folder, *linked):
            real = os.path.realpath(place)
            if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
                raise UserError(
                    f"{place} leads to {real}, outside of {root}; pass the folder that it leads to as root, or set "
                    "follow_links if you trust the dataset"
                )


def folders_of(folder: Path) -> list[Path]:
    """Return the folders in a folder in the order of their names, without hidden ones."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."), key=lambda p: natural_order(p.name))


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key for names that compares the numbers in them as numbers: 9 before 10, 999999 before 1000000."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
