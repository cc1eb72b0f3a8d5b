"""What benchmarks share: the machine that they ran on, and quartiles of what was timed."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from st_reid.report import processor


def environment(script: str, device: str = "cpu") -> dict[str, Any]:
    """Return command, device, load and versions; call it before the work, whose load is no matter."""
    return {
        "command": " ".join([f"python -m benchmarks.{script}", *sys.argv[1:]]),
        "device": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "torchvision", "torchreid", "numpy", "scipy")},
    }


def peak_gigabytes() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the first, second and third quartile."""
    return dict(zip(("q1", "median", "q3"), np.quantile(values, [0.25, 0.5, 0.75]).tolist(), strict=True))


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
