"""Spatial-temporal aggregation of neighbouring frames: the building block of PSTA.

Wang et al., Pyramid Spatial-Temporal Aggregation for Video-based Person Re-Identification, ICCV 2021, section 3.

All pairs of a level are computed at once. Two things make that exact:

* Frame 2i is gated in view of frame 2i + 1 and the other way round, so that every "pair and direction" is a frame, and
  what a frame sees of its partner is the same tensor with neighbours swapped.
* The N x N affinities G = gamma_a^T beta_b are only ever multiplied by a projection W. As W (beta_b^T gamma_a) =
  (W beta_b^T) gamma_a, a frame's relation is a 1x1 convolution whose kernel its partner sets; G is never stored.

Shapes: B clips, T frames, D channels, h x w positions; N cells of the grid that the partner is seen on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame
from st_reid.models.layers.head import conv_bn_relu

EMBED = 256
MID = 128
Grid = tuple[int, int]


def swap_neighbours(x: Tensor) -> Tensor:
    """Exchange frames 2i and 2i + 1: (B, T, ...) -> (B, T, ...). A single frame is its own neighbour."""
    if x.shape[1] == 1:
        return x
    return x.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)


def gated_pair_sum(x: Tensor, channel_gate: Tensor, spatial_gate: Tensor) -> Tensor:
    """Gate every frame and add up neighbours, c_a s_a X_a + c_b s_b X_b. A single frame is its own neighbour.

    Args:
        x: (B, T, D, h, w), T even or 1.
        channel_gate: c, (B, T, D).
        spatial_gate: s, (B, T, 1, h, w).

    Returns:
        (B, T/2, D, h, w), or (B, 1, D, h, w) for a single frame.
    """
    return pair_sum(x * (channel_gate[..., None, None] * spatial_gate))


def pair_sum(x: Tensor) -> Tensor:
    """Add frames 2i and 2i + 1: (B, T, ...) -> (B, T/2, ...). A single frame is its own neighbour."""
    return 2 * x if x.shape[1] == 1 else x[:, 0::2] + x[:, 1::2]


class FramewiseBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that, in training mode, normalises every frame index by its own statistics over the batch.

    It computes the same as T calls of a BatchNorm2d, one for each frame in order, but without the loop: frames are
    folded into channels. The running statistics receive all T momentum updates in closed form,
    r_T = (1 - m)^T r_0 + sum_t m (1 - m)^(T - 1 - t) s_t.

    Attributes:
        sum_over_processes: adds up a tensor over the processes of a run, with gradient, so that the statistics are
            those of all their clips; ``None`` for this process's alone.

    Shapes:
        - Input and output: (B, T, C, h, w).
    """

    sum_over_processes: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x.flatten(0, 1), self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            ).view_as(x)
        frames = x.shape[1]
        weight, bias = self.weight.repeat(frames), self.bias.repeat(frames)
        if self.sum_over_processes is not None:
            folded, mean, var = _synchronized(x.flatten(1, 2), weight, bias, self.eps, self.sum_over_processes)
        else:
            mean = self.running_mean.new_zeros(frames * self.num_features)  # type: ignore[union-attr]
            var = torch.zeros_like(mean)
            folded = F.batch_norm(
                x.flatten(1, 2),  # (B, T*C, h, w)
                mean,
                var,
                weight,
                bias,
                training=True,
                momentum=1.0,  # so that mean and var come back as the statistics of this batch
                eps=self.eps,
            )
        self._update(self.running_mean, mean)
        self._update(self.running_var, var)
        self.num_batches_tracked.add_(frames)  # type: ignore[union-attr]
        return folded.view_as(x)

    @torch.no_grad()
    def _update(self, running: Tensor | None, batch: Tensor) -> None:
        assert running is not None
        assert self.momentum is not None
        per_call = batch.view(-1, self.num_features)  # (T, C)
        age = torch.arange(len(per_call) - 1, -1, -1, device=batch.device, dtype=batch.dtype)
        weights = self.momentum * (1 - self.momentum) ** age  # (T,)
        running.mul_((1 - self.momentum) ** len(per_call)).add_(weights @ per_call)


