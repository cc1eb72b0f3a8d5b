"""The examples in docstrings."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import st_reid

PACKAGE = Path(st_reid.__file__).parent
WITH_EXAMPLES = [
    ".".join(("st_reid", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module):
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_there_are_some():
    assert len(WITH_EXAMPLES) >= 2
