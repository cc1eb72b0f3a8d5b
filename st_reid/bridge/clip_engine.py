"""torchreid's video data manager and engines with whole clips and the same constructor arguments.

In a torchreid script ``torchreid.data.VideoDataManager`` becomes ``st_reid.ClipDataManager``, and
``torchreid.engine.VideoTripletEngine`` (``VideoSoftmaxEngine``) becomes ``st_reid.ClipTripletEngine``
(``ClipSoftmaxEngine``). The two go together. docs/torchreid.md lists what they fix.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.utils.data import DataLoader

from st_reid.bridge.register import takes_clips
from st_reid.config import EvalConfig, ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import SAMPLERS
from st_reid.data.datasets import known_options, read_dataset
from st_reid.data.loader import ClipDataset, eval_loader, train_loader
from st_reid.data.tracklet import Dataset, Labels, Tracklet, learnable, person_labels
from st_reid.data.transforms import IMAGENET_MEAN, IMAGENET_STD, TrainTransform, Transform, to_float
from st_reid.errors import UserError, unknown_name
from st_reid.evaluation.protocol import QueryGallery
from st_reid.evaluation.rankings import Ranking
from st_reid.evaluation.sheets import contact_sheet, pictures_of_tracklets
from st_reid.features.extraction import means_over_clips
from st_reid.retrieval import cosine_distance, normalize, rerank
from st_reid.torchreid_compat import submodule

TRANSFORMS = {"random_flip": {"flip": 0.5}, "random_crop": {"crop": 0.5}, "random_erase": {"erase": 0.5}}
TRANSFORMS |= {"color_jitter": {"jitter": 0.2}}
"""torchreid's names of augmentations, as fields of :class:`TrainTransform`. ``random_patch`` has no equivalent."""
SAMPLE_METHODS = {"random": "restricted_random", "all": "restricted_random"}
"""torchreid's names of samplers, and the samplers used in training, where ``all`` cannot be batched."""
TRAIN_SAMPLERS = ("RandomSampler", "RandomIdentitySampler")
DISTANCES = ("euclidean", "cosine")


