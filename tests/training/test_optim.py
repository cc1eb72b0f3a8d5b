"""Optimizers and learning rates, as the configuration names them."""

import pytest
import torch

from st_reid.config import OptimConfig
from st_reid.errors import UserError
from st_reid.training.optim import learning_rate_factor, make_optimizer


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_backbone_may_have_its_own_rate(name):
    model = torch.nn.Module()
    model.backbone, model.head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)
    model.head.bias.requires_grad_(False)
    optimizer = make_optimizer(model, OptimConfig(name=name, lr=0.1, backbone_lr=0.01, weight_decay=0.5))
    head, backbone = optimizer.param_groups
    assert (head["lr"], backbone["lr"]) == pytest.approx((0.1, 0.001))
    assert (len(head["params"]), len(backbone["params"])) == (1, 2)
    assert type(optimizer).__name__.lower() == name
    assert len(make_optimizer(model, OptimConfig()).param_groups) == 1
    with pytest.raises(UserError, match="no backbone of its own"):
        make_optimizer(torch.nn.Linear(2, 2), OptimConfig(backbone_lr=0.1))


def test_learning_rate():
    steps = OptimConfig(warmup_epochs=10, milestones=[70, 140], gamma=0.3)
    assert [learning_rate_factor(e, steps, 500) for e in (0, 10, 69, 70, 140)] == pytest.approx([0.01, 1, 1, 0.3, 0.09])
    assert learning_rate_factor(5, steps, 500) == pytest.approx(0.505)
    cosine = OptimConfig(warmup_epochs=2, schedule="cosine")
    assert [learning_rate_factor(e, cosine, 10) for e in (2, 6, 10)] == pytest.approx([1, 0.5, 0])
