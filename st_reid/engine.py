"""The steps of a run: train an epoch, extract features."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from st_reid.config import EvalConfig, ReadConfig
from st_reid.data.loader import TrackletClips, eval_loader
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import TestTransform, to_float
from st_reid.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compute:
    """Where a model runs and in which precision.

    Attributes:
        device: of the model and its input.
        dtype: of the autocast; ``torch.float32`` for none.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: str = "auto") -> Compute:
        """Resolve ``auto``: a GPU where there is one, bfloat16 where the device computes in it.

        Raises:
            UserError: a device that is not there.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            line = str(error).splitlines()[0]
            raise UserError(f"device {device!r} cannot be used ({line}); pass auto, cpu or cuda") from error
        bfloat16 = precision == "bfloat16" or (precision == "auto" and _has_bfloat16(chosen))
        return cls(chosen, torch.bfloat16 if bfloat16 else torch.float32)

    def autocast(self) -> torch.autocast:
        """Return the context in which the model is called."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, its convolutions in the layout that is fastest there."""
        return model.to(self.device).to(memory_format=torch.channels_last)

    def synchronize(self) -> None:
        """Wait until everything asked for is done, before a clock is read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)


def train_one_epoch(
    model: nn.Module,
    loader: DataLoader,
    loss_function: Callable[[Any, Tensor], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    compute: Compute,
    description: str = "",
) -> dict[str, float]:
    """Take one optimisation step a batch.

    Returns:
        Means over the batches: ``loss`` and its parts, ``accuracy`` (of the last level's logits), ``lr`` at the end,
        ``data_seconds`` waited for clips, ``seconds`` in all, and ``clips_per_second``.

    Raises:
        UserError: a loss that is not finite; no step is taken with it.
    """
    model.train()
    sums: dict[str, float] = defaultdict(float)
    clips_seen = 0
    waited = 0.0
    start = waiting = time.perf_counter()
    with tqdm(loader, desc=description, unit="batch", leave=False, disable=None) as progress:
        for clips, labels, _, _ in progress:
            waited += time.perf_counter() - waiting
            clips = clips.to(compute.device, non_blocking=True)
            labels = labels.to(compute.device, non_blocking=True)
            with compute.autocast():
                output = model(to_float(clips))
            losses = loss_function(output, labels)
            value = losses["total"].item()
            if not np.isfinite(value):
                raise UserError(f"the loss is {value} at learning rate {optimizer.param_groups[0]['lr']:.2g}; lower it")
            optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            optimizer.step()
            scheduler.step()
            for name, part in losses.items():
                sums["loss" if name == "total" else name] += part.item()
            sums["accuracy"] += _accuracy(output, labels)
            clips_seen += len(clips)
            progress.set_postfix(loss=f"{value:.3f}")
            waiting = time.perf_counter()
    compute.synchronize()
    seconds = time.perf_counter() - start
    return {
        **{name: total / len(loader) for name, total in sums.items()},
        "lr": optimizer.param_groups[0]["lr"],
        "data_seconds": waited,
        "seconds": seconds,
        "clips_per_second": clips_seen / seconds,
    }


def _accuracy(output: Any, labels: Tensor) -> float:
    logits = output[0] if isinstance(output, tuple) else output
    last = logits if isinstance(logits, Tensor) else logits[-1]
    return (last.argmax(dim=1) == labels).float().mean().item()


@dataclass(frozen=True)
class ClipReader:
    """Makes the evaluation clips of tracklets.

    Attributes:
        height: in pixels.
        width: in pixels.
        seq_len: frames in a clip.
        seed: of samplers that draw.
        read: workers, resizing, and what to do with a bad image.
        eval: the sampler and the batch size.
    """

    height: int
    width: int
    seq_len: int
    seed: int
    read: ReadConfig
    eval: EvalConfig

    def loader(self, tracklets: Sequence[Tracklet], uses_time: bool, compute: Compute) -> DataLoader:
        """Return a loader of all clips of ``tracklets`` in order.

        For a model that does not use time, ``all`` makes clips of one frame: then nothing is padded, and the mean over
        clips is the exact mean over frames.
        """
        single = self.eval.sampler == "all" and not uses_time
        clips = TrackletClips(
            tracklets,
            sampler=self.eval.sampler,
            seq_len=1 if single else self.seq_len,
            transform=TestTransform(self.height, self.width, self.read.interpolation or "bilinear"),
            seed=self.seed,
            on_bad_image=self.read.on_bad_image,
        )
        batch = self.eval.batch * (self.seq_len if single else 1)
        return eval_loader(clips, batch_size=batch, workers=self.read.workers, device=compute.device)


@torch.inference_mode()
def extract_features(
    model: nn.Module, tracklets: Sequence[Tracklet], reader: ClipReader, compute: Compute, description: str = "features"
) -> NDArray[np.float32]:
    """Return a feature a tracklet, (N, D): the mean over its clips, weighted by their real frames."""
    model.eval()
    loader = reader.loader(tracklets, getattr(model, "uses_time", True), compute)

    def features() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for clips, owners, weights in tqdm(loader, desc=description, unit="batch", leave=False, disable=None):
            with compute.autocast():
                yield model(to_float(clips.to(compute.device, non_blocking=True))), owners, weights

    return mean_over_clips(features(), len(tracklets))


def mean_over_clips(batches: Iterable[tuple[Tensor, Tensor, Tensor]], count: int) -> NDArray[np.float32]:
    """Return a feature a tracklet, (count, D), from batches of clips.

    Args:
        batches: features (n, D), their tracklets (n,) as indices, and their weights (n,): a clip's real frames.
        count: tracklets.

    Raises:
        UserError: no batch.
    """
    sums: Tensor | None = None
    total = torch.zeros(count, 1, dtype=torch.float64)
    for features, owners, weight in batches:
        features = features.double().cpu()  # sums in float64 do not depend on the batch size
        if sums is None:
            sums = torch.zeros(count, features.shape[1], dtype=torch.float64)
        weight = weight.double()[:, None]
        sums.index_add_(0, owners, features * weight)
        total.index_add_(0, owners, weight)
    if sums is None:
        raise UserError("no tracklets to extract features of")
    return (sums / total).float().numpy()
