"""Columns of a table of boxes, found by the names in its header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

_PREFIXES = ("", "bb", "bbox", "box")
_PERHAPS_CENTRE = frozenset(p + n for p in _PREFIXES for n in ("x", "y"))
ROLES: dict[str, frozenset[str]] = {
    "frame": frozenset({"frame", "frameid", "frameindex", "frameidx", "frameno", "framenumber"}),
    "track": frozenset({"id", "track", "trackid", "trackerid", "objectid", "objid", "identity", "targetid"}),
    "left": frozenset(p + n for p in _PREFIXES for n in ("left", "x", "x1", "xmin", "xtl")),
    "top": frozenset(p + n for p in _PREFIXES for n in ("top", "y", "y1", "ymin", "ytl")),
    "width": frozenset(p + n for p in _PREFIXES for n in ("width", "w")),
    "height": frozenset(p + n for p in _PREFIXES for n in ("height", "h")),
    "right": frozenset(p + n for p in _PREFIXES for n in ("right", "x2", "xmax", "xbr")),
    "bottom": frozenset(p + n for p in _PREFIXES for n in ("bottom", "y2", "ymax", "ybr")),
    "confidence": frozenset({"conf", "confidence", "score"}),
    "label": frozenset({"class", "classid", "classname", "cls", "label", "category", "type"}),
}
"""The names of each column, in small letters and without signs."""
NEEDED = ("frame", "track", "left", "top")


def plain_name(name: str) -> str:
    """Return a column's name in small letters, without quotes, spaces and signs."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def split_cells(line: str, header: str) -> list[str]:
    """Split a line at the separator of its table's header: a semicolon, a tab, a comma, or spaces.

    Empty cells are kept, except between spaces. With semicolons the decimal point may be a comma.
    """
    separator = max(";\t,", key=header.count)
    if separator not in header:
        return line.split()
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    return [cell.replace(",", ".") for cell in cells] if separator == ";" else cells


def find_columns(names: Sequence[str]) -> dict[str, int]:
    """Return the place of each column that is known by its name; of two for the same the first, but x and y last.

    Raises:
        ValueError: some names are known, but not those of a whole box.
    """
    found: dict[str, int] = {}
    for at, name in sorted(enumerate(map(plain_name, names)), key=lambda column: column[1] in _PERHAPS_CENTRE):
        for role, known in ROLES.items():
            if name in known:
                found.setdefault(role, at)
    whole = {*NEEDED, "width", "height"} <= set(found) or {*NEEDED, "right", "bottom"} <= set(found)
    if found and not whole:
        raise ValueError(
            f"columns {', '.join(names)}; expected frame, id, left, top, and width and height or right and bottom; "
            "rename them, or remove the header of a file in MOT's order"
        )
    return found
