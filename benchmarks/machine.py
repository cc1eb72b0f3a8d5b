"""What benchmarks share: the machine that they ran on, quartiles of what was timed, and how results are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

from st_reid import cli
from st_reid.config import expected
from st_reid.errors import UserError, first_line
from st_reid.files import check_output, write_text
from st_reid.runtime.environment import processor


def run_script(main: Callable[[], None]) -> NoReturn:
    """Run a benchmark's command line and exit; of what its user can mend it says one line, and exits with 2."""

    def command(argv: list[str]) -> None:
        sys.argv[1:] = argv  # without --debug and --import, which are not the benchmark's own
        main()

    cli.run(command, f"python -m benchmarks.{Path(sys.argv[0]).stem}")


class ScriptParser(argparse.ArgumentParser):
    """A parser of a benchmark's options, whose errors are one line, as the commands' are.

    Args:
        text: of the help.
    """

    def __init__(self, text: str | None) -> None:
        super().__init__(description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise :class:`UserError`."""
        raise UserError(message)


def in_range(kind: Any) -> Callable[[str], Any]:
    """Return what reads a number with a range of :mod:`st_reid.config`, such as ``PositiveInt``, for argparse."""

    def read(text: str) -> Any:
        try:
            value = kind(float(text) if issubclass(kind, float) else int(text))
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"{text or 'empty'} is not {expected(kind)}") from None
        return next(plain(value) for plain in (int, float) if isinstance(value, plain))

    return read


def output_file(text: str) -> Path:
    """Return the path of a file to write, for argparse: where it cannot be, nothing should be measured for it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; pass a file, such as {path / 'result.json'}")
    try:
        check_output(path.parent)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def environment(script: str, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Return command, commit, device, processor, versions, and the load before: call it before the work."""
    on_cpu = torch.device(device).type == "cpu"
    cuda = {} if on_cpu else {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return {
        "command": f"python -m benchmarks.{script} {shlex.join(sys.argv[1:])}".strip(),
        "commit": _commit(),
        "device": processor() if on_cpu else torch.cuda.get_device_name(device),
        "processor": processor(),
        "instructions": _instructions(),
        **cuda,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "torchvision", "torchreid", "numpy", "scipy")},
    }


def reason(error: Exception) -> str:
    """Return what a table says in place of what could not be measured."""
    return f"{type(error).__name__}: {first_line(error)}"[:200].replace("|", "/")


def settings_of(run: Path) -> dict[str, Any]:
    """Return the configuration of a run, or of an evaluation, from its folder; empty where it is not there."""
    path = run / "config.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def peak_gigabytes() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the first, second and third quartile."""
    return dict(zip(("q1", "median", "q3"), np.quantile(values, [0.25, 0.5, 0.75]).tolist(), strict=True))


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(json.dumps(content, indent=2) + "\n", path)


Bars = Mapping[str, tuple[float, float, float]]
"""Low, middle and high value by label."""


def draw_bars(panels: Mapping[str, Bars], xlabel: str, path: Path) -> None:
    """Draw panels of horizontal bars one below the other, the first bar of each on top."""
    heights = [0.8 + 0.26 * len(bars) for bars in panels.values()]
    figure = Figure(figsize=(9, sum(heights) + 0.4), layout="constrained")
    every = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, bars) in zip(every, panels.items(), strict=True):
        low, middle, high = np.array(list(bars.values())[::-1]).T
        axes.barh(list(bars)[::-1], middle, xerr=[middle - low, high - middle], color="tab:blue")
        axes.set_title(title, loc="left", fontsize=10)
    every[-1].set_xlabel(xlabel)
    figure.savefig(path, dpi=110)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit that runs, with ``-dirty`` where files other than results differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments]
        root = Path(__file__).parents[1]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not known"


def _instructions() -> str:
    """Return the vector instructions that PyTorch uses, and whether there are matrix ones."""
    checks = {"AVX512_BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    more = [name for name, check in checks.items() if getattr(torch.cpu, check, bool)()]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *more])
