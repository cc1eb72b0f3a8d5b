"""Exporting a model for programs that have ONNX or torch.export, but not this package."""

from __future__ import annotations

import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from st_reid.config import ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.clips import SAMPLERS
from st_reid.data.datasets import read_dataset
from st_reid.data.loader import eval_loader
from st_reid.data.transforms import to_float
from st_reid.errors import UserError, first_line
from st_reid.files import locked, only_writer, written_whole
from st_reid.models.checkpoints import save_checkpoint
from st_reid.models.exported import INPUT, OUTPUT, PACKAGES, ExportedModel, Sidecar, need_packages
from st_reid.models.frame_level import FrameLevel
from st_reid.models.loading import LoadedModel, load_for_evaluation
from st_reid.runtime.compute import Compute

Features = Callable[[Tensor], Tensor]
SUFFIXES = (".onnx", ".pt2")
TORCHREID = ".pth"
OPSET = 25  # the newest that onnxscript converts to
TOLERANCE = 1e-4  # between unit-length features
LAYOUT = {"antialias": True, "colors": "RGB", "dtype": "uint8", "layout": "batch, frame, color, row, column"}
ANY_BATCH = {INPUT: {0: Dim("batch", min=1)}}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """How an exported model compares with PyTorch.

    Attributes:
        differences: the greatest absolute difference of unit-length features, by the kind of clips.
        torch_seconds: median time for the random batch in PyTorch.
        exported_seconds: median time for the same batch in the exported model.
    """

    differences: dict[str, float]
    torch_seconds: float
    exported_seconds: float


@only_writer
def export(
    *,
    weights: str,
    output: str,
    arch: str | None = None,
    options: Mapping[str, Any] | None = None,
    height: int | None = None,
    width: int | None = None,
    seq_len: int | None = None,
    sampler: str = "all",
    opset: int | None = None,
    sources: str | None = None,
    root: str | None = None,
    clips: int = 16,
    batch: int = 4,
    runs: int = 5,
    seed: int = 0,
    data: ReadConfig | None = None,
) -> Agreement:
    """Export a model, check it, and write it with a description of its input; after an error nothing is left.

    The arguments are the options of ``python -m st_reid.export``.

    Raises:
        UserError: weights or a dataset that cannot be read, a missing package, a file that exists, a model that the
            exporter cannot take, or one that gives other features than in PyTorch.
    """
    read = data or ReadConfig()
    file, sidecar = Path(output), Path(output).with_suffix(".json")
    _check(file, sources, root)
    SAMPLERS.get(sampler)
    number = _choose_opset(opset) if file.suffix == ".onnx" else None
    chosen = {"height": height, "width": width, "seq_len": seq_len, "interpolation": read.interpolation}
    loaded = load_for_evaluation(weights, arch, options, sampler=sampler, batch=batch, seed=seed, **chosen)
    about = _about(loaded, fixed_length=seq_len is not None)
    text = json.dumps(about, indent=2) + "\n"
    with locked(sidecar, wait=True):  # the .onnx and the .pt2 of a model share this file
        if sidecar.exists() and sidecar.read_bytes() != text.encode():
            raise UserError(f"{sidecar} exists, and is of another model; pass another --output")
        spec = replace(loaded.spec, seq_len=about["seq_len"])
        to_check = {"random": _random_clips(spec)}
        if sources is not None:
            to_check |= _clips_of_dataset(sources, root, clips, spec, read)

        program = _trace(loaded.model, to_check["random"], loaded.arch)
        write = _convert(program, about, number) if number is not None else _archive(program, text)
        with written_whole(file) as model_file, written_whole(sidecar) as about_file:
            about_file.write(text.encode())
            write(model_file)
            model_file.flush()
            exported = _load(Path(model_file.name), file.suffix, about)
            agreement = _compare(loaded.model, exported, to_check, batch, runs)
            worst = max(agreement.differences.values())
            if not worst <= TOLERANCE:  # also if it is not a number
                raise UserError(
                    f"the export of {loaded.arch} is not the model: unit-length features differ by up to {worst:.1e}, "
                    f"more than {TOLERANCE:.0e}; nothing was written"
                )
    _announce(spec, batch, runs, agreement, file)
    return agreement


