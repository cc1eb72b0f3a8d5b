"""Hooks into Python's import of torchreid: actions after it, and a second name for its modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def after_import(module: str, action: Callable[[], None]) -> None:
    """Run an action once a module is imported: now, or after its import. Calling it twice is harmless."""
    if module in sys.modules:
        action()
    elif not any(isinstance(finder, _Finder) and finder.module == module for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(module, action))


def give_git_names() -> None:
    """Let PyPI's ``torchreid.reid.models`` be imported as git's ``torchreid.models`` too, and so every module."""
    if not any(isinstance(finder, _GitNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GitNames())


class _AfterImport(Loader):
    """Runs a module's own loader, then an action."""

    def __init__(self, loader: Loader, action: Callable[[], None]) -> None:
        self.loader = loader
        self.action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.action()


class _Finder(MetaPathFinder):
    """Finds a module in the usual way, and runs an action once it is loaded."""

    def __init__(self, module: str, action: Callable[[], None]) -> None:
        self.module = module
        self.action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)  # its work is done, and it must not find itself
        spec = find_spec(fullname)
        if spec is None:
            sys.meta_path.insert(0, self)
        elif spec.loader is not None:
            spec.loader = _AfterImport(spec.loader, self.action)
        return spec


class _SameModule(Loader):
    """Gives a module a second name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # it has already run, under its own name


class _GitNames(MetaPathFinder):
    """Finds git's ``torchreid.models`` where PyPI's package has ``torchreid.reid.models``, and so for every module."""

    OURS = "torchreid.reid"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != "torchreid" or not rest or f"{fullname}.".startswith(f"{self.OURS}."):
            return None
        name = f"{self.OURS}.{rest}"
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        return ModuleSpec(fullname, _SameModule(name), is_package=found.submodule_search_locations is not None)
