"""Weights and inputs from a formula, so that reference numbers need no stored weights. See the parity README."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def load_reference(name: str) -> dict[str, np.ndarray]:
    """Read one of this folder's .npz files."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def formula_state_dict(keys: np.ndarray, shapes: np.ndarray, seed: int) -> dict[str, Tensor]:
    """Return float32 weights for every (key, shape), shapes being written as Python tuples."""
    return {str(k): _entry(str(k), ast.literal_eval(str(s)), seed) for k, s in zip(keys, shapes, strict=True)}


def formula_input(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return a float32 input."""
    return torch.from_numpy(np.random.RandomState(seed + 1000).standard_normal(shape).astype(np.float32))


def _entry(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    n = np.random.RandomState((crc32(key.encode()) + seed) % 2**32).standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(n)
    elif key.endswith("running_mean"):
        value = 0.1 * n
    elif n.ndim >= 2:
        value = n / math.sqrt(math.prod(shape[1:]))  # a plain float, so that the arithmetic stays in float32
    elif key.endswith("weight"):
        value = (1 + 0.1 * n) * (0.25 if key.endswith("bn3.weight") else 1)
    else:
        value = 0.1 * n
    return torch.from_numpy(np.asarray(value, dtype=np.float32))
