"""One self-contained HTML page from tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: above it.
        columns: their names.
        rows: texts or numbers.
        note: below the title.
        filter: whether to offer a field that filters its rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    filter: bool = False


@dataclass(frozen=True)
class Page:
    """What a page says.

    Attributes:
        title: its heading.
        summary: a sentence below it.
        tables: in order.
        details: texts by their titles, folded away.
    """

    title: str
    summary: str
    tables: Sequence[Table] = ()
    details: dict[str, str] = field(default_factory=dict)


def render(page: Page, pictures: Mapping[str, bytes]) -> str:
    """Return a page as HTML that needs no other file.

    Args:
        page: what it says; all of it is text, whatever it looks like.
        pictures: PNG files by their titles, in order.
    """
    template = (files("st_reid") / "drawing" / "templates" / "report.html").read_text(encoding="utf-8")
    encoded = [{"title": title, "data": base64.b64encode(data).decode()} for title, data in pictures.items()]
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(title=page.title, summary=page.summary, tables=page.tables, pictures=encoded, details=page.details)
    )
