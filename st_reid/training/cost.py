"""What a model costs: parameters, floating point operations, and frames a second here and now."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from st_reid.data.clip_spec import ClipSpec
from st_reid.features.extraction import features_of_clips, for_extraction
from st_reid.runtime.compute import Compute

CLIPS, CALLS = 4, 5


def flop_counter() -> FlopCounterMode:
    """Return PyTorch's counter of FLOPs, which also counts attention on a CPU, as its two matrix products."""
    return FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops},
    )


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)  # of shapes


def cost_of(model: nn.Module, spec: ClipSpec, compute: Compute) -> dict[str, float]:
    """Return what it costs to compute features of clips.

    Args:
        model: on its device, in evaluation mode.
        spec: of the clips.
        compute: the device and precision.

    Returns:
        ``parameters``, with those of classifiers; ``flops`` of one clip: multiplications and additions, each counted
        as one, of convolutions, matrix products and attention; ``frames_per_second``: the median of five calls with
        4 clips.
    """
    pixels = torch.zeros(CLIPS, *spec.shape, dtype=torch.uint8)
    with flop_counter() as counter:
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
