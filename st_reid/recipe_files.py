"""The included recipes: ``configs/`` in the repository, ``st_reid/recipes/`` in an installed package."""

from __future__ import annotations

from pathlib import Path

from st_reid.errors import unknown_name

_PACKAGE = Path(__file__).parent


def find_config(name: str) -> Path:
    """Return the file that ``--config`` names.

    Args:
        name: a file, or a recipe's name, as ``psta_mars`` or ``comparison/hacnn_softmax``; with or without ``.yaml``.

    Raises:
        UserError: there is neither.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():  # it may be a pipe
        return path
    installed = _PACKAGE / "recipes"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "configs"
    recipes = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}
    try:
        return recipes[name.removesuffix(".yaml")]
    except KeyError:
        raise unknown_name("recipe", name, recipes) from None
