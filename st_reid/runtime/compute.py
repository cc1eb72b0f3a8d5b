"""Where a model runs, in which precision and layout, and with how many other processes."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

import torch
from torch import nn

from st_reid.config import ComputeConfig
from st_reid.errors import UserError
from st_reid.runtime.distributed import ALONE, World


@dataclass(frozen=True)
class Compute:
    """Where a model runs and in which precision.

    Attributes:
        device: of the model and its input.
        dtype: of the autocast; ``torch.float32`` for none.
        channels_last: whether images and convolutions lie in memory with their channels last.
        compile: whether models are compiled.
        world: the processes of the run.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = True
    compile: bool = False
    world: World = ALONE

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto", config: ComputeConfig | None = None) -> Compute:
        """Resolve ``auto``, and connect to the other processes if `torchrun` has started several.

        ``auto`` is a GPU if there is one (one for each process), and bfloat16 if the device supports it.

        Raises:
            UserError: a device that does not exist, or float16 on a device that does not support it.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and "LOCAL_RANK" in os.environ:
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        try:
            chosen = torch.device(device)
            torch.zeros(1, device=chosen).item()  # meta has no values
        except (RuntimeError, AssertionError, ValueError) as error:
            line = str(error).splitlines()[0]
            raise UserError(f"device {device!r} cannot be used ({line}); pass auto or cpu") from error
        if precision == "float16" and chosen.type != "cuda":
            raise UserError(f"precision float16 needs a GPU, and the device is {device}; pass bfloat16 or float32")
        if precision == "auto":
            precision = "bfloat16" if _has_bfloat16(chosen) else "float32"
        config = config or ComputeConfig()
        return cls(chosen, getattr(torch, precision), config.channels_last, config.compile, World.join(chosen))

    def autocast(self) -> torch.autocast:
        """Return the context in which the model is called."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, its convolutions in the chosen layout, and compile it if that is wanted.

        An exported model is not moved.
        """
        if not isinstance(model, nn.Module):
            return model
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model = model.to(self.device).to(memory_format=layout)
        if self.compile:
            model.compile()  # at its first call
        return model

    def synchronize(self) -> None:
        """Wait until all queued work is done, to measure time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_gigabytes(self) -> float:
        """Return the most memory held so far: the GPU's, or on a CPU that of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)