class ClipDataManager:
    """Clips for training and testing, with the constructor arguments of torchreid's ``VideoDataManager``.

    Frames are in true order, an augmentation is drawn once a clip, an unreadable image is an error that names it, and
    tests see every frame of a tracklet whatever training sees.

    Args:
        root: the folder that holds the datasets' folders; may be empty for ``walkers``.
        sources: dataset names to train on; persons of several are different persons.
        targets: dataset names to test on; ``None`` for the sources.
        height: in pixels.
        width: in pixels.
        transforms: of ``random_flip``, ``random_crop``, ``random_erase``, ``color_jitter``.
        norm_mean: of a channel; ``None`` for ImageNet's.
        norm_std: of a channel; ``None`` for ImageNet's.
        use_gpu: pin batches, where there is a GPU.
        split_id: for datasets with several splits.
        combineall: train on query and gallery too.
        batch_size_train: clips in a training batch.
        batch_size_test: clips in a test batch.
        workers: processes that read.
        num_instances: clips of each person in a batch, with ``RandomIdentitySampler``.
        num_cams: unused.
        num_datasets: unused.
        train_sampler: ``RandomSampler`` draws tracklets, ``RandomIdentitySampler`` persons.
        seq_len: frames in a clip.
        sample_method: how training clips are drawn: torchreid's ``random`` or ``evenly``, or any sampler of ours.
        test_sample_method: how test clips are drawn; ``all`` averages over clips that hold every frame.
        seed: of all random draws.

    Raises:
        UserError: an unknown dataset, transform or sampler, a dataset that cannot be read, or too few persons.
    """

    data_type = "video"

    def __init__(
        self,
        root: str = "",
        sources: str | Sequence[str] | None = None,
        targets: str | Sequence[str] | None = None,
        height: int = 256,
        width: int = 128,
        transforms: str | Sequence[str] | None = "random_flip",
        norm_mean: Sequence[float] | None = None,
        norm_std: Sequence[float] | None = None,
        use_gpu: bool = True,
        split_id: int = 0,
        combineall: bool = False,
        batch_size_train: int = 3,
        batch_size_test: int = 3,
        workers: int = 4,
        num_instances: int = 4,
        num_cams: int = 1,
        num_datasets: int = 1,
        train_sampler: str = "RandomSampler",
        seq_len: int = 15,
        sample_method: str = "evenly",
        *,
        test_sample_method: str = "all",
        seed: int = 0,
    ) -> None:
        if not sources:
            raise UserError("no sources given; pass the names of the datasets to train on")
        self.sources = _names(sources)
        self.targets = _names(targets) if targets else self.sources
        self.height, self.width, self.seq_len = height, width, seq_len
        self.use_gpu = use_gpu and torch.cuda.is_available()
        self.mean, self.std = tuple(norm_mean or IMAGENET_MEAN), tuple(norm_std or IMAGENET_STD)
        sampler = SAMPLE_METHODS.get(sample_method, sample_method)
        _check_names((sampler, test_sample_method), train_sampler)
        self._device = "cuda" if self.use_gpu else "cpu"
        datasets = {name: _read(name, root, split_id) for name in dict.fromkeys((*self.sources, *self.targets))}
        by_person = train_sampler == "RandomIdentitySampler"
        train = _together([datasets[name] for name in self.sources], combineall)
        self._num_train_pids = len(person_labels(train))
        self._num_train_cams = len({t.camera for t in train})
        if num_instances < 1:
            raise UserError(f"num_instances {num_instances}; expected at least 1 clip of each person in a batch")
        transform, instances = _transform(height, width, transforms), num_instances if by_person else None
        spec = ClipSpec(height, width, seq_len, sampler=sampler, batch=batch_size_train, seed=seed)
        loader = _train_loader(train, spec, transform, instances, workers, self._device)
        self.train_loader = _Batches(loader, self._train_batch)
        tested = {name: datasets[name].named() for name in self.targets}
        self.test_dataset = {name: {"query": each.query, "gallery": each.gallery} for name, each in tested.items()}
        self._spec = replace(spec, sampler=test_sample_method, batch=batch_size_test)
        self._read = ReadConfig(workers=workers)
        self.test_loader = self.clips_to_test(uses_time=True)
        print(
            f"=> {', '.join(self.sources)}: {self.num_train_pids} identities, {len(train)} tracklets, "
            f"{self.num_train_cams} cameras to train on; tested on {', '.join(self.targets)}"
        )

    @property
    def num_train_pids(self) -> int:
        """Persons to train on."""
        return self._num_train_pids

    @property
    def num_train_cams(self) -> int:
        """Cameras to train on."""
        return self._num_train_cams

    def fetch_test_loaders(self, name: str) -> tuple[Sequence[Tracklet], Sequence[Tracklet]]:
        """Return the query and gallery tracklets of a target."""
        return self.test_dataset[name]["query"], self.test_dataset[name]["gallery"]

    def _normalise(self, clips: Tensor) -> Tensor:
        return to_float(clips, mean=self.mean, std=self.std)

    def _train_batch(self, batch: Any) -> dict[str, Any]:
        clips, persons, cameras, tracklets = batch
        zeros = torch.zeros_like(persons)
        return {"img": self._normalise(clips), "pid": persons, "camid": cameras, "impath": tracklets, "dsetid": zeros}

    def clips_to_test(self, uses_time: bool) -> dict[str, dict[str, _Batches]]:
        """Return loaders of all test clips, by target and by ``query`` or ``gallery``.

        For a model that does not use time ``all`` makes clips of one frame, so the mean over clips is that over frames.
        """
        return {
            name: {part: self._test_batches(name, tracklets, uses_time) for part, tracklets in parts.items()}
            for name, parts in self.test_dataset.items()
        }

    def _test_batches(self, target: str, tracklets: Sequence[Tracklet], uses_time: bool) -> _Batches:
        parts = self.test_dataset[target]
        every = Labels.of((*parts["query"], *parts["gallery"]))
        persons, cameras = (np.unique(column) for column in (every.person, every.camera))
        labels = Labels.of(tracklets)
        pids = torch.from_numpy(np.searchsorted(persons, labels.person))
        camids = torch.from_numpy(np.searchsorted(cameras, labels.camera))

        def convert(batch: Any) -> dict[str, Any]:
            clips, owners, weights = batch
            ours = {"pid": pids[owners], "camid": camids[owners], "impath": owners}
            return {"img": self._normalise(clips), **ours, "tracklet": owners, "weight": weights}

        loader = eval_loader(tracklets, self._spec, self._read, uses_time=uses_time, device=self._device)
        return _Batches(loader, convert)


