"""Reads files that somebody else may have written: data of the expected form, or one line that says what is wrong."""

from __future__ import annotations

import csv
import re
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml

from st_reid.errors import UserError, first_line

T = TypeVar("T")
Finite = Annotated[float, msgspec.Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)]
"""A number that is neither infinite nor NaN."""
Cosine = Annotated[float, msgspec.Meta(ge=-1.001, le=1.001)]
"""A similarity; a threshold may lie a little outside of it."""
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

LARGEST_TEXT = 2**31
"""Bytes of a text file; a larger one is not read."""
LARGEST_YAML, DEEPEST_YAML = 20_000, 50
"""Values of a YAML file, aliases put in, and levels."""
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def check_file(path: Path, hint: str = "pass the path of a file") -> None:
    """Raise :class:`UserError` unless ``path`` is a regular file: reading a pipe or a device may never end.

    Args:
        path: of the file; a link to one is one.
        hint: what to do if there is none, for the message.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no file {path}; {hint}") from None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a null byte in it
        raise UserError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a {_KINDS.get(stat.S_IFMT(mode), 'special file')}; expected a file")


def read_text(path: Path, hint: str = "pass the path of a file", characters: int = -1) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or so many characters of it.

    Raises:
        UserError: it is missing, no regular file, larger than ``LARGEST_TEXT``, or not UTF-8.
    """
    check_file(path, hint)
    try:
        if characters < 0 and path.stat().st_size > LARGEST_TEXT:
            raise UserError(f"{path} has {path.stat().st_size} bytes; expected at most {LARGEST_TEXT}")
        with open(path, encoding="utf-8-sig") as opened:
            return opened.read(characters)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as text: {first_line(error)}; expected UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def read_csv(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file with a header, each with the number of its line; what a row lacks is empty.

    Args:
        path: of the file, in UTF-8.
        columns: that it must have.

    Raises:
        UserError: as :func:`read_text`; a column is missing, or it is no CSV.
    """
    check_file(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: column {', '.join(missing)} is missing; expected {','.join(columns)}")
            for row in reader:
                row.pop(None, None)  # type: ignore[call-overload] # what is beyond the last column
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); expected a CSV in UTF-8") from None


def read_json(path: Path, kind: type[T], hint: str) -> T:
    """Read a JSON file whose content is of the type ``kind``.

    Args:
        path: of the file.
        kind: what msgspec can check: a TypedDict, a dataclass, a Struct, ``dict[str, float]``, ...
        hint: what to do about a file that is missing or holds something else, for the message.

    Raises:
        UserError: no such file, or it holds something else; the message names the entry.
    """
    return from_json(read_text(path, hint), kind, path, hint)


def from_json(text: str | bytes, kind: type[T], source: Any, hint: str) -> T:
    """Return JSON as the type ``kind``; ``source`` is where it is from, for the messages.

    Raises:
        UserError: it is something else.
    """
    return _explained(lambda: msgspec.json.decode(text, type=kind), source, hint)


def check_yaml(text: str) -> None:
    """Raise :class:`UserError` for YAML that is endless, too deep or too large once its aliases are put in.

    Nine lists of nine aliases each, one list in the other, are a thousand million values. Text that is no YAML passes.
    """
    sizes: dict[str | None, int] = {}  # of what has an anchor
    open_nodes: list[list[Any]] = []  # anchor and size of each list or mapping that has begun
    total = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            size = 1
            if isinstance(event, yaml.AliasEvent):
                endless = any(anchor == event.anchor for anchor, _ in open_nodes)  # it is in itself
                size = LARGEST_YAML + 1 if endless else sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append([event.anchor, 1])
                size = 0
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_nodes.pop()
                sizes[anchor] = size
            elif isinstance(event, yaml.ScalarEvent):
                sizes[event.anchor] = 1
            else:
                continue
            if open_nodes:
                open_nodes[-1][1] += size
            total = max(total, size, *(n for _, n in open_nodes[-1:]))
            if total > LARGEST_YAML or len(open_nodes) > DEEPEST_YAML:
                raise UserError(
                    f"a YAML of more than {LARGEST_YAML} values or {DEEPEST_YAML} levels; expected settings, "
                    "with few aliases"
                )
    except yaml.YAMLError:
        return  # whoever loads it says what is wrong


def of_type(value: Any, kind: type[T], source: Any, hint: str) -> T:
    """Return plain values as the type ``kind``; ``source`` is where they are from, for the messages.

    Raises:
        UserError: they are something else.
    """
    return _explained(lambda: msgspec.convert(value, type=kind), source, hint)


def _explained(decode: Callable[[], T], source: Any, hint: str) -> T:
    try:
        return decode()
    except msgspec.ValidationError as error:
        said, _, place = str(error).replace("`", "").partition(" - at ")
        entry = re.sub(r"^\$\.?", "", place)
        where = f"{source}, {entry}" if entry else f"{source}"
        raise UserError(f"{where}: {said[:1].lower()}{said[1:]}; {hint}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UserError(f"{source} is no JSON, or cut short ({first_line(error)}); {hint}") from None
    except RecursionError:
        raise UserError(f"{source} is nested too deeply to be read; {hint}") from None
