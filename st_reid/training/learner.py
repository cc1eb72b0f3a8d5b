"""One optimisation step, and the state needed to resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from st_reid.config import OptimConfig
from st_reid.data.transforms import to_float
from st_reid.errors import UserError
from st_reid.models.layers.stam import FramewiseBatchNorm2d
from st_reid.runtime.compute import Compute
from st_reid.runtime.distributed import World

BatchNorm = nn.modules.batchnorm._BatchNorm


class NotFinite(UserError):  # noqa: N818 - it names what is wrong, as UserError the user
    """A loss or a gradient that is not a number, or infinite."""


@dataclass
class Learner:
    """A model with its loss, optimizer and learning rate.

    Several processes compute the same step as one process that has all clips: gradients are averaged, and the loss
    gathers the features for its triplets. Only batch norm uses the clips of each process separately, unless it is
    frozen or synchronised.

    Args:
        model: on its device; its weights are changed.
        loss: from the model's output and labels (B,) to ``total`` and its parts.
        optimizer: of the model's parameters.
        scheduler: of the learning rate; it takes one step for each optimisation step.
        compute: device, precision and processes.
        config: accumulation, clipping, averaging, batch norm, and what to do about a loss that is not finite.

    Attributes:
        averaged: the moving average of the weights; ``None`` if it is not used.
    """

    model: nn.Module
    loss: Callable[[Any, Tensor], dict[str, Tensor]]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    compute: Compute
    config: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        self.averaged: AveragedModel | None = None
        if self.config.ema:
            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema))
        self.scaler = torch.amp.GradScaler(self.compute.device.type, enabled=self.compute.dtype == torch.float16)
        if self.config.sync_batchnorm and self.compute.world.size > 1:
            synchronize_batchnorm(self.model, self.compute.world)
        self.parallel = self.compute.world.parallel(self.model)

    @property
    def to_evaluate(self) -> nn.Module:
        """The model to evaluate: the averaged one, if there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step: the new layers', where the backbone has its own."""
        return self.optimizer.param_groups[0]["lr"]

    def train(self) -> None:
        """Put the model into training mode."""
        self.parallel.train()
        if self.config.freeze_batchnorm:
            for module in self.model.modules():
                if isinstance(module, BatchNorm):
                    module.eval()

    def step(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Take one step with the mean gradient of ``batches``, pairs of uint8 clips (B, T, 3, H, W) and labels (B,).

        Returns:
            Means over the batches and processes of the losses, ``loss`` for the total, and of the ``accuracy``, and
            ``grad_norm``, the gradient's before it is cut.

        Raises:
            NotFinite: a loss or the gradient is not finite. Weights and running statistics are unchanged.
        """
        before = [buffer.clone() for buffer in self.model.buffers()] if self.config.on_bad_loss == "skip" else []
        try:
            figures = [
                self._backward(clips, labels, len(batches), last=i == len(batches) - 1)
                for i, (clips, labels) in enumerate(batches)
            ]
            norm = self._update()
        except NotFinite:
            for buffer, value in zip(self.model.buffers(), before, strict=False):
                buffer.copy_(value)
            raise
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        return {name: sum(f[name] for f in figures) / len(figures) for name in figures[0]} | {"grad_norm": norm}

    def _backward(self, clips: Tensor, labels: Tensor, count: int, last: bool) -> dict[str, float]:
        device = self.compute.device
        clips, labels = clips.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        # Gradients travel between processes once a step, with the last batch's.
        quiet = nullcontext() if last or self.parallel is self.model else self.parallel.no_sync()  # type: ignore[operator]
        with quiet:
            with self.compute.autocast():
                output = self.parallel(to_float(clips))
            losses = self.loss(output, labels)
            figures = {"loss" if name == "total" else name: part.item() for name, part in losses.items()}
            own = math.isfinite(figures["loss"])
            (bad,) = self.compute.world.any(not own)  # all or none continue, or some would wait forever
            if bad:
                elsewhere = "a loss in another process, which names the tracklets, is not finite"
                raise NotFinite(elsewhere if own else f"the loss is {figures['loss']}")
            self.scaler.scale(losses["total"] / count).backward()
        return self.compute.world.mean(figures | {"accuracy": _accuracy(output, labels)})

    def _update(self) -> float:
        self.scaler.unscale_(self.optimizer)
        with_gradient = [p for p in self.model.parameters() if p.grad is not None]
        total = nn.utils.get_total_norm([p.grad for p in with_gradient])  # type: ignore[misc]
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(with_gradient, self.config.clip_norm, total)
        norm = total.item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():  # with float16: the scale was too large
            raise NotFinite(f"the gradient's norm is {norm}")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume; its ``state_dict`` is that of the model that is evaluated."""
        state: dict[str, Any] = {
            "state_dict": self.to_evaluate.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.averaged is not None:
            state |= {"learned": self.model.state_dict(), "averaged_steps": int(self.averaged.n_averaged)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["state_dict"])
            self.averaged.n_averaged.fill_(state["averaged_steps"])
        self.model.load_state_dict(state["state_dict"] if self.averaged is None else state["learned"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state.get("scaler", {}))


def _accuracy(output: Any, labels: Tensor) -> float:
    logits = output[0] if isinstance(output, tuple) else output
    last = logits if isinstance(logits, Tensor) else logits[-1]
    return (last.argmax(dim=1) == labels).float().mean().item()


def synchronize_batchnorm(model: nn.Module, world: World) -> None:
    """Make a model's batch norms take their statistics over the clips of all processes.

    torch's own do so on GPUs only, and torch does not know
    :class:`~st_reid.models.layers.stam.FramewiseBatchNorm2d`.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, FramewiseBatchNorm2d):
                child.sum_over_processes = world.total
            elif isinstance(child, BatchNorm):
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
