"""The environment that results depend on, besides the code."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from st_reid.runtime.compute import Compute


def environment(compute: Compute | None = None) -> dict[str, Any]:
    """Return versions, processor and threads; with ``compute`` also the device and the precision."""
    versions = {}
    for package in ("st_reid", "torch", "torchvision", "torchreid", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    machine = {
        **versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
    }
    if compute is None:
        return machine
    on_gpu = compute.device.type == "cuda"
    return machine | {
        "device": torch.cuda.get_device_name(compute.device) if on_gpu else str(compute.device),
        "precision": str(compute.dtype).removeprefix("torch."),
    }


def processor() -> str:
    """Return the processor's name, if Linux gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.partition(":")[2].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
