"""``sbm``: later frames look where earlier ones did not, the salient-to-broad module of SINet (without its IDM).

Bai et al., Salient-to-Broad Transition for Video Person Re-identification, CVPR 2022. In snippets of four frames, the
first m are earlier, E, the others later, L. Channels are weighted by a = SE(x) 1[mean at the centre > mean], both over
the snippet. From ReLU(a E) and its attention A over positions, in nine maps, a 3x3 kernel K = sum_p ReLU(a E)_p A_p is
made, which correlates with ReLU(a L) to the saliency of the later frames, s, a softmax over the positions of each.
With r = 1 / (s h w), what is salient is suppressed by f = exp(5 (min(r, 1) - 1)):

    L' = f L + 0.1 mean(E),    E' = E + 0.1 mean((1 - f) L) / mean(1 - f).

It uses which frames are earlier and which are later. It follows three blocks of the third stage, with m = 1, 2 and 3.
It has no way past it and does not begin as the mean.

Here also for any number of frames, repeated evenly up to the next multiple of four and averaged afterwards, and for
maps that have no centre: an axis of two positions or one is not cut.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from st_reid.models.layers.frames import per_frame, repeat_frames
from st_reid.models.layers.insertion import ClipLayer, every_other, insert
from st_reid.models.temporal import Family, add_family

SNIPPET = 4
KERNEL = 3
SHARPNESS = 5.0
SHARE = 0.1
LOWEST = 1e-4  # saliency of a position


class SalientToBroad(ClipLayer):
    """Suppression in later frames of what earlier ones show most.

    Args:
        channels: C.
        earlier: how many frames of a snippet are earlier, m.
    """

    def __init__(self, channels: int, earlier: int) -> None:
        super().__init__()
        self.earlier = earlier
        inside = max(channels // 4, 1)
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, KERNEL**2, 1), nn.BatchNorm2d(KERNEL**2), nn.ReLU(inplace=True)
        )
        self.squeeze = nn.Sequential(
            nn.Linear(channels, inside), nn.ReLU(inplace=True), nn.Linear(inside, channels), nn.Sigmoid()
        )
        for layer in (self.spatial[0], self.squeeze[0], self.squeeze[2]):
            weight: Tensor = layer.weight  # type: ignore[assignment]
            nn.init.normal_(weight, std=math.sqrt(2 / len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[1]
        repeated = repeat_frames(x, SNIPPET)
        snippets = repeated.unflatten(1, (-1, SNIPPET)).flatten(0, 1)  # (N, 4, C, h, w)
        weights = self.channel_weights(snippets)
        early, late = snippets.split([self.earlier, SNIPPET - self.earlier], dim=1)
        kept = suppress(self.saliency(F.relu(early * weights), F.relu(late * weights)))
        lost = 1 - kept
        of_late = (lost * late).mean(dim=(1, 3, 4), keepdim=True)
        of_late = of_late / lost.mean(dim=(1, 3, 4), keepdim=True).clamp_min(1e-8)
        early_out = early + SHARE * of_late
        late_out = late * kept + SHARE * early.mean(dim=(1, 3, 4), keepdim=True)
        out = torch.cat([early_out, late_out], dim=1).unflatten(0, (-1, repeated.shape[1] // SNIPPET))
        return _average_copies(out.flatten(1, 2), frames)

    def channel_weights(self, x: Tensor) -> Tensor:
        """Return a of snippets (N, 4, C, h, w): (N, 1, C, 1, 1)."""
        mean = x.mean(dim=(1, 3, 4))
        top, left = (1 if size > 2 else 0 for size in x.shape[3:])
        centre = x[..., top : x.shape[3] - top, left : x.shape[4] - left].mean(dim=(1, 3, 4))
        central = (centre / (mean + 1e-8) > 1).to(x.dtype)
        return (self.squeeze(mean) * central)[:, None, :, None, None]

    def saliency(self, early: Tensor, late: Tensor) -> Tensor:
        """Return s of the later frames (N, 4 - m, 1, h, w), a distribution over the positions of each."""
        attention = per_frame(self.spatial, early).transpose(1, 2).flatten(2)  # (N, 9, m h w)
        attention = F.normalize(F.normalize(attention, p=1, dim=1), p=1, dim=2)
        kernel = attention @ early.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (N, 9, C)
        margin = KERNEL // 2
        padded = F.pad(late.flatten(0, 1), (margin,) * 4, mode="replicate").unflatten(0, late.shape[:2])
        responses = (kernel[:, None] @ padded.flatten(3)).unflatten(3, padded.shape[3:])  # (N, 4 - m, 9, h + 2, w + 2)
        height, width = late.shape[3:]
        shifted = [
            responses[:, :, k, k // KERNEL : k // KERNEL + height, k % KERNEL : k % KERNEL + width]
            for k in range(KERNEL**2)
        ]
        score = sum(shifted[1:], shifted[0]) / KERNEL**2
        return score.flatten(2).softmax(dim=2).unflatten(2, (height, width))[:, :, None]


def suppress(saliency: Tensor) -> Tensor:
    """Return f of saliencies (..., h, w)."""
    ratio = 1 / (saliency.clamp_min(LOWEST) * saliency.shape[-2] * saliency.shape[-1])
    return (SHARPNESS * (ratio.clamp_max(1) - 1)).exp()


def _average_copies(x: Tensor, frames: int) -> Tensor:
    """Undo :func:`repeat_frames`: the mean over the copies of each of ``frames`` frames."""
    copies = x.shape[1]
    if copies == frames:
        return x
    origin = torch.arange(copies, device=x.device) * frames // copies
    member = (origin == torch.arange(frames, device=x.device)[:, None]).to(x.dtype)  # (T, T')
    return torch.einsum("ts,bschw->btchw", member / member.sum(dim=1, keepdim=True), x)


def _insert(backbone: nn.Module) -> None:
    for number, block in enumerate(every_other(backbone, stages=(2,), first=1)):
        insert(backbone, [block], partial(SalientToBroad, earlier=number + 1))


add_family("sbm", Family(insert=_insert))
