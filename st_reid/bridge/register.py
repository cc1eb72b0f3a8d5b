"""What ``import st_reid`` changes in torchreid: it adds our models and datasets, and keeps clips whole.

torchreid may be imported before this package or after it, and takes seconds to import. So the changes
happen right after ``import torchreid``, or at once if it is already imported. Existing names of torchreid are not
changed, and its engines treat models that are not clip models as before.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import wraps
from types import ModuleType
from typing import Any

import torch

from st_reid import torchreid_compat
from st_reid.bridge.imports import give_git_names
from st_reid.bridge.layers import teach_layers
from st_reid.data.datasets import known_options, read_dataset, registered_datasets
from st_reid.data.tracklet import Dataset, Tracklet, person_labels
from st_reid.models.checkpoints import numpy_scalars
from st_reid.models.factory import create_model, registered_models


def register() -> None:
    """Put every model and video dataset whose name is free into torchreid, and teach its engines what a clip is.

    Names that are registered later are added at once. Builds nothing and reads nothing. Doing it twice is harmless.
    """
    _keep_clips_whole(torchreid_compat.submodule("engine"))
    teach_layers(takes_clips)
    # Its checkpoints hold the rank-1 as a NumPy number, which torch.load is to read without reading code.
    torch.serialization.add_safe_globals(numpy_scalars())
    if torchreid_compat.is_pypi_layout():
        give_git_names()
    registered_models().watch(_add_model)
    registered_datasets().watch(_add_dataset)


def _add_model(name: str) -> None:
    torchreid_compat.model_factory().setdefault(name, _model_builder(name))


def _add_dataset(name: str) -> None:
    data = torchreid_compat.submodule("data")
    taken = getattr(torchreid_compat.submodule("data.datasets"), "__video_datasets")
    # mars and its like exist in torchreid; ours, with frames in true order and nothing lost, stand beside them.
    theirs = name if name not in taken else f"st_reid_{name}"
    if theirs not in taken:
        data.register_video_dataset(theirs, _dataset_class(name, data.VideoDataset))


def takes_clips(model: Any) -> bool:
    """Whether a model, or the one that DataParallel wraps, was built by ``create_model`` and so takes clips."""
    return getattr(getattr(model, "module", model), "takes_clips", False)


def _keep_clips_whole(engine: ModuleType) -> None:
    """Have torchreid's two video engines hand clips (B, T, 3, H, W) to clip models as they are.

    For every other model they still flatten a clip into frames, as torchreid does.
    """
    for name in ("VideoSoftmaxEngine", "VideoTripletEngine"):
        engine_class = getattr(engine, name, None)
        methods = [getattr(engine_class, method, None) for method in ("parse_data_for_train", "extract_features")]
        if None in methods:
            warnings.warn(
                f"torchreid's {name} is not as st_reid knows it: clips will be flattened into frames; "
                "train with st_reid.train instead",
                stacklevel=2,
            )
            continue
        parse, extract = methods
        if not hasattr(parse, "__wrapped__"):
            _wrap(engine_class, parse, extract)


def _wrap(engine_class: Any, parse: Any, extract: Any) -> None:
    @wraps(parse)
    def parse_data_for_train(self: Any, data: Any) -> Any:
        return (data["img"], data["pid"]) if takes_clips(self.model) else parse(self, data)

    @wraps(extract)
    def extract_features(self: Any, input: Any) -> Any:
        return self.model(input) if takes_clips(self.model) else extract(self, input)

    engine_class.parse_data_for_train = parse_data_for_train
    engine_class.extract_features = extract_features


def _model_builder(name: str) -> Any:
    def build(num_classes: int, loss: str = "softmax", pretrained: bool = True, use_gpu: bool = True) -> Any:
        return create_model(name, num_classes, loss=loss, pretrained=pretrained)

    return build


def _dataset_class(name: str, base: type) -> type:
    def read(self: Any, root: str = "", **kwargs: Any) -> None:
        options = known_options(name, {"split": kwargs.get("split_id", 0), **kwargs})
        dataset = read_dataset(name, os.path.expanduser(root) or None, options, follow_links=True)  # as torchreid does
        base.__init__(self, *_as_torchreid(dataset.named()), **kwargs)  # type: ignore[misc]

    return type(name, (base,), {"__init__": read, "__doc__": f"The dataset {name!r} of st_reid."})


def _as_torchreid(dataset: Dataset) -> tuple[list[tuple[tuple[str, ...], int, int]], ...]:
    """Return train, query and gallery as torchreid's (paths, person, camera), all numbered from 0.

    Training persons are numbered for themselves, as classes; those of query and gallery share their numbers.
    """
    everything = (*dataset.train, *dataset.query, *dataset.gallery)
    cameras = {camera: i for i, camera in enumerate(sorted({t.camera for t in everything}))}

    def convert(tracklets: Sequence[Tracklet], persons: dict[str, int]) -> list[tuple[tuple[str, ...], int, int]]:
        return [(tuple(map(str, t.paths)), persons[t.person], cameras[t.camera]) for t in tracklets]

    test_persons = person_labels((*dataset.query, *dataset.gallery))
    return (
        convert(dataset.train, person_labels(dataset.train)),
        convert(dataset.query, test_persons),
        convert(dataset.gallery, test_persons),
    )
