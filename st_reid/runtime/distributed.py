"""Several processes as one run: the rank of each, and what they exchange.

`torchrun` starts the processes and sets the rank of each in the environment; without it, everything here is for
one process and costs nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from tqdm import tqdm

from st_reid.errors import UserError, first_line
from st_reid.files import locked

T = TypeVar("T")
MEETING = timedelta(minutes=10)  # until all have come
TIMEOUT = timedelta(minutes=10)  # of an exchange: a machine without power or network closes no connection
WAITING = timedelta(hours=2)  # for a process that downloads, ranks or writes alone


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
        device: on which they exchange tensors.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Meet the other processes that `torchrun` has started, if it has: over nccl on GPUs, over gloo on CPUs.

        Raises:
            UserError: they did not all come within ten minutes, or their address is taken or not reached.
        """
        size = int(os.environ.get("WORLD_SIZE", 1))
        if size == 1:
            return ALONE
        if not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)
            _meet(size, "nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files: only the first does."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process has come here, however long one of them works alone."""
        if self.size > 1:
            dist.barrier(group=_waiting)

    @contextmanager
    def only_writer(self, output: Path) -> Iterator[None]:
        """Let the first process hold the lock of an output for all, see :func:`~st_reid.files.locked`.

        Raises:
            UserError: it cannot, in every process.
        """
        refused: UserError | None = None
        with ExitStack() as stack:
            if self.is_main:
                try:
                    stack.enter_context(locked(output))
                except UserError as error:
                    refused = error
            if self.any(refused is not None)[0]:
                raise refused or UserError(f"{output} cannot be written; the first process says why")
            yield

    @contextmanager
    def first_of_node(self) -> Iterator[None]:
        """Let the first process of a machine run the body before the others, to draw or download what all read."""
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0
        if not first:
            self.barrier()
        try:
            yield
        finally:  # after an error too: the others get the same error, and end with the same message
            if first:
                self.barrier()

    def any(self, *conditions: bool) -> tuple[bool, ...]:
        """Return which of the conditions hold in any process."""
        if self.size == 1:
            return conditions
        flags = torch.tensor(conditions, dtype=torch.int32, device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in flags.tolist())

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of every value over the processes."""
        if self.size == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.size).tolist(), strict=True))

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes, (W n, ...), with their gradients."""
        return _Gather.apply(rows) if self.size > 1 else rows

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of ``value`` over the processes, with its gradient."""
        return _Sum.apply(value) if self.size > 1 else value

    def share(self, items: Iterable[T]) -> list[T]:
        """Return the items of this process: every W-th."""
        return list(items)[self.rank :: self.size]

    def unite(self, rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return all ``count`` rows (count, D) in order, from each process those of its :meth:`share`."""
        if self.size == 1:
            return rows
        most = -(-count // self.size)
        padded = torch.zeros(most, rows.shape[1], device=self.device)
        padded[: len(rows)] = torch.from_numpy(rows).to(self.device)
        every = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(every, padded)
        return torch.stack(every, dim=1).flatten(0, 1)[:count].cpu().numpy()

    def share_first(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first process's tensors to all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                values = tensor.contiguous()
                dist.broadcast(values, 0)
                tensor.copy_(values)

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return ``model`` as one whose gradients are the means over the processes."""
        if self.size == 1:
            return model
        # Of a 1x1 convolution in channels-last both layouts are the same, which DDP does not see.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def progress(self, description: str, total: int, initial: int = 0) -> tqdm:
        """Return a progress bar of batches that disappears at the end: none in a file, one for all processes."""
        hide = None if self.is_main else True
        return tqdm(desc=description, total=total, initial=initial, unit="batch", leave=False, disable=hide)


ALONE = World()

# Global in this process, like torch's group: the store, the number of the run, and the group that waits for long.
_store: dist.Store | None = None
_runs = 0
_waiting: Any = None


@contextmanager
def together() -> Iterator[None]:
    """Run the body with all processes connected, and disconnect afterwards.

    If one of them ends early, the system closes its connections, and what the others exchange next is an error.
    """
    global _waiting
    try:
        yield
        if _waiting is not None:
            dist.barrier(group=_waiting)  # do not disconnect while another process still needs it
            dist.destroy_process_group()
    finally:
        _waiting = None


def _meet(size: int, backend: str) -> None:
    """Connect to the others; a later run in the same processes uses the same store, with its own names."""
    global _store, _runs, _waiting
    try:
        if _store is None:
            _store = next(dist.rendezvous("env://", timeout=MEETING))[0]
        _runs += 1
        rank, store = int(os.environ["RANK"]), dist.PrefixStore(f"st_reid/{_runs}", _store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        _waiting = dist.new_group(backend="gloo", timeout=WAITING)
    except (dist.DistError, RuntimeError, OSError, ValueError) as error:
        where = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise UserError(
            f"the {size} processes could not meet at {where} ({first_line(error).rstrip('.')}); "
            f"start all of them within {MEETING.total_seconds():g} s, as torchrun does"
        ) from None


class _Gather(Function):
    """Rows of all processes; the gradient of each row is the sum of the gradients in all processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        every = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(every, rows.contiguous())
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


class _Sum(Function):
    """Sum over all processes, and its gradient, the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total
