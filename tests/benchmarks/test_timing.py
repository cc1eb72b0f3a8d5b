"""What the scripts share: rounds, turns, ratios, ceilings, tables and pictures. Nothing is asked of a time itself."""

import argparse
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import machine, timing
from st_reid.drawing.markdown import markdown_table

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [(0.001, 1000), (0.1, 20), (1.0, 10), (2.5, 4), (100.0, 3)],
    ids=["a second's worth", "as asked for", "fewer", "few", "least"],
)
def test_rounds_follow_from_the_time_there_is(seconds, rounds):
    assert timing.Effort(rounds=20, seconds=10).rounds_of(seconds) == rounds


def test_fewer_rounds_than_the_least_can_be_asked_for():
    assert timing.Effort(rounds=1).rounds_of(100.0) == 1


def test_variants_are_timed_in_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = timing.time_in_turns(functions, CPU, rounds=3, warm_up=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_within_rounds():
    assert timing.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == {"q1": 2.5, "median": 3.0, "q3": 3.5}


def test_tf32_is_put_back_as_it_was():
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for precision in timing.DTYPES:
        with timing.math_of(precision):
            assert [backend.allow_tf32 for backend in backends] == [precision == "tf32"] * 2
    assert [backend.allow_tf32 for backend in backends] == before


def test_ceilings_are_rates():
    found = timing.ceilings(CPU, ["float32", "bfloat16"], timing.Effort(1, 0, 0), size=32)
    assert set(found["matmul"]) == {"float32", "bfloat16"}
    assert all(rate > 0 for rate in (*found["matmul"].values(), found["copy"]))
    a, b = {"matmul": {"x": 1, "y": 4}, "copy": 2}, {"matmul": {"x": 3, "y": 2}, "copy": 1}
    assert timing.higher(a, b) == {"matmul": {"x": 3, "y": 4}, "copy": 2}


def test_seconds_go_to_the_kind_of_operation_that_takes_them():
    x, square = torch.randn(4, 8, 32, 32), torch.randn(256, 256)
    convolution, norm = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
    calls = {
        "convolutions": lambda: convolution(x).sum().backward(),
        "matrix products": lambda: torch.mm(square, square),
        "batch norm": lambda: norm(x).sum().backward(),
    }
    assert set(calls) == set(timing.OPERATIONS)
    for own, call in calls.items():
        found = timing.seconds_by_kind(call, CPU)
        assert set(found) == {*timing.OPERATIONS, timing.REST}
        assert [kind for kind in timing.OPERATIONS if found[kind] > 0] == [own]


def test_the_seconds_of_all_kinds_are_those_of_the_call():
    call = nn.Sequential(nn.Conv2d(3, 64, 7), nn.BatchNorm2d(64), nn.ReLU())
    x = torch.randn(16, 3, 64, 64)
    start = time.perf_counter()
    kinds = timing.seconds_by_kind(lambda: call(x), CPU)
    assert 0 < sum(kinds.values()) < time.perf_counter() - start


@pytest.mark.parametrize("output", ["", "folder", "file/result.json"])
def test_what_cannot_be_written_is_said_before_anything_is_measured(output, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=r"is a folder; pass a file|cannot be made"):
        machine.output_file(str(tmp_path / output))
    assert machine.output_file(str(tmp_path / "new" / "result.json")) == tmp_path / "new" / "result.json"
    assert not (tmp_path / "new").exists()


def test_a_users_mistake_is_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.compare", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"python -m benchmarks.compare: error: {tmp_path} has no report.json")


def test_tables_and_pictures(tmp_path):
    assert markdown_table(("a", "b"), [(1, "x")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n"
    machine.draw_bars({"one": {"x": (1, 2, 3)}, "two": {"y": (1, 1, 1), "z": (0, 1, 2)}}, "unit", tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 1000


def test_the_environment_names_what_a_number_depends_on():
    found = machine.environment("speed")
    assert {"command", "commit", "device", "instructions", "threads", "load", "torch"} <= set(found)
    assert found["commit"]
    assert np.isfinite(found["load"])