@only_writer
def export_weights(
    weights: str, output: str, arch: str | None = None, options: Mapping[str, Any] | None = None
) -> None:
    """Write a frame-level model's weights under torchreid's names.

    Raises:
        UserError: weights that cannot be read, a model that torchreid does not have, or an output that exists.
    """
    file = Path(output)
    if file.suffix != TORCHREID:
        raise UserError(f"output {file}: weights for torchreid are a {TORCHREID} file; pass such a name")
    if file.exists():
        raise UserError(f"{file} exists; pass another --output, or remove it")
    loaded = load_for_evaluation(weights, arch, options)
    if not isinstance(loaded.model, FrameLevel):
        raise UserError(f"{loaded.arch} is no model of torchreid's; expected a frame-level one, such as osnet_x1_0")
    save_checkpoint({"state_dict": loaded.model.model.state_dict(), "epoch": 0}, file)
    logger.info(f"{file}: {loaded.arch} for torchreid.utils.load_pretrained_weights and what is built on it")


def _check(output: Path, sources: str | None, root: str | None) -> None:
    """Check for errors before the export, which takes minutes."""
    if output.suffix not in SUFFIXES:
        raise UserError(f"output {output} has no known suffix; expected a name that ends in {' or '.join(SUFFIXES)}")
    if root is not None and sources is None:
        raise UserError(f"root is {root}, but of which dataset? pass its name as --sources")
    if output.exists():
        raise UserError(f"{output} exists; pass another --output, or remove it")
    if output.suffix == ".onnx":
        need_packages(PACKAGES)


def _about(loaded: LoadedModel, fixed_length: bool) -> dict[str, Any]:
    """Return the content of ``MODEL.json``. Its settings are those of ``extract``, so features agree."""
    told = loaded.about()
    if not fixed_length:
        told["seq_len"] = loaded.spec.for_model(loaded.uses_time).seq_len
    told |= {"feature_dim": loaded.model.feature_dim, "uses_time": bool(loaded.uses_time)}
    return {key: told[key] for key in Sidecar.__annotations__} | LAYOUT


def _choose_opset(wanted: int | None) -> int:
    """Return ``wanted``, or the newest opset that both the exporter and the installed onnxruntime take."""
    import onnx
    import onnxruntime

    newest = min(OPSET, onnx.defs.onnx_opset_version())
    for opset in (wanted,) if wanted is not None else range(newest, 17, -1):
        if opset <= newest and _runs(opset):
            return opset
    raise UserError(
        f"opset is {wanted or newest}; expected one of 18 to {newest} that onnxruntime {onnxruntime.__version__} runs; "
        "leave --opset out"
    )


def _runs(opset: int) -> bool:
    """Try an empty model, because onnxruntime has no list of the opsets it supports."""
    import onnx
    import onnxruntime
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "empty", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's errors have no common class
        return False
    return True


def _random_clips(spec: ClipSpec) -> Tensor:
    """Return uint8 clips (n, T, 3, height, width)."""
    random = torch.Generator().manual_seed(spec.seed)
    # At least two: the exporter would treat a batch of one as a constant.
    return torch.randint(256, (max(spec.batch, 2), *spec.shape), dtype=torch.uint8, generator=random)