class _Batches:
    """A loader whose batches are dictionaries, as torchreid's engines expect them."""

    def __init__(self, loader: DataLoader, convert: Callable[[Any], dict[str, Any]]) -> None:
        self.loader = loader
        self.convert = convert
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.epoch += 1
        sampler: Any = self.loader.batch_sampler
        if hasattr(sampler, "set_epoch"):  # in training
            sampler.set_epoch(self.epoch)
        return map(self.convert, self.loader)


class _EveryTrackletItsOwnPerson(ClipDataset):
    """Training clips drawn by tracklet, not by person: each once an epoch, some twice to fill the last batch."""

    def __init__(self, tracklets: Sequence[Tracklet], spec: ClipSpec, transform: Transform) -> None:
        super().__init__(tracklets, spec, transform)
        self.persons = self.labels
        self.labels = list(range(len(self.tracklets)))

    def __getitem__(self, draw: Any) -> Any:
        item = super().__getitem__(draw)
        return item._replace(label=self.persons[item.tracklet])


def _check_names(samplers: Sequence[str], train_sampler: str) -> None:
    for name in samplers:
        SAMPLERS.get(name)
    if train_sampler not in TRAIN_SAMPLERS:
        raise unknown_name("train_sampler", train_sampler, TRAIN_SAMPLERS)