def _synchronized(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, total: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of (B, C, h, w) over all processes; return the output, mean and unbiased variance (C,)."""
    values = x.float()
    count = total(values.new_tensor(values[:, 0].numel()))
    mean = total(values.sum(dim=(0, 2, 3))) / count
    centred = values - mean[:, None, None]
    var = total(centred.square().sum(dim=(0, 2, 3))) / count
    scale = weight * torch.rsqrt(var + eps)
    output = centred * scale[:, None, None] + bias[:, None, None]
    return output.to(x.dtype), mean.detach(), (var * count / (count - 1)).detach()


class Relation(nn.Module):
    """Relations of every position to all positions of its own or the neighbouring frame: W R, before batch norm.

    With gamma (``query``) and beta (``key``) of the frame that is gated and of the frame it looks at,
    R(p) = [gamma(p) . beta'(q) for all q; beta(p) . gamma'(q) for all q]. The frame looked at is averaged onto a fixed
    grid, so that W fits any input size, while p keeps the full resolution.

    Args:
        dim: channels D.
        grid: cells that the frame looked at is averaged onto.
        neighbour: look at the other frame of the pair (TRA), or at the frame itself (SRA).

    Shapes:
        - Input: (B, T, D, h, w).
        - Output: (B, T, 128, h, w).
    """

    def __init__(self, dim: int, grid: Grid, *, neighbour: bool) -> None:
        super().__init__()
        self.grid = grid
        self.neighbour = neighbour
        self.query = nn.Sequential(*conv_bn_relu(dim, MID))
        self.key = nn.Sequential(*conv_bn_relu(dim, MID))
        self.project = nn.Conv2d(2 * grid[0] * grid[1], MID, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key = per_frame(self.query, x), per_frame(self.key, x)
        to_key, to_query = self._projections(*x.shape[3:])  # (128, h*w) each
        kernel = torch.cat([to_key @ key.flatten(3).mT, to_query @ query.flatten(3).mT], dim=-1)  # (B, T, 128, 256)
        if self.neighbour:
            kernel = swap_neighbours(kernel)
        relation = kernel @ torch.cat([query, key], dim=2).flatten(3)  # (B, T, 128, h*w)
        return relation.unflatten(3, x.shape[3:])

    def _projections(self, height: int, width: int) -> tuple[Tensor, ...]:
        """Return both halves of W on the positions of a frame.

        Averaging a frame onto the grid is a matrix A (N, h*w), so W (A beta^T) = (W A) beta^T: the few weights are
        spread over the frame, and no frame is resized.
        """
        halves = self.project.weight.flatten(1).chunk(2, dim=1)  # (128, N) each
        if (height, width) == self.grid:
            return halves
        positions = torch.eye(height * width, device=halves[0].device, dtype=halves[0].dtype)
        averages = F.adaptive_avg_pool2d(positions.unflatten(1, (height, width)), self.grid)  # (h*w, *grid)
        return tuple(half @ averages.flatten(1).mT for half in halves)


class TRA(nn.Module):
    """Temporal Reference Attention: the frames of a pair gate each other.

    Args:
        dim: channels D.
        grid: see :class:`Relation`.
    """

    def __init__(self, dim: int, grid: Grid) -> None:
        super().__init__()
        self.theta = nn.Conv1d(dim, MID, 1, bias=False)
        self.rho = nn.Sequential(nn.Linear(2 * MID, MID), nn.ReLU(inplace=True), nn.Linear(MID, dim), nn.Sigmoid())
        self.relation = Relation(dim, grid, neighbour=True)
        self.relation_norm = FramewiseBatchNorm2d(MID)
        self.joint = nn.Conv2d(2 * MID, MID, 1, bias=False)
        self.joint_norm = FramewiseBatchNorm2d(MID)
        self.gate = nn.Conv2d(2 * MID, 1, 1, bias=False)
        self.gate_norm = FramewiseBatchNorm2d(1)

    def forward(self, x: Tensor, v: Tensor, e: Tensor) -> Tensor:
        """Map X (B, T, D, h, w), its means v (B, T, D) and embedding e (B, T, 128, h, w) to (B, T/2, D, h, w)."""
        theta = F.relu(self.theta(v.mT)).mT  # (B, T, 128)
        c = self.rho(torch.cat([theta, swap_neighbours(theta)], dim=2))  # (B, T, D)
        relation = F.relu(self.relation_norm(self.relation(x)))
        joint = F.relu(self.joint_norm(per_frame(self.joint, torch.cat([e, swap_neighbours(e)], dim=2))))
        s = torch.sigmoid(self.gate_norm(per_frame(self.gate, torch.cat([joint, relation], dim=2))))  # (B, T, 1, h, w)
        return F.relu(gated_pair_sum(x, c, s)).square()


class SRA(nn.Module):
    """Spatial Reference Attention: every frame gates itself.

    Args:
        dim: channels D.
        grid: see :class:`Relation`.
    """

    def __init__(self, dim: int, grid: Grid) -> None:
        super().__init__()
        self.rho = nn.Sequential(nn.Linear(dim, MID), nn.ReLU(inplace=True), nn.Linear(MID, dim), nn.Sigmoid())
        self.relation = Relation(dim, grid, neighbour=False)
        self.relation_norm = nn.BatchNorm2d(MID)
        self.gate = nn.Sequential(
            *conv_bn_relu(2 * MID, MID), nn.Conv2d(MID, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()
        )

    def forward(self, x: Tensor, v: Tensor, e: Tensor) -> Tensor:
        """Map X (B, T, D, h, w), its means v (B, T, D) and embedding e (B, T, 128, h, w) to (B, T/2, D, h, w)."""
        relation = F.relu(per_frame(self.relation_norm, self.relation(x)))
        s = per_frame(self.gate, torch.cat([e, relation], dim=2))  # (B, T, 1, h, w)
        return F.relu(gated_pair_sum(x, self.rho(v), s))


class STAM(nn.Module):
    """Spatial-Temporal Aggregation Module: halves the frames of a clip.

    Args:
        dim: channels D.
        grid: see :class:`Relation`.
        residual: add the mean of each pair before the last ReLU, and start what is added to it at zero; the published
            module has no such path.

    Shapes:
        - Input: (B, T, D, h, w), T even; in evaluation mode also T = 1, which stands for two equal frames.
        - Output: (B, T/2, D, h, w), or (B, 1, D, h, w) for a single frame.
    """

    def __init__(self, dim: int, grid: Grid, *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.embed = nn.Sequential(*conv_bn_relu(dim, EMBED), *conv_bn_relu(EMBED, MID))
        self.tra = TRA(dim, grid)
        self.sra = SRA(dim, grid)
        self.out = nn.Sequential(
            *conv_bn_relu(dim, EMBED), *conv_bn_relu(EMBED, EMBED, kernel=3), *conv_bn_relu(EMBED, dim)
        )
        if residual:
            nn.init.zeros_(self.out[-2].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        v = x.mean(dim=(3, 4))  # (B, T, D)
        e = per_frame(self.embed, x)  # (B, T, 128, h, w)
        z = self.tra(x, v, e) + self.sra(x, v, e)
        if not self.residual:
            return per_frame(self.out, z)
        return F.relu(pair_sum(x) / 2 + per_frame(self.out[:-1], z))
