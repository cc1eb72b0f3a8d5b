"""The optimisation step against its definition, on a network of a few weights."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from st_reid.config import OptimConfig
from st_reid.data.transforms import to_float
from st_reid.runtime.compute import Compute
from st_reid.training.learner import Learner, NotFinite
from st_reid.training.losses import ClipLoss

CPU = Compute(torch.device("cpu"), torch.float32)


class Tiny(nn.Module):
    """A clip model: convolution, batch norm, classifier."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(6, 3)

    def forward(self, clips):
        features = self.layers(clips.flatten(0, 1)).flatten(1).unflatten(0, clips.shape[:2]).mean(1)
        return (self.classifier(features), features) if self.training else features


def make(compute=CPU, optimizer="sgd", **options):
    torch.manual_seed(0)
    model = compute.place(Tiny())
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    optimizer = kind(model.parameters(), lr=0.1)
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    return Learner(model, ClipLoss(triplet_weight=options.pop("triplet_weight", 1)), optimizer, scheduler, compute,
                   OptimConfig(**options))  # fmt: skip


def batch(seed=0, persons=3, size=8):
    rng = torch.Generator().manual_seed(seed)
    clips = torch.randint(256, (2 * persons, 2, 3, size, size), generator=rng, dtype=torch.uint8)
    return clips, torch.arange(persons).repeat_interleave(2)


def weights(learner):
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()])


def gradient(learner, clips, labels):
    """The gradient that plain PyTorch computes."""
    loss = learner.loss(learner.model(to_float(clips)), labels)["total"]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(learner.model.parameters()))])


def test_a_step_is_what_the_optimizer_does_with_the_gradient():
    learner = make()
    learner.train()
    before, expected = weights(learner), gradient(learner, *batch())
    figures = learner.step([batch()])
    torch.testing.assert_close(weights(learner), before - 0.1 * expected)
    assert figures["grad_norm"] == pytest.approx(expected.norm().item(), rel=1e-5)
    assert set(figures) == {"loss", "cross_entropy", "triplet", "accuracy", "grad_norm"}
    assert learner.learning_rate == pytest.approx(0.05)


def test_accumulated_batches_are_one_large_batch_but_for_batch_norm_and_mining():
    clips, labels = batch()
    whole, parts = (make(freeze_batchnorm=True, triplet_weight=0) for _ in range(2))
    for learner in (whole, parts):
        learner.train()
    a = whole.step([(clips, labels)])
    b = parts.step([(clips[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)])
    torch.testing.assert_close(weights(parts), weights(whole))
    assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)


def test_a_long_gradient_is_cut_and_a_short_one_left():
    for limit in (0.01, 100.0):
        learner = make(clip_norm=limit)
        learner.train()
        before, expected = weights(learner), gradient(learner, *batch())
        norm = expected.norm().item()
        assert learner.step([batch()])["grad_norm"] == pytest.approx(norm, rel=1e-5)
        step = (before - weights(learner)) / 0.1
        torch.testing.assert_close(step, expected * min(1, limit / norm), rtol=1e-3, atol=1e-6)


def test_the_average_is_exponential_and_is_what_is_evaluated():
    learner = make(ema=0.9)
    learner.train()
    average = None
    for i in range(4):
        learner.step([batch(i)])
        average = weights(learner) if average is None else 0.9 * average + 0.1 * weights(learner)
    found = torch.cat([p.detach().flatten() for p in learner.to_evaluate.parameters()])
    torch.testing.assert_close(found, average)
    torch.testing.assert_close(dict(learner.to_evaluate.named_buffers()), dict(learner.model.named_buffers()))


def test_batch_norm_can_be_frozen():
    learner = make(freeze_batchnorm=True)
    learner.train()
    before = {name: value.clone() for name, value in learner.model.named_buffers()}
    learner.step([batch()])
    torch.testing.assert_close(dict(learner.model.named_buffers()), before)
    assert learner.model.layers[1].weight.grad is None
    assert learner.model.training


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nothing_is_left_of_a_step_that_is_not_finite(where):
    learner = make(optimizer="adam", on_bad_loss="skip", ema=0.5)
    learner.train()
    learner.step([batch()])
    state = {name: value.clone() for name, value in learner.model.state_dict().items()}
    average = {name: value.clone() for name, value in learner.to_evaluate.state_dict().items()}
    right = learner.loss
    if where == "loss":
        learner.loss = lambda output, labels: {"total": right(output, labels)["total"] * torch.inf}
    else:  # the derivative of a square root at 0
        learner.loss = lambda output, labels: {"total": (output[0].sum() * 0).sqrt()}
    with pytest.raises(NotFinite, match="the loss is inf" if where == "loss" else "the gradient's norm is nan"):
        learner.step([batch(1)])
    torch.testing.assert_close(learner.model.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close(learner.to_evaluate.state_dict(), average, rtol=0, atol=0)
    learner.loss = right
    assert learner.step([batch(1)])["loss"] > 0


def test_a_learner_goes_on_from_its_state():
    one, two = (make(optimizer="adam", ema=0.9) for _ in range(2))
    for learner in (one, two):
        learner.train()
    for i in range(3):
        one.step([batch(i)])
    two.load_state_dict(copy.deepcopy(one.state_dict()))  # as a file would
    for learner in (one, two):
        learner.step([batch(9)])
    torch.testing.assert_close(weights(two), weights(one), rtol=0, atol=0)
    torch.testing.assert_close(two.to_evaluate.state_dict(), one.to_evaluate.state_dict(), rtol=0, atol=0)
    assert two.learning_rate == one.learning_rate


CHOICES = {
    "accumulate": (1, 2),
    "clip_norm": (None, 1.0),
    "ema": (0.0, 0.5),
    "freeze_batchnorm": (False, True),
    "on_bad_loss": ("stop", "skip"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_option_goes_with_every_other(dtype, channels_last):
    """The table in docs/training.md."""
    for values in itertools.product(*CHOICES.values()):
        options = dict(zip(CHOICES, values, strict=True))
        learner = make(Compute(torch.device("cpu"), dtype, channels_last), **options)
        learner.train()
        losses = [learner.step([batch(i) for i in range(options["accumulate"])])["loss"] for _ in range(6)]
        assert losses[-1] < losses[0], options


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 1.0, "ema": 0.5}])
def test_a_compiled_model_learns_the_same(options):
    plain, compiled = make(**options), make(Compute(CPU.device, CPU.dtype, compile=True), **options)
    for learner in (plain, compiled):
        learner.train()
    for _ in range(2):
        a, b = (learner.step([batch(i) for i in range(options.get("accumulate", 1))]) for learner in (plain, compiled))
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
    assert compiled.state_dict()["state_dict"].keys() == plain.state_dict()["state_dict"].keys()
