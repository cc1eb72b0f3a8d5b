"""Running a benchmark's command line in this process."""

import importlib
import json
import sys

import pytest


@pytest.fixture
def run_script(monkeypatch):
    """Run ``benchmarks.<name>`` with arguments, and return the content of its ``--output``."""

    def run(name, *arguments, output):
        monkeypatch.setattr(sys, "argv", [name, "--output", str(output), *map(str, arguments)])
        importlib.import_module(f"benchmarks.{name}").main()
        assert output.with_suffix(".md").read_text().startswith("| ")
        return json.loads(output.read_text())

    return run
