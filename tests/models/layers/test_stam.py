"""The batched formulas of STAM against loops and stored affinities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from st_reid.models.layers.stam import MID, FramewiseBatchNorm2d, Relation, gated_pair_sum, swap_neighbours


@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_framewise_batch_norm_is_a_batch_norm_called_frame_by_frame(momentum):
    x = torch.randn(3, 6, 4, 5, 2, dtype=torch.float64) * 2 + 1
    ours, reference = (cls(4, momentum=momentum).double() for cls in (FramewiseBatchNorm2d, nn.BatchNorm2d))
    for norm in (ours, reference):
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1.0, 5))
            norm.bias.copy_(torch.arange(4.0))
    for _ in range(2):
        expected = torch.stack([reference(x[:, t]) for t in range(6)], dim=1)
        torch.testing.assert_close(ours(x), expected)
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())
    ours.eval()
    reference.eval()
    torch.testing.assert_close(ours(x)[:, 2], reference(x[:, 2]))


def test_swap_neighbours():
    assert swap_neighbours(torch.arange(6)[None]).tolist() == [[1, 0, 3, 2, 5, 4]]


def test_gated_pair_sum():
    x, c, s = torch.randn(2, 4, 3, 5, 2), torch.rand(2, 4, 3), torch.rand(2, 4, 1, 5, 2)
    for pair in range(2):
        a, b = 2 * pair, 2 * pair + 1
        expected = c[:, a, :, None, None] * s[:, a] * x[:, a] + c[:, b, :, None, None] * s[:, b] * x[:, b]
        torch.testing.assert_close(gated_pair_sum(x, c, s)[:, pair], expected)


@pytest.mark.parametrize("neighbour", [True, False])
@pytest.mark.parametrize("size", [(4, 2), (6, 3), (8, 5), (2, 1)])
def test_relation_projects_the_affinities_of_the_paper(neighbour, size):
    grid = (4, 2)
    relation = Relation(7, grid, neighbour=neighbour).double().eval()
    x = torch.randn(2, 4, 7, *size, dtype=torch.float64)
    got = relation(x)
    for clip in range(2):
        for frame in range(4):
            seen = x[clip, frame ^ 1 if neighbour else frame][None]
            gamma, beta = relation.query(x[clip, frame][None]), relation.key(x[clip, frame][None])
            gamma_seen = F.adaptive_avg_pool2d(relation.query(seen), grid)
            beta_seen = F.adaptive_avg_pool2d(relation.key(seen), grid)
            forth = torch.einsum("cp,cq->qp", gamma[0].flatten(1), beta_seen[0].flatten(1))  # gamma_a(p) . beta_b(q)
            back = torch.einsum("cp,cq->qp", beta[0].flatten(1), gamma_seen[0].flatten(1))
            stored = torch.cat([forth, back]).view(1, -1, *size)  # R, 2N channels
            torch.testing.assert_close(got[clip, frame], relation.project(stored)[0])
    assert got.shape == (2, 4, MID, *size)
