"""What all temporal models share behind the backbone: reduction, aggregation, BNNeck and classifier."""

from __future__ import annotations

from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame


def conv_bn_relu(channels: int, out: int, kernel: int = 1) -> list[nn.Module]:
    """Return a convolution without bias that keeps the size, batch norm, and ReLU."""
    return [
        nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    ]


class Head(nn.Module):
    """From the feature maps of a clip to its feature. A subclass says in :meth:`aggregate` how the frames are united.

    Everything else is the same for all models, so that a difference between two of them is that of their aggregation:
    a 1x1 convolution to D channels with batch norm and ReLU, and for each level a BNNeck and a classifier.

    A subclass calls ``__init__``, adds layers of its own, and calls :meth:`supervise` last.

    Args:
        channels: of the feature maps that come in, C.
        dim: channels D after the reduction.

    Shapes:
        - Input: (B, T, C, h, w), any T >= 1.
        - Output: (B, D) in evaluation mode, the neck of the last level; in training mode (logits, features, vectors),
          lists of (B, num_classes), of (B, D) after and of (B, D) before the necks, one for each level.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*conv_bn_relu(channels, dim))  # keeps PyTorch's initialisation
        self.feature_dim = dim

    def supervise(self, num_classes: int, levels: int = 1) -> None:
        """Add the necks and classifiers.

        Args:
            num_classes: identities of the training set.
            levels: how many vectors :meth:`aggregate` returns.
        """
        self.necks = nn.ModuleList(nn.BatchNorm1d(self.feature_dim) for _ in range(levels))
        self.classifiers = nn.ModuleList(nn.Linear(self.feature_dim, num_classes) for _ in range(levels))
        for neck in self.necks:
            neck.bias.requires_grad_(False)  # type: ignore[union-attr, operator]
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.001)  # type: ignore[arg-type]
            nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]

    def aggregate(self, x: Tensor) -> list[Tensor]:
        """Map the reduced maps of clips (B, T, D, h, w) to one vector (B, D) for each level."""
        raise NotImplementedError

    def forward(self, maps: Tensor) -> Tensor | tuple[list[Tensor], list[Tensor], list[Tensor]]:
        vectors = self.aggregate(per_frame(self.reduce, maps))
        if not self.training:
            return self.necks[-1](vectors[-1])
        features = [neck(vector) for neck, vector in zip(self.necks, vectors, strict=True)]
        logits = [classify(feature) for classify, feature in zip(self.classifiers, features, strict=True)]
        return logits, features, vectors


class FrameHead(Head):
    """A head that unites one vector for each frame, the mean of its map. A subclass implements :meth:`unite`.

    Args:
        channels: see :class:`Head`.
        num_classes: identities of the training set.
        dim: see :class:`Head`.
    """

    def __init__(self, channels: int, num_classes: int, dim: int) -> None:
        super().__init__(channels, dim)
        self.add_layers(dim)
        self.supervise(num_classes)

    def add_layers(self, dim: int) -> None:
        """Add the layers that :meth:`unite` needs; none by default."""

    def unite(self, frames: Tensor) -> Tensor:
        """Map the vectors of a clip's frames (B, T, D) to one (B, D)."""
        raise NotImplementedError

    def aggregate(self, x: Tensor) -> list[Tensor]:
        return [self.unite(x.mean(dim=(3, 4)))]


class MeanHead(FrameHead):
    """The mean over frames."""

    def unite(self, frames: Tensor) -> Tensor:
        return frames.mean(dim=1)
