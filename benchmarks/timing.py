"""How benchmarks take time: warm-up, the device's own clock, variants in turns, and the device's measured ceilings."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import quartiles

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else each profile of a CPU complains that there is no GPU
LEAST_ROUNDS = 3
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""What a precision computes in; ``tf32`` is float32 whose products a GPU may round."""


@dataclass(frozen=True)
class Effort:
    """How long something is timed.

    Attributes:
        rounds: timed calls, more where they take less than ``least`` together.
        seconds: after which no more rounds are begun, once there are :data:`LEAST_ROUNDS`.
        warm_up: calls before that are not timed, one at least; a GPU gets more, until half of ``least`` is over.
        least: seconds to time at least, so that a GPU's clock has risen, and no queue is all that is seen.
    """

    rounds: int = 20
    seconds: float = 10.0
    warm_up: int = 3
    least: float = 1.0

    def rounds_of(self, seconds: float) -> int:
        """Return how many calls to time, where one takes ``seconds``."""
        seconds = max(seconds, 1e-6)
        rounds = max(self.rounds, math.ceil(min(self.least, self.seconds) / seconds))
        return max(min(LEAST_ROUNDS, self.rounds), min(rounds, int(self.seconds / seconds)))


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call, waited for: its latency."""
    return back_to_back(function, device, 1)[0]


def back_to_back(function: Callable[[], object], device: torch.device, rounds: int) -> list[float]:
    """Return the seconds of each of several calls; a GPU is not waited for between them."""
    if device.type != "cuda":
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        return seconds
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    with torch.cuda.device(device):
        marks[0].record()
        for mark in marks[1:]:
            function()
            mark.record()
        marks[-1].synchronize()
    return [a.elapsed_time(b) / 1000 for a, b in pairwise(marks)]


def warmed_up(function: Callable[[], object], device: torch.device, effort: Effort) -> tuple[float, int]:
    """Call a function until it is warm; return the seconds of its first call, and how many calls to time."""
    seconds = [seconds_of(function, device) for _ in range(max(effort.warm_up, 1))]
    first = seconds[0]
    while device.type == "cuda" and sum(seconds[1:]) < min(effort.least, effort.seconds) / 2:
        seconds.append(seconds_of(function, device))
    return first, effort.rounds_of(seconds[-1])


def time_in_turns(
    functions: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Return the seconds of each function in each round; a machine that slows down slows all of a round alike."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for step in range(warm_up + rounds):
        for name, function in functions.items():
            taken = seconds_of(function, device)
            if step >= warm_up:
                seconds[name].append(taken)
    return seconds


OPERATIONS = {
    "convolutions": re.compile("conv"),
    "matrix products": re.compile("(add|b|baddb)?mm$|addmv$|linear"),
    "batch norm": re.compile("batch_norm"),
}
"""What the names of operations have in common, by kind; whatever has none of it is the rest."""
REST = "the rest"


def seconds_by_kind(function: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the seconds of one more call by kind of operation, forward and backward; together they are the call's.

    What a compiler has fused is in the rest. On a GPU the seconds are those of its kernels.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiler:
        function()
        if on_gpu:
            torch.cuda.synchronize(device)
    seconds = dict.fromkeys((*OPERATIONS, REST), 0.0)
    for event in profiler.key_averages():
        if event.device_type == DeviceType.CPU:  # which the time of the kernels that it began is counted with
            taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            name = event.key.rpartition("::")[2]
            fused = name.startswith("triton_")  # which is named after all that is in it
            kind = next((kind for kind, pattern in OPERATIONS.items() if not fused and pattern.search(name)), REST)
            seconds[kind] += taken / 1e6
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Return the quartiles of the ratio within each round."""
    return quartiles([a / b for a, b in zip(over, under, strict=True)])


@contextmanager
def math_of(precision: str) -> Iterator[None]:
    """Let a GPU round the products of float32 in ``tf32``, and in no other precision."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = precision == "tf32"
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def ceilings(device: torch.device, precisions: Sequence[str], effort: Effort, size: int | None = None) -> dict:
    """Measure what the device can do at most: the fastest of several large products and copies.

    Args:
        device: to be measured.
        precisions: of the matrix products.
        effort: how often.
        size: rows of the square matrices; the copy has 32,768 times as many floats. By default large ones.

    Returns:
        ``matmul``: operations a second by precision; ``copy``: bytes a second, read and written; ``size``.
    """
    size = size or (8192 if device.type == "cuda" else 2048)
    products = {}
    for precision in precisions:
        with math_of(precision):
            a, b, out = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(3))
            products[precision] = 2 * size**3 / _fastest(lambda: torch.mm(a, b, out=out), device, effort)  # noqa: B023
    source = torch.zeros(size * 2**15, device=device)
    target = torch.zeros_like(source)
    copied = 2 * source.nbytes / _fastest(lambda: target.copy_(source), device, effort)
    return {"matmul": products, "copy": copied, "size": size}


def _fastest(function: Callable[[], object], device: torch.device, effort: Effort) -> float:
    _, rounds = warmed_up(function, device, effort)
    return float(np.min(back_to_back(function, device, rounds)))


def higher(a: dict, b: dict) -> dict:
    """Return the higher of two measurements of each ceiling: what else ran was in the way of the lower one."""
    products = {name: max(rate, b["matmul"][name]) for name, rate in a["matmul"].items()}
    return {**a, "matmul": products, "copy": max(a["copy"], b["copy"])}
