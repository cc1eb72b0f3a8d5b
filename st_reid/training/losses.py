"""Losses of a batch of clips; all levels or parts of a model have the same weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from st_reid.errors import UserError


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Triplet loss on the hardest positive and negative of each anchor (Hermans et al., 2017, eq. 5).

    The distance is 1 - cosine. An anchor without a negative in the batch has no loss.

    Args:
        features: (B, D).
        labels: (B,) identities.
        margin: how much farther the negative should be.
    """
    features = F.normalize(features.float(), dim=1)
    distance = 1 - features @ features.T  # (B, B)
    same = labels[:, None] == labels
    hardest_positive = distance.masked_fill(~same, -torch.inf).amax(dim=1)
    hardest_negative = distance.masked_fill(same, torch.inf).amin(dim=1)
    return F.relu(hardest_positive - hardest_negative + margin).mean()


@dataclass(frozen=True)
class ClipLoss:
    """Label-smoothed cross entropy, plus batch-hard triplet where the model returns features (PSTA, section 3.4).

    Attributes:
        label_smoothing: the share of the target given to all classes alike.
        margin: of the triplet loss.
        triplet_weight: of the triplet loss; the cross entropy has 1.
        levels: ``"mean"`` of the levels' losses, as in PSTA, or ``"sum"``, as in PCB.
        gather: returns the rows of all processes, with gradient, so that triplets are mined in the whole batch;
            ``None`` for one process.
    """

    label_smoothing: float = 0.1
    margin: float = 0.3
    triplet_weight: float = 1.0
    levels: str = "mean"
    gather: Callable[[Tensor], Tensor] | None = None

    def __call__(self, output: Any, labels: Tensor) -> dict[str, Tensor]:
        """Return ``total`` and its parts, ``cross_entropy`` and ``triplet``.

        Args:
            output: logits (B, classes), or (logits, features); either may be a list, a level each.
            labels: (B,) identities.
        """
        logits, features = output if isinstance(output, tuple) else (output, None)
        parts = {
            "cross_entropy": self._over_levels(
                F.cross_entropy(level.float(), labels, label_smoothing=self.label_smoothing)
                for level in _levels(logits)
            )
        }
        total = parts["cross_entropy"]
        if features is not None:
            gather = self.gather or (lambda rows: rows)
            everybody = gather(labels)
            parts["triplet"] = self._over_levels(
                batch_hard_triplet(gather(level), everybody, self.margin) for level in _levels(features)
            )
            total = total + self.triplet_weight * parts["triplet"]
        return {"total": total, **parts}

    def _over_levels(self, losses: Iterable[Tensor]) -> Tensor:
        stacked = torch.stack(list(losses))
        return stacked.sum() if self.levels == "sum" else stacked.mean()

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}; expected 0 up to but not 1")


def _levels(output: Tensor | list[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else output
