"""From tracklets to batches of uint8 clips."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from st_reid.config import ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import SAMPLERS, SINGLE_FRAMES, evaluation_clips
from st_reid.data.frames import FrameReader
from st_reid.data.sampling import Draw, IdentityBatchSampler, derived_rng
from st_reid.data.tracklet import Tracklet, person_labels
from st_reid.data.transforms import EvalTransform, Transform
from st_reid.errors import UserError
from st_reid.runtime.distributed import ALONE, World


class TrainItem(NamedTuple):
    """A training clip, or a batch of them.

    Attributes:
        clip: uint8 (T, 3, H, W).
        label: number of the person, from 0, in sorted order of the persons.
        camera: number of the camera, from 0, in sorted order of the cameras.
        tracklet: index of the tracklet.
    """

    clip: Tensor
    label: int
    camera: int
    tracklet: int


class EvalItem(NamedTuple):
    """A clip for evaluation, or a batch of them.

    Attributes:
        clip: uint8 (T, 3, H, W).
        tracklet: index of the tracklet.
        weight: the clip's share in the mean over the tracklet's clips: its number of different frames.
    """

    clip: Tensor
    tracklet: int
    weight: float


class ClipDataset(Dataset[TrainItem]):
    """Training clips. The index of an item is a :class:`~st_reid.data.sampling.Draw`, which determines the clip.

    Args:
        tracklets: of the training split.
        spec: the sampler (if it gives several clips, a random one is taken), the clip's length, and the run's seed.
        transform: from frames to a clip.
        on_bad_image: as :class:`~st_reid.data.frames.FrameReader`.

    Attributes:
        labels: number of each tracklet's person, as :func:`~st_reid.data.tracklet.person_labels`.
        cameras: number of each tracklet's camera.

    Raises:
        UserError: an unknown sampler or ``on_bad_image``.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        spec: ClipSpec,
        transform: Transform,
        on_bad_image: str = "stop",
    ) -> None:
        self.tracklets = list(tracklets)
        persons = person_labels(self.tracklets)
        self.labels = [persons[t.person] for t in self.tracklets]
        cameras = {camera: i for i, camera in enumerate(sorted({t.camera for t in self.tracklets}))}
        self.cameras = [cameras[t.camera] for t in self.tracklets]
        self.sampler = SAMPLERS.get(spec.sampler)
        self.seq_len = spec.seq_len
        self.transform = transform
        self.seed = spec.seed
        self.reader = FrameReader(on_bad_image)

    def __len__(self) -> int:
        """Tracklets."""
        return len(self.tracklets)

    def __getitem__(self, draw: Draw) -> TrainItem:
        """Make the clip of ``draw``: the same one in any process and at any time.

        Raises:
            UnreadableImage: as :class:`~st_reid.data.frames.FrameReader`.
        """
        epoch, number, index = draw
        rng = derived_rng(self.seed, 1, epoch, number)
        tracklet = self.tracklets[index]
        clips = self.sampler(len(tracklet), self.seq_len, rng).indices
        frames = self.reader.read(tracklet, clips[rng.integers(len(clips))])
        return TrainItem(self.transform(frames, rng), self.labels[index], self.cameras[index], index)


