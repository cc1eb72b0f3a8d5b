"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown, a line each for the columns' names, the rule and every row."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |\n" for cells in lines)
