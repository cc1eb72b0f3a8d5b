"""Features of tracklets whose frames come one after the other: from a tracker, or out of a video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from st_reid.data.clips import SAMPLERS
from st_reid.data.transforms import EvalTransform
from st_reid.errors import UserError
from st_reid.features.extraction import ClipMean, features_of_clips, for_extraction
from st_reid.models.loading import LoadedModel, load_for_evaluation
from st_reid.runtime.compute import Compute


@dataclass
class _Track:
    """A tracklet that is being seen."""

    frames: list[Tensor] = field(default_factory=list)  # of the clip that is not full yet, uint8 (3, H, W)
    mean: ClipMean = field(default_factory=ClipMean)
    waiting: int = 0  # clips of it that have not been through the model
    closed: bool = False


class TrackletExtractor:
    """Turns the frames of persons into features, the mean over consecutive clips, as sampler ``all`` does.

        extractor = TrackletExtractor("runs/psta-walkers-seed0/checkpoints/best.pth")
        feature = extractor(frames)  # of one person: (D,)

    Or while a tracker runs, with memory for the clips under way only:

        extractor.add(track, crop)  # whenever there is a box
        feature = extractor.finish(track)  # when the track has ended

    Args:
        weights: a checkpoint of a training run, or what was loaded; with ``arch`` also a bare state dict.
        arch: the model's name, if the weights do not contain it.
        device: as the command lines'.
        precision: as the command lines'.
        batch: clips in a batch.
        compute: the device and precision, instead of ``device`` and ``precision``.
        **chosen: ``height``, ``width``, ``seq_len``, ``interpolation``, instead of those of the weights.

    Attributes:
        loaded: the model, and the clips that it is for.
        spec: the clips that the model gets.

    Raises:
        UserError: see :func:`st_reid.models.loading.load_for_evaluation`.
    """

    def __init__(
        self,
        weights: str | LoadedModel,
        *,
        arch: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch: int = 16,
        compute: Compute | None = None,
        **chosen: Any,
    ) -> None:
        self.loaded = weights if isinstance(weights, LoadedModel) else load_for_evaluation(weights, arch, **chosen)
        self.compute = compute or Compute.choose(device, precision)
        spec = self.loaded.spec.changed(batch=batch, sampler="all")
        self.model = for_extraction(self.compute.place(self.loaded.model), spec, self.compute)
        self.spec = spec.for_model(self.loaded.uses_time)
        self._resize = EvalTransform(spec.height, spec.width, spec.interpolation)
        self._tracks: dict[Hashable, _Track] = defaultdict(_Track)
        self._queue: list[tuple[_Track, Tensor, int]] = []

    def __call__(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the feature (D,) of one person's frames, RGB uint8 (h, w, 3) each, in order.

        Raises:
            UserError: no frames, or something else than pictures.
        """
        track = object()
        for frame in frames:
            self.add(track, frame)
        return self.finish(track)

    def add(self, track: Hashable, frame: NDArray[np.uint8]) -> None:
        """Take the next frame of a track: RGB uint8 (h, w, 3), the person's box.

        Raises:
            UserError: something else than a picture; or the track is closed.
        """
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise UserError(f"a frame is {got}; expected an RGB picture, uint8 (height, width, 3)")
        if 0 in frame.shape:
            raise UserError(f"a frame is {frame.shape}; expected a picture that is not empty")
        state = self._tracks[track]
        if state.closed:
            raise UserError(f"track {track!r} has ended; take its feature before one of that name begins again")
        state.frames.append(self._resize([frame])[0])
        if len(state.frames) == self.spec.seq_len:
            self._enqueue(state)

    def close(self, track: Hashable) -> None:
        """Say that a track has ended; :meth:`done` will yield its feature."""
        if track not in self._tracks:
            raise UserError("a tracklet without frames has no feature; add one first")
        state = self._tracks[track]
        state.closed = True
        if state.frames:
            self._enqueue(state)

    def done(self) -> Iterator[tuple[Any, NDArray[np.float32]]]:
        """Yield tracks that have ended and whose features (D,) are complete, with these; then forget them."""
        for track in [t for t, state in self._tracks.items() if state.closed and not state.waiting]:
            state = self._tracks.pop(track)
            yield track, state.mean.feature()

    def finish(self, track: Hashable) -> NDArray[np.float32]:
        """End a track and return its feature (D,).

        Raises:
            UserError: it has no frames.
        """
        self.close(track)
        self.flush()
        state = self._tracks.pop(track)
        return state.mean.feature()

    def flush(self) -> None:
        """Put what is waiting for a full batch through the model."""
        if self._queue:
            self._run()

    def _enqueue(self, state: _Track) -> None:
        real = len(state.frames)
        clip = torch.stack(state.frames)[SAMPLERS.get("all")(real, self.spec.seq_len, None).indices[0]]
        self._queue.append((state, clip, real))
        state.frames = []
        state.waiting += 1
        if len(self._queue) == self.spec.batch:
            self._run()

    def _run(self) -> None:
        features = features_of_clips(self.model, torch.stack([clip for _, clip, _ in self._queue]), self.compute)
        for (state, _, real), feature in zip(self._queue, features.double().cpu().numpy(), strict=True):
            state.mean.add(feature * real, real)
            state.waiting -= 1
        self._queue = []
