"""Names for what can be chosen by name: models, backbones, datasets, clip samplers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from st_reid.errors import UserError, unknown_name

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """A mapping of names to builders in which a name can be taken only once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, T] = {}
        self._watchers: list[Callable[[str], None]] = []

    def add(self, name: str, builder: T) -> None:
        """Register ``builder`` under ``name``.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._builders:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._builders[name] = builder
        for watcher in self._watchers:
            watcher(name)

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Call ``watcher`` with every name, also with those added later. Calling it twice is harmless."""
        if watcher in self._watchers:
            return
        for name in self.names():
            watcher(name)
        self._watchers.append(watcher)

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a builder under ``name``."""

        def decorate(builder: T) -> T:
            self.add(name, builder)
            return builder

        return decorate

    def names(self, pattern: str = "*") -> list[str]:
        """Return the sorted names that match a shell pattern."""
        return sorted(name for name in self._builders if fnmatchcase(name, pattern))

    def get(self, name: str) -> T:
        """Return the builder of ``name``.

        Raises:
            UserError: no such name; the message offers the nearest ones.
        """
        try:
            return self._builders[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._builders) from None

    def __contains__(self, name: object) -> bool:
        return name in self._builders


def check_options(
    owner: str, builder: Callable[..., Any], options: Mapping[str, Any], common: Iterable[str] = ()
) -> None:
    """Raise :class:`UserError` for an option that ``builder`` does not take, or not with a value of that type.

    Args:
        owner: whose options, in words.
        builder: a registered function.
        options: what was asked for, by name.
        common: keyword arguments of every builder, which are no options.
    """
    keywords = {n: p for n, p in inspect.signature(builder).parameters.items() if p.kind is p.KEYWORD_ONLY}
    known = keywords.keys() - set(common)
    for name in options:
        if name not in known:
            raise unknown_name(f"option of {owner}", name, known)
    types = get_type_hints(getattr(builder, "func", builder))
    for name, value in options.items():
        expected = get_args(types.get(name)) or (types.get(name),)
        plain = tuple(t for t in expected if t in (bool, int, float, str, type(None)))
        if len(plain) == len(expected) and type(value) not in (*plain, *((int,) if float in plain else ())):
            wanted = " or ".join(t.__name__ for t in plain)
            raise UserError(f"option {name!r} of {owner} is {value!r}; expected {wanted}")