class TrackletClips(Dataset[EvalItem]):
    """All clips of all tracklets for evaluation: one clip per item, tracklet after tracklet.

    A tracklet of a thousand frames is many small items, so the memory of a batch does not depend on its length.

    Args:
        tracklets: of any split.
        spec: what the clips are like; a random sampler draws the same ones in every evaluation with its seed.
        on_bad_image: as :class:`~st_reid.data.frames.FrameReader`.
        numbers: of the tracklets, by which a random sampler draws; by default 0, 1, 2, ... For a part of them,
            pass their numbers in the whole.

    Raises:
        UserError: an unknown sampler or ``on_bad_image``.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        spec: ClipSpec,
        on_bad_image: str = "stop",
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.tracklets = list(tracklets)
        self.transform = EvalTransform(spec.height, spec.width, spec.interpolation)
        self.reader = FrameReader(on_bad_image)
        seq_len = 1 if spec.frames in SINGLE_FRAMES else spec.seq_len
        drawn_by = range(len(self.tracklets)) if numbers is None else numbers
        clips = [
            evaluation_clips(spec.sampler, len(t), spec.seq_len, frames=spec.frames, seed=spec.seed, number=i)
            for i, t in zip(drawn_by, self.tracklets, strict=True)
        ]
        self.owners = np.repeat(np.arange(len(clips)), [len(c.indices) for c in clips])
        self.indices = np.concatenate([c.indices for c in clips] or [np.empty((0, seq_len), int)])  # (clips, T)
        self.weights = np.concatenate([c.weights for c in clips] or [np.empty(0)])

    def __len__(self) -> int:
        """Clips."""
        return len(self.owners)

    def __getitem__(self, number: int) -> EvalItem:
        """Read clip ``number``.

        Raises:
            IndexError: no such clip.
            UnreadableImage: as :class:`~st_reid.data.frames.FrameReader`.
        """
        owner = int(self.owners[number])
        frames = self.reader.read(self.tracklets[owner], self.indices[number])
        return EvalItem(self.transform(frames), owner, float(self.weights[number]))


def train_loader(
    dataset: ClipDataset,
    *,
    persons_per_batch: int,
    clips_per_person: int,
    batches: int | None = None,
    workers: int = 0,
    device: str | torch.device = "cpu",
    world: World = ALONE,
) -> DataLoader:
    """Return a loader of P x K batches, each a :class:`TrainItem` of tensors with a first axis of P*K.

    Call ``loader.batch_sampler.set_epoch(epoch)`` before each pass.

    Args:
        dataset: the training clips.
        persons_per_batch: P.
        clips_per_person: K.
        batches: batches per epoch; ``None`` shows every identity once.
        workers: processes that read; with 0 the calling process reads. The number does not change the batches.
        device: where batches will go; memory is pinned for CUDA.
        world: the processes that share each batch.

    Raises:
        UserError: fewer identities than P, or a P that the processes cannot share.
    """
    batch_sampler = IdentityBatchSampler(
        dataset.labels,
        dataset.cameras,
        persons_per_batch=persons_per_batch,
        clips_per_person=clips_per_person,
        seed=dataset.seed,
        batches=batches,
        rank=world.rank,
        processes=world.size,
    )
    return _loader(dataset, workers, device, dataset.seed, batch_sampler=batch_sampler)


def eval_loader(
    tracklets: Sequence[Tracklet],
    spec: ClipSpec,
    read: ReadConfig | None = None,
    *,
    uses_time: bool = True,
    device: str | torch.device = "cpu",
    which: Sequence[int] | None = None,
) -> DataLoader:
    """Return a loader of all evaluation clips of tracklets in order, in batches of :class:`EvalItem`.

    A batch may hold clips of several tracklets.

    Args:
        tracklets: of any split.
        spec: what the clips are like, see :meth:`~st_reid.data.clip_spec.ClipSpec.for_model`.
        read: workers, and what to do with a bad image; ``None`` reads in this process and stops.
        uses_time: whether the model uses time.
        device: as :func:`train_loader`.
        which: indices of some tracklets; their clips are the same as without it, also with random samplers.

    Raises:
        UserError: an unknown sampler.
    """
    read = ReadConfig(workers=0) if read is None else read
    which = range(len(tracklets)) if which is None else which
    spec = spec.for_model(uses_time)
    clips = TrackletClips([tracklets[i] for i in which], spec, read.on_bad_image, which)
    return _loader(clips, read.workers, device, spec.seed, batch_size=spec.batch)


class _Loader(DataLoader):
    """A DataLoader with the same message for a user's mistake, with or without workers."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except UserError as error:
            # From a worker it comes with the worker's traceback as its text; the last line is "module.Class: message".
            text = str(error)
            if "\n" not in text:
                raise
            raise type(error)(text.strip().splitlines()[-1].partition(": ")[2]) from None


def _loader(dataset: Dataset, workers: int, device: str | torch.device, seed: int, **batching: Any) -> DataLoader:
    return _Loader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_init_worker,
        pin_memory=torch.device(device).type == "cuda",
        generator=torch.Generator().manual_seed(seed),  # otherwise each pass draws from the global one
        **batching,
    )


def _end_for_parent() -> None:
    """End on SIGTERM of the main process only. A scheduler sends it to all, but the main one may need more clips."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _init_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends its workers
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for_parent, daemon=True).start()
    # Workers already run in parallel; more threads would compete for the cores.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