def _train_loader(
    train: Sequence[Tracklet],
    spec: ClipSpec,
    transform: TrainTransform,
    clips_per_person: int | None,
    workers: int,
    device: str,
) -> DataLoader:
    """Return a loader of training batches, by persons or, without ``clips_per_person``, by tracklets."""
    size, each = spec.batch, 1 if clips_per_person is None else clips_per_person
    if size < 2 or each < 1 or size % each:
        raise UserError(
            f"batch_size_train is {size}, num_instances {each}; expected at least 2 clips, "
            "and with RandomIdentitySampler a multiple of num_instances"
        )
    if clips_per_person is None and len(train) < size:
        raise UserError(f"{len(train)} training tracklets; a batch needs {size}: lower batch_size_train")
    kind = _EveryTrackletItsOwnPerson if clips_per_person is None else ClipDataset
    clips = kind(train, spec, transform)
    return train_loader(clips, persons_per_batch=size // each, clips_per_person=each, workers=workers, device=device)


class _ClipEngine:
    """What the two engines share: tests that average over clips, and checkpoints of plain values."""

    datamanager: ClipDataManager
    model: torch.nn.Module
    use_gpu: bool
    test_loader: dict[str, dict[str, _Batches]]

    def __init__(self, datamanager: ClipDataManager, model: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(datamanager, model, *args, **kwargs)  # type: ignore[call-arg]
        if not getattr(getattr(model, "module", model), "uses_time", takes_clips(model)):
            self.test_loader = datamanager.clips_to_test(uses_time=False)

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Train an epoch, with the draws of that epoch, also when it is resumed with ``start_epoch``."""
        self.train_loader.epoch = self.epoch  # type: ignore[attr-defined]
        super().train(*args, **kwargs)  # type: ignore[misc]

    @torch.no_grad()
    def _evaluate(
        self,
        dataset_name: str = "",
        query_loader: Any = None,
        gallery_loader: Any = None,
        dist_metric: str = "euclidean",
        normalize_feature: bool = False,
        visrank: bool = False,
        visrank_topk: int = 10,
        save_dir: str = "",
        use_metric_cuhk03: bool = False,
        ranks: Sequence[int] = (1, 5, 10, 20),
        rerank: bool = False,
    ) -> tuple[float, float]:
        if use_metric_cuhk03:
            raise UserError("use_metric_cuhk03 is for CUHK03's images; leave it out")
        if dist_metric not in DISTANCES:
            raise unknown_name("dist_metric", dist_metric, DISTANCES)
        query, gallery = self.datamanager.fetch_test_loaders(dataset_name)
        pairs = QueryGallery.of(Labels.of(query), Labels.of(gallery), EvalConfig())
        q, g = (self._features(loader) for loader in (query_loader, gallery_loader))
        distances = _distances(q, g, dist_metric, normalize_feature, rerank)
        result = pairs.rank(distances)
        print("** Results **")
        print(f"mAP: {result.mAP:.1%}")
        print("CMC curve")
        for rank in ranks:
            print(f"Rank-{rank:<3}: {result.cmc[min(rank, len(result.cmc)) - 1]:.1%}")
        if visrank:
            sheet = Path(save_dir) / f"visrank_{dataset_name}.png"
            sheet.parent.mkdir(parents=True, exist_ok=True)
            pictures = pictures_of_tracklets((*query, *gallery))
            contact_sheet(pairs, Ranking(distances, result), pictures, sheet, top=visrank_topk)
            print(f"ranked tracklets: {sheet}")
        return float(result.cmc[0]), result.mAP

    def _features(self, loader: Iterable[dict[str, Tensor]]) -> np.ndarray:
        """Return a feature a tracklet, (N, D)."""

        def features() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for batch in loader:
                clips = batch["img"].cuda() if self.use_gpu else batch["img"]
                yield self.extract_features(clips), batch["tracklet"], batch["weight"]  # type: ignore[attr-defined]

        return np.stack(list(means_over_clips(features())))

    def save_model(self, epoch: int, rank1: float, save_dir: str, is_best: bool = False) -> None:
        """Save every model as torchreid does, in plain values, with or without a scheduler."""
        for name, model in self._models.items():  # type: ignore[attr-defined]
            scheduler = self._scheds[name]  # type: ignore[attr-defined]
            state = {
                "state_dict": model.state_dict(),
                "epoch": epoch + 1,
                "rank1": float(rank1),
                "optimizer": self._optims[name].state_dict(),  # type: ignore[attr-defined]
            }
            if scheduler is not None:
                state["scheduler"] = scheduler.state_dict()
            submodule("utils").save_checkpoint(state, os.path.join(save_dir, name), is_best=is_best)


_engine = submodule("engine")


class ClipSoftmaxEngine(_ClipEngine, _engine.VideoSoftmaxEngine):  # type: ignore[misc, name-defined]
    """torchreid's ``VideoSoftmaxEngine`` for a :class:`ClipDataManager`; the constructor's arguments are the same."""


class ClipTripletEngine(_ClipEngine, _engine.VideoTripletEngine):  # type: ignore[misc, name-defined]
    """torchreid's ``VideoTripletEngine`` for a :class:`ClipDataManager`; the constructor's arguments are the same."""


def _distances(q: np.ndarray, g: np.ndarray, metric: str, unit_length: bool, again: bool) -> np.ndarray:
    if again:
        return rerank(q, g)  # of unit length, as in the published algorithm
    if metric == "cosine":
        return cosine_distance(q, g)
    if unit_length:
        q, g = normalize(q), normalize(g)
    return cdist(q, g)


def _names(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _transform(height: int, width: int, names: str | Sequence[str] | None) -> TrainTransform:
    transform = TrainTransform(height, width, crop=0, flip=0, erase=0, jitter=0)
    for name in _names(names or []):
        if name not in TRANSFORMS:
            raise unknown_name("transform", name, TRANSFORMS)
        transform = replace(transform, **TRANSFORMS[name])  # type: ignore[arg-type]
    return transform


def _read(name: str, root: str, split: int) -> Dataset:
    name = name.removeprefix("st_reid_")  # our readers' names beside torchreid's
    return read_dataset(
        name, os.path.expanduser(root) or None, known_options(name, {"split": split}), follow_links=True
    )


def _together(datasets: Sequence[Dataset], everything: bool) -> list[Tracklet]:
    """Return the training tracklets of several datasets; persons and cameras of different ones are different."""
    chosen = []
    for i, dataset in enumerate(datasets):
        tracklets = list(dict.fromkeys((*dataset.train, *(dataset.test if everything else ()))))
        known = learnable(tracklets, dataset.name)
        chosen += [replace(t, person=f"{i:03}/{t.person}", camera=f"{i:03}/{t.camera}") for t in known]
    return chosen
