"""Who may import whom, as far as no linter has to be installed to see it; `make lint` proves the rest."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import st_reid
from st_reid.__main__ import commands

PACKAGE = Path(st_reid.__file__).parent
COMMANDS = {f"st_reid.{name}" for name in commands()}


def imported(path):
    """Return every module, or name in one, that a file imports, wherever in it that is."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this can read them"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_commands_are_known():
    assert {"st_reid.train", "st_reid.evaluate", "st_reid.report", "st_reid.run"} <= COMMANDS
    assert all((PACKAGE / f"{name.removeprefix('st_reid.')}.py").is_file() for name in COMMANDS)


def test_nobody_imports_a_command():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    found = {str(path.relative_to(PACKAGE)): sorted(imported(path) & COMMANDS) for path in files}
    assert not {name: commands for name, commands in found.items() if commands}


def test_nobody_imports_what_the_package_is_tested_against():
    others = ("legacy_ports", "benchmarks", "tests")
    found = {name for path in PACKAGE.rglob("*.py") for name in imported(path) if name.split(".")[0] in others}
    assert not found


@pytest.mark.parametrize("modules", [["st_reid"], ["st_reid.__main__", *sorted(COMMANDS)]], ids=["package", "commands"])
def test_import_is_quick_and_quiet(modules):
    code = f"""import sys, {", ".join(modules)}
early = {{"torch", "torchreid", "torchvision", "matplotlib"}} & set(sys.modules)
assert not early, early"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
