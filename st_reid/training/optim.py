"""Optimizers and learning rates, as the configuration names them."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from st_reid.config import OptimConfig
from st_reid.errors import UserError

WARMUP_START = 0.01  # of the learning rate, as PSTA's


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a model's trainable parameters, with a separate rate for its ``backbone``.

    Raises:
        UserError: a backbone learning rate for a model without a backbone.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[config.backbone_lr != 1 and name.startswith("backbone.")].append(parameter)
    if config.backbone_lr != 1 and not groups[True]:
        raise UserError(
            f"optim.backbone_lr is {config.backbone_lr:g}, but the model has no backbone of its own; leave it at 1"
        )
    # The new layers come first: the log shows the rate of the first group.
    rates = {False: config.lr, True: config.lr * config.backbone_lr}
    parameters = [{"params": group, "lr": rates[own]} for own, group in sorted(groups.items()) if group]
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, weight_decay=config.weight_decay, fused=True)


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: OptimConfig, epochs: int, batches: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of the learning rate: warm-up, then steps or a cosine.

    Args:
        optimizer: whose rate it sets.
        config: the schedule, and the number of batches for each step.
        epochs: of the run.
        batches: of an epoch.
    """
    steps = math.ceil(batches / config.accumulate)
    factor = partial(learning_rate_factor, config=config, epochs=epochs)
    return LambdaLR(optimizer, lambda step: factor(step / steps))


def learning_rate_factor(epoch: float, config: OptimConfig, epochs: int) -> float:
    """Return the factor on the learning rate after ``epoch`` epochs, a fraction in the middle of one."""
    if epoch < config.warmup_epochs:
        return WARMUP_START + (1 - WARMUP_START) * epoch / config.warmup_epochs
    if config.schedule == "cosine":
        done = (epoch - config.warmup_epochs) / max(epochs - config.warmup_epochs, 1e-9)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
