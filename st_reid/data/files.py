"""The image files in a folder, and their order."""

from __future__ import annotations

import re
from pathlib import Path

from st_reid.data.frames import SUFFIXES

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


def folders_of(folder: Path) -> list[Path]:
    """Return the folders in a folder in the order of their names, without hidden ones."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."), key=lambda p: natural_order(p.name))


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Return a sort key for names that compares the numbers in them as numbers: 9 before 10, 999999 before 1000000."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
