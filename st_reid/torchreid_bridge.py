"""Our models and datasets under torchreid's own names for such things: its model factory and dataset registry.

torchreid may be imported before this package or after it, and takes seconds to import. So registration waits for
``import torchreid`` and happens at once where that is done already. Names that torchreid has stay torchreid's.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
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
    """Put every model and video dataset whose name is free into torchreid. Builds nothing and reads nothing."""
    from st_reid import torchreid_compat
    from st_reid.data.datasets import dataset_names
    from st_reid.registry import MODELS

    factory = torchreid_compat.model_factory()
    for name in MODELS.names():
        factory.setdefault(name, _model_builder(name))
    data = torchreid_compat.submodule("data")
    taken = getattr(torchreid_compat.submodule("data.datasets"), "__video_datasets")
    for name in dataset_names():
        # mars and its like exist in torchreid; ours, with frames in true order and nothing lost, stand beside them.
        theirs = name if name not in taken else f"st_reid_{name}"
        if theirs not in taken:
            data.register_video_dataset(theirs, _dataset_class(name, data.VideoDataset))


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
