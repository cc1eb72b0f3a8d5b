"""Which names of tracklets, persons and cameras there may be: those that every file and page can hold."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from st_reid.errors import UserError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line or are none of a text."""
RESERVED = re.compile(r'[/\\:*?"<>|]')
"""Characters that names of files cannot have everywhere."""


def check_label(what: str, label: str, *, file_name: bool = False) -> None:
    """Raise :class:`UserError` for a label that tables, JSON and pages cannot hold, or do not give back.

    Args:
        what: of what it is the label, in words.
        label: an empty one is checked by who needs it.
        file_name: whether it becomes a part of a file's name.
    """
    _check_text(what, label)
    if label != label.strip():
        raise UserError(f"{what} is {label!r}; expected no spaces at its ends, which tables do not keep")
    if file_name and (found := RESERVED.search(label)):
        raise UserError(f"{what} is {label!r}, with {found[0]!r}; expected what can be a part of a file's name")


def check_texts(what: str, labels: NDArray[np.str_]) -> None:
    """Raise :class:`UserError` if one of many labels (N,) is not UTF-8 or not one line."""
    labels = np.ascontiguousarray(labels, dtype=np.str_)
    if not labels.size or not labels.itemsize:
        return
    codes = labels.view(np.uint32).reshape(len(labels), -1)  # 0 fills up short ones
    rest = codes[(codes < 0x20) & (codes > 0) | (codes >= 0x7F)]  # few, or none
    if rest.size:
        for label in labels[np.isin(codes, np.unique(rest)).any(axis=1)].tolist():
            _check_text(what, label)


def _check_text(what: str, text: str) -> None:
    if found := CONTROL.search(text):
        raise UserError(f"{what} is {text!r}, with {found[0]!r}; expected one line of text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"{what} is {text!r}, which is not UTF-8; rename it") from None
