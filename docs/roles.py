"""Sphinx roles in docstrings, such as :func:`name`, as links of the API reference: an extension of griffe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Module, NameResolutionError, Object

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc):`(~?)([\w.]+)`")


class Roles(Extension):
    """Makes a link of every role whose object is on a page, and plain code of the others."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of a package, once all of it is loaded."""
        for owner in _objects(pkg):
            if owner.docstring:
                links = (_link(owner, pkg, role) for role in ROLE.finditer(owner.docstring.value))
                owner.docstring.value = ROLE.sub(lambda _, links=links: next(links), owner.docstring.value)


def _objects(owner: Object) -> Iterator[Object]:
    yield owner
    for member in owner.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(owner: Object, package: Module, role: re.Match[str]) -> str:
    short, name = role.groups()
    text = f"`{name.rpartition('.')[2] if short else name}`"
    try:
        path = name if name.startswith(f"{package.name}.") else owner.resolve(name)
        target = package[path.removeprefix(f"{package.name}.")]
        target = target.final_target if target.is_alias else target
    except (KeyError, NameResolutionError):
        return text
    is_shown = target.docstring and "._" not in target.path
    return f"[{text}][{target.path}]" if is_shown else text
