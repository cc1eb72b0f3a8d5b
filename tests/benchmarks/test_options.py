"""Options of benchmarks: numbers out of their ranges are one line and status 2, before anything is measured."""

import importlib
import re

import pytest

from benchmarks.machine import run_script

WRONG = [
    ("extraction", "--height", "0", "at least 16"),
    ("extraction", "--workers", "-1", "at least 0"),
    ("extraction", "--batch", "x", "a whole number"),
    ("extraction", "--rounds", "", "a whole number"),
    ("speed", "--frames", "0", "at least 1"),
    ("speed", "--seconds", "nan", "a number of at least 0"),
    ("speed", "--seconds", "-1", "a number of at least 0"),
    ("speed", "--size", "64 -1", "at least 16"),
    ("speed", "--ceiling-size", "1000000000000", "at most 65536"),
    ("pipeline", "--batches", "0", "at least 1"),
    ("pipeline", "--workers", "2 -1", "at least 0"),
    ("compare", "--batch", "0", "at least 1"),
    ("compare", "--rounds", "-3", "at least 1"),
    ("psta_overhead", "--warm-up", "1.5", "a whole number"),
    ("clip_loading", "--tracklets", "0", "at least 1"),
    ("original", "--queries", "0", "at least 1"),
    ("search_scale", "--sizes", "10 0", "at least 1"),
    ("search_scale", "--dimensions", "0", "at least 1"),
    ("memory", "--tracklets", "0", "at least 1"),
    ("memory", "--limit", "-1", "a positive number"),
    ("walkers_calibration", "--seeds", str(2**64), "less than 2**64"),
    ("walkers_calibration", "--steps", "0", "at least 1"),
    ("accuracy", "--seeds", "-1", "at least 0"),
    ("accuracy", "--splits", "-1", "at least 0"),
]


@pytest.mark.parametrize(("name", "option", "value", "expected"), WRONG, ids=lambda value: str(value)[:20])
def test_out_of_range(name, option, value, expected, monkeypatch, capsys, tmp_path):
    main = importlib.import_module(f"benchmarks.{name}").main
    monkeypatch.chdir(tmp_path)
    values = [f"{option}={value}"] if " " not in value else [option, *value.split()]
    monkeypatch.setattr("sys.argv", [f"benchmarks/{name}.py", *(values or [option, ""])])
    with pytest.raises(SystemExit) as stop:
        run_script(main)
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1, lines
    assert re.match(rf"python -m benchmarks\.{name}: error: argument {option}: ", lines[0])
    assert expected in lines[0]
    assert list(tmp_path.iterdir()) == []
