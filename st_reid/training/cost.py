"""What a model costs: parameters, floating point operations, and frames a second here and now."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from st_reid.data.clip_spec import ClipSpec
from st_reid.features.extraction import features_of_clips, for_extraction
from st_reid.runtime.compute import Compute

CLIPS, CALLS = 4, 5


def cost_of(model: nn.Module, spec: ClipSpec, compute: Compute) -> dict[str, float]:
    """Return what it costs to compute features of clips.

    Args:
        model: on its device, in evaluation mode.
        spec: of the clips.
        compute: the device and precision.

    Returns:
        ``parameters``, with those of classifiers; ``flops`` of one clip: multiplications and additions, each counted
        as one, of convolutions and matrix products; ``frames_per_second``: the median of five calls with 4 clips.
    """
    pixels = torch.zeros(CLIPS, *spec.shape, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        features_of_clips(model, pixels[:1], compute)
    ready = for_extraction(model, spec, compute)
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        features_of_clips(ready, pixels, compute)
        compute.synchronize()
        seconds.append(time.perf_counter() - start)
    return {
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "flops": float(counter.get_total_flops()),
        "frames_per_second": CLIPS * spec.seq_len / sorted(seconds)[CALLS // 2],
    }
