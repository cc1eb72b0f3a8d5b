"""The losses against loops, torchreid and PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from st_reid.errors import UserError
from st_reid.torchreid_compat import submodule
from st_reid.training.losses import ClipLoss, batch_hard_triplet


def by_loops(features, labels, margin):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    losses = []
    for i in range(len(unit)):
        distances = [1 - unit[i] @ unit[j] for j in range(len(unit))]
        positive = max(d for d, label in zip(distances, labels, strict=True) if label == labels[i])
        negatives = [d for d, label in zip(distances, labels, strict=True) if label != labels[i]]
        losses.append(max(0.0, positive - min(negatives) + margin) if negatives else 0.0)
    return np.mean(losses)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999), batch=st.integers(1, 12), persons=st.integers(1, 4), margin=st.sampled_from([0.0, 0.3])
)
def test_triplet_equals_loops(seed, batch, persons, margin):
    rng = np.random.default_rng(seed)
    features, labels = rng.standard_normal((batch, 5)), rng.integers(persons, size=batch)
    ours = batch_hard_triplet(torch.tensor(features), torch.tensor(labels), margin)
    assert ours.item() == pytest.approx(by_loops(features, labels, margin), abs=1e-5)


def test_cross_entropy_equals_torchreids():
    logits, labels = torch.randn(6, 9), torch.arange(6)
    theirs = submodule("losses").CrossEntropyLoss(9, use_gpu=False, label_smooth=True)(logits, labels)
    assert ClipLoss(0.1)(logits, labels)["total"].item() == pytest.approx(theirs.item(), abs=1e-6)


def test_levels_are_averaged_and_parts_add_up():
    labels = torch.tensor([0, 0, 1, 1])
    logits, features = [torch.randn(4, 3) for _ in range(3)], [torch.randn(4, 8) for _ in range(3)]
    loss = ClipLoss(triplet_weight=0.5)
    together = loss((logits, features), labels)
    one_by_one = [loss((a, b), labels) for a, b in zip(logits, features, strict=True)]
    for key in together:
        assert together[key].item() == pytest.approx(np.mean([part[key].item() for part in one_by_one]), abs=1e-6)
    assert together["total"].item() == pytest.approx(
        together["cross_entropy"].item() + 0.5 * together["triplet"].item(), abs=1e-6
    )


def test_losses_of_parts_may_be_summed():
    labels = torch.tensor([0, 1, 1])
    logits = [torch.randn(3, 4) for _ in range(6)]
    mean, total = (ClipLoss(levels=levels)(logits, labels)["total"].item() for levels in ("mean", "sum"))
    assert total == pytest.approx(6 * mean, rel=1e-6)


def test_a_batch_of_one_person_has_a_finite_loss_and_gradient():
    features = torch.randn(3, 4, requires_grad=True)
    batch_hard_triplet(features, torch.zeros(3)).backward()
    assert torch.isfinite(features.grad).all()


def test_label_smoothing_is_checked():
    with pytest.raises(UserError, match="label_smoothing is 1"):
        ClipLoss(label_smoothing=1.0)
