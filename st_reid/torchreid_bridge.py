"""What ``import st_reid`` does to torchreid: our models and datasets under its names for such things, clips kept whole.

torchreid may be imported before this package or after it, and takes seconds to import. So all of it waits for
``import torchreid`` and happens at once where that is done already. Names that torchreid has stay torchreid's, and what
its engines do with any model that is not a clip model stays as it was.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_reid.data.tracklet import Dataset, Tracklet


class _AfterImport(Loader):
    """Runs a module's own loader, then registers."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _TorchreidFinder)]  # its work is done
        _register_with_models()


class _TorchreidFinder(MetaPathFinder):
    """Finds torchreid as everybody else does, and has ours registered once it is loaded."""

    searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchreid" or self.searching:
            return None
        self.searching = True  # or it would find itself
        try:
            spec = find_spec(fullname)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _AfterImport(spec.loader)
        return spec


class _SameModule(Loader):
    """Gives a module a second name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # it has run long since, under its own name


class _GitNames(MetaPathFinder):
    """Finds git's ``torchreid.models`` where PyPI's package has ``torchreid.reid.models``, and so for every module."""

    OURS = "torchreid.reid"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != "torchreid" or not rest or f"{fullname}.".startswith(f"{self.OURS}."):
            return None
        name = f"{self.OURS}.{rest}"
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        return ModuleSpec(fullname, _SameModule(name), is_package=found.submodule_search_locations is not None)


def register_on_import() -> None:
    """Register now if torchreid is imported, else when it will be. Doing it twice is harmless."""
    if "torchreid" in sys.modules:
        _register_with_models()
    elif not any(isinstance(finder, _TorchreidFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchreidFinder())


def _register_with_models() -> None:
    # The models import torchreid, and torchreid's import comes here: whichever is first, `st_reid.models` calls
    # `register` at its end, when every name is known.
    import st_reid.models  # noqa: F401


def register() -> None:
    """Put every model and video dataset whose name is free into torchreid, and teach its engines what a clip is.

    Builds nothing and reads nothing. Doing it twice is harmless.
    """
    from st_reid import torchreid_compat
    from st_reid.data.datasets import dataset_names
    from st_reid.registry import MODELS

    factory = torchreid_compat.model_factory()
    for name in MODELS.names():
        factory.setdefault(name, _model_builder(name))
    _keep_clips_whole(torchreid_compat.submodule("engine"))
    _load_old_checkpoints()
    if torchreid_compat.is_pypi_layout() and not any(isinstance(finder, _GitNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GitNames())
    data = torchreid_compat.submodule("data")
    taken = getattr(torchreid_compat.submodule("data.datasets"), "__video_datasets")
    for name in dataset_names():
        # mars and its like exist in torchreid; ours, with frames in true order and nothing lost, stand beside them.
        theirs = name if name not in taken else f"st_reid_{name}"
        if theirs not in taken:
            data.register_video_dataset(theirs, _dataset_class(name, data.VideoDataset))


def takes_clips(model: Any) -> bool:
    """Whether a model, or the one that DataParallel wraps, was built by ``create_model`` and so takes clips."""
    return getattr(getattr(model, "module", model), "takes_clips", False)


def _keep_clips_whole(engine: ModuleType) -> None:
    """Have torchreid's two video engines hand clips (B, T, 3, H, W) to clip models as they are.

    For every other model they go on to flatten a clip into frames, as torchreid does.
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


def _load_old_checkpoints() -> None:
    """Let ``torch.load`` read the rank-1 in torchreid's checkpoints, a NumPy number, without reading code."""
    import torch

    from st_reid.checkpoints import numpy_scalars

    torch.serialization.add_safe_globals(numpy_scalars())


def _model_builder(name: str) -> Any:
    def build(num_classes: int, loss: str = "softmax", pretrained: bool = True, use_gpu: bool = True) -> Any:
        from st_reid.registry import create_model

        return create_model(name, num_classes, loss=loss, pretrained=pretrained)

    return build


def _dataset_class(name: str, base: type) -> type:
    def read(self: Any, root: str = "", **kwargs: Any) -> None:
        from st_reid.data.datasets import DATASETS, read_dataset

        # torchreid hands every dataset all of its settings: ours take the options that they know.
        settings = {"split": kwargs.get("split_id", 0), **kwargs}
        known = inspect.signature(DATASETS.get(name)).parameters
        options = {key: value for key, value in settings.items() if key in known}
        dataset = read_dataset(name, os.path.expanduser(root) or None, options)
        base.__init__(self, *_as_torchreid(dataset), **kwargs)  # type: ignore[misc]

    return type(name, (base,), {"__init__": read, "__doc__": f"The dataset {name!r} of st_reid."})


def _as_torchreid(dataset: Dataset) -> tuple[list[tuple[tuple[str, ...], int, int]], ...]:
    """Return train, query and gallery as torchreid's (paths, person, camera), all numbered from 0.

    Training persons are numbered for themselves, as classes; those of query and gallery share their numbers.
    """
    everything = (*dataset.train, *dataset.query, *dataset.gallery)
    cameras = {camera: i for i, camera in enumerate(sorted({t.camera for t in everything}))}

    def convert(tracklets: Sequence[Tracklet], persons: dict[str, int]) -> list[tuple[tuple[str, ...], int, int]]:
        return [(tuple(map(str, t.paths)), persons[t.person], cameras[t.camera]) for t in tracklets]

    from st_reid.data.tracklet import person_labels

    test_persons = person_labels((*dataset.query, *dataset.gallery))
    return (
        convert(dataset.train, person_labels(dataset.train)),
        convert(dataset.query, test_persons),
        convert(dataset.gallery, test_persons),
    )