def _clips_of_dataset(
    sources: str, root: str | None, count: int, spec: ClipSpec, read: ReadConfig
) -> dict[str, Tensor]:
    """Return uint8 clips (n, T, 3, height, width) of different tracklets, by the dataset's name."""
    dataset = read_dataset(sources, root, read.options, follow_links=read.follow_links)
    tracklets = dataset.test or dataset.train
    tracklets = tracklets[:: max(len(tracklets) // count, 1)][:count]
    if not tracklets:
        raise UserError(f"{sources} has no tracklets to check the export on; leave --sources out")
    loader = eval_loader(tracklets, replace(spec, sampler="evenly"), read)
    return {dataset.name: torch.cat([batch.clip for batch in loader])}


def _trace(model: nn.Module, clips: Tensor, arch: str) -> ExportedProgram:
    """Return a program of ``model`` for any number of clips like these, starting from their pixels."""

    class FromPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, clips: Tensor) -> Tensor:
            return self.model(to_float(clips))

    with torch.no_grad(), _quiet(), _refused(arch):
        return torch.export.export(FromPixels().eval(), (clips[:2],), dynamic_shapes=ANY_BATCH, strict=False)


def _convert(program: ExportedProgram, about: Mapping[str, Any], opset: int | None) -> Callable[[BinaryIO], object]:
    """Return a function that writes the program as ONNX, with the metadata of the model."""
    import onnx

    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": ANY_BATCH}
    with torch.no_grad(), _quiet(), _refused(about["arch"]):
        converted = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=opset, **names)
        assert converted is not None
        proto = converted.model_proto
    onnx.helper.set_model_props(proto, {key: str(value) for key, value in about.items()})
    return lambda file: file.write(proto.SerializeToString())


def _archive(program: ExportedProgram, text: str) -> Callable[[BinaryIO], object]:
    """Return a function that writes the program for ``torch.export.load``, with the metadata of the model."""

    def write(file: BinaryIO) -> None:
        with _quiet():
            torch.export.save(program, file, extra_files={"about.json": text})

    return write


def _load(path: Path, suffix: str, about: Mapping[str, Any]) -> Features:
    if suffix == ".onnx":
        return ExportedModel(path, about)
    with _quiet(), open(path, "rb") as file:
        return torch.export.load(file).module()


def _compare(
    model: nn.Module, exported: Features, clips: Mapping[str, Tensor], batch_size: int, runs: int
) -> Agreement:
    """Compare unit-length features of all clips, and of the first clip alone; and measure the time."""
    placed = Compute.choose("cpu", "float32").place(model)  # as evaluation would run it

    def expected(clips: Tensor) -> Tensor:
        return placed(to_float(clips))

    with torch.inference_mode():
        differences = {}
        for name, some in clips.items():
            batches = [some[:1], *some.split(batch_size)]
            pairs = [(F.normalize(expected(b)), F.normalize(exported(b))) for b in batches]
            differences[name] = max((a - b).abs().max().item() for a, b in pairs)
        batch = clips["random"][:batch_size]
        # In turns, so that other work on the machine slows both; both have been warmed up before.
        times = [(_seconds(expected, batch), _seconds(exported, batch)) for _ in range(runs)]
    in_torch, in_export = (median(each) for each in zip(*times, strict=True))
    return Agreement(differences, in_torch, in_export)


def _seconds(features: Features, clips: Tensor) -> float:
    start = time.perf_counter()
    features(clips)
    return time.perf_counter() - start


def _announce(spec: ClipSpec, batch: int, runs: int, agreement: Agreement, output: Path) -> None:
    for name, difference in agreement.differences.items():
        logger.info(f"{name} clips: unit-length features differ by {difference:.1e} at most")
    in_torch, in_export = 1000 * agreement.torch_seconds, 1000 * agreement.exported_seconds
    logger.info(
        f"a batch of {batch} clips of {' x '.join(map(str, spec.shape))}: {in_torch:.1f} ms in PyTorch, "
        f"{in_export:.1f} ms exported (median of {runs}, CPU)"
    )
    logger.info(f"{output} ({output.stat().st_size / 1e6:.1f} MB) and {output.with_suffix('.json').name}")


@contextmanager
def _refused(arch: str) -> Iterator[None]:
    """Turn whatever an exporter raises into one line."""
    try:
        yield
    except Exception as error:  # it may be anything
        cause: BaseException = error
        while cause.__cause__ is not None:  # the exporter's own message is how to report a bug to PyTorch
            cause = cause.__cause__
        raise UserError(f"the exporter cannot take {arch}: {type(cause).__name__}: {first_line(cause)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' hundreds of lines of logs, warnings and prints."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
