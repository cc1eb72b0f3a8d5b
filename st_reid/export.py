"""``python -m st_reid.export``: a model for programs that have ONNX or torch.export, but not this package."""

from __future__ import annotations

import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, BinaryIO

from st_reid import cli
from st_reid.config import LEAST, EvalConfig, ReadConfig
from st_reid.errors import UserError, first_line
from st_reid.files import check_output, written_whole

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    Features = Callable[[Tensor], Tensor]

NAME = "python -m st_reid.export"
SUFFIXES = (".onnx", ".pt2")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 25  # the newest that onnxscript converts to
TOLERANCE = 1e-4  # between unit-length features
INPUT, OUTPUT = "clips", "features"
ABOUT = {
    "arch": str,
    "height": int,
    "width": int,
    "seq_len": int,
    "interpolation": str,
    "sampler": str,
    "feature_dim": int,
    "uses_time": bool,
    "fingerprint": str,
}
"""What the file beside a model has to say, and of which type."""
LAYOUT = {"antialias": True, "colors": "RGB", "dtype": "uint8", "layout": "batch, frame, color, row, column"}
logger = logging.getLogger(__name__)


@dataclass
class ExportConfig:
    """Export a model to ONNX or torch.export, from pixels to features, and check the result against PyTorch.

    Attributes:
        weights: a checkpoint of a training run; or, with arch, a state dict or a checkpoint of torchreid.
        output: MODEL.onnx, or MODEL.pt2 for torch.export; how its input is made is written beside it, to MODEL.json.
        arch: the model's name, where the weights do not say it.
        height: input height in pixels; null for what the checkpoint was trained with, or 256.
        width: input width in pixels; null for what the checkpoint was trained with, or 128.
        seq_len: frames in a clip; null for what the checkpoint was trained with, or 8; for 1 where the model does not
            use time and the sampler is all, as evaluation does.
        sampler: which clips of a tracklet are to be averaged, for MODEL.json; all for every frame.
        opset: of ONNX; null for the newest that is exported and that the onnxruntime here runs.
        sources: a dataset to check the export on too; null for random clips alone.
        root: the folder that holds the dataset's folder, or that folder itself.
        clips: clips of the dataset, each of another tracklet.
        batch: clips in a batch: of the random one, which is timed, and of the dataset's.
        runs: calls of which the median is the latency.
        seed: of the random clips, and of samplers that draw.
        options: the model's own options, with arch.
        data: how images are resized, and how the dataset is read.
    """

    weights: str
    output: str
    arch: str | None = None
    height: int | None = None
    width: int | None = None
    seq_len: int | None = None
    sampler: str = "all"
    opset: int | None = None
    sources: str | None = None
    root: str | None = None
    clips: int = 16
    batch: int = 4
    runs: int = 5
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    data: ReadConfig = field(default_factory=ReadConfig)


@dataclass(frozen=True)
class Agreement:
    """How an exported model compares with PyTorch.

    Attributes:
        differences: the greatest absolute difference of unit-length features, by what the clips are of.
        torch_seconds: for the random batch in PyTorch, the median.
        exported_seconds: for the same batch in the exported model.
    """

    differences: dict[str, float]
    torch_seconds: float
    exported_seconds: float


class ExportedModel:
    """A model exported to ONNX, run by onnxruntime on the CPU. It needs none of the code that it was made by.

    Args:
        path: of ``MODEL.onnx``.
        about: what ``MODEL.json`` says; read from beside the model by default.

    Attributes:
        about: what ``MODEL.json`` says.
        arch: the name of the model that it was.
        height: of its input in pixels.
        width: of its input in pixels.
        seq_len: frames T in a clip.
        feature_dim: D.
        uses_time: whether a clip is more to it than the mean of its frames.
        fingerprint: of the weights and the input, as :mod:`st_reid.features` has it.

    Shapes:
        - Input: uint8 (B, T, 3, height, width), RGB, any B >= 1; a model that does not use time takes any T.
        - Output: float32 (B, D), on the CPU.

    It stands for the model wherever features are extracted: ``extract --weights MODEL.onnx``.

    Raises:
        UserError: a missing package, files that are missing, damaged, or do not belong together; in calls, clips of
            another shape or type.
    """

    takes_pixels = True

    def __init__(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        _need(PACKAGES[-1:])
        import onnxruntime
        import torch

        path = Path(path)
        if not path.is_file():
            raise UserError(f"no exported model {path}; make it with {NAME}")
        self.about = dict(about or _read_about(path.with_suffix(".json")))
        self.arch: str = self.about["arch"]
        self.height: int = self.about["height"]
        self.width: int = self.about["width"]
        self.seq_len: int = self.about["seq_len"]
        self.feature_dim: int = self.about["feature_dim"]
        self.uses_time: bool = self.about["uses_time"]
        self.fingerprint: str = self.about["fingerprint"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # its errors are raised too
        options.intra_op_num_threads = torch.get_num_threads()  # else it takes every core, whatever torch was told
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise UserError(f"onnxruntime cannot load {path} ({first_line(error)}); is the file complete?") from error
        made_for = self._session.get_modelmeta().custom_metadata_map.get("fingerprint")
        if made_for != self.fingerprint:
            raise UserError(
                f"{path} and its .json file do not belong together: they are of {made_for} and {self.fingerprint}; "
                "export it again"
            )

    def __call__(self, clips: Tensor) -> Tensor:
        """Return the features of clips; see the class."""
        import torch

        expected = (self.seq_len if self.uses_time else -1, 3, self.height, self.width)
        shape = tuple(clips.shape)
        fits = (
            len(shape) == 5 and 0 not in shape and all(e in (-1, s) for s, e in zip(shape[1:], expected, strict=True))
        )
        if clips.dtype != torch.uint8 or not fits:
            wanted = ", ".join("T" if e < 0 else str(e) for e in expected)
            raise UserError(f"clips are {clips.dtype} {shape}; expected the pixels, torch.uint8 (B, {wanted})")
        if shape[1] == self.seq_len:
            return self._run(clips)
        # Each frame alone: the mean over a clip of one frame, however often it is repeated, is that frame's feature.
        frames = clips.flatten(0, 1)[:, None].expand(-1, self.seq_len, -1, -1, -1)
        return self._run(frames).unflatten(0, shape[:2]).mean(dim=1)

    def _run(self, clips: Tensor) -> Tensor:
        import torch

        (features,) = self._session.run([OUTPUT], {INPUT: clips.cpu().contiguous().numpy()})
        return torch.from_numpy(features)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    export(cli.parse(ExportConfig, argv, NAME))


def export(config: ExportConfig) -> Agreement:
    """Export a model, check it, and write it with what its input has to be; nothing is left where that fails.

    Raises:
        UserError: weights or a dataset that cannot be read, a missing package, a file in the way, a model that the
            exporter cannot take, or one that gives other features than in PyTorch.
    """
    output = Path(config.output)
    sidecar = output.with_suffix(".json")
    _check(config, output)
    from st_reid.data.clips import SAMPLERS
    from st_reid.loading import load_for_evaluation

    SAMPLERS.get(config.sampler)
    opset = _choose_opset(config.opset) if output.suffix == ".onnx" else None
    sizes = {"height": config.height, "width": config.width, "seq_len": config.seq_len}
    loaded = load_for_evaluation(config.weights, config.arch, config.options, **sizes)
    model = loaded.model
    interpolation = config.data.interpolation or loaded.interpolation or "bilinear"
    # The settings are those of `extract` for a tracklet, so that its features and those of the export are of one kind.
    told = loaded.about(config.weights, sampler=config.sampler, interpolation=interpolation, per_frame=False)
    uses_time = bool(getattr(model, "uses_time", True))
    if not uses_time and config.sampler == "all" and config.seq_len is None:
        told["seq_len"] = 1
    told |= {"feature_dim": model.feature_dim, "uses_time": uses_time}
    about = {key: told[key] for key in ABOUT} | LAYOUT
    text = json.dumps(about, indent=2) + "\n"
    if sidecar.exists() and sidecar.read_bytes() != text.encode():  # the .onnx and the .pt2 of a model share it
        raise UserError(f"{sidecar} exists, and is of another model; pass another --output")
    clips = _clips_to_check(config, about)

    program = _trace(model, clips["random"], about["arch"])
    write = _convert(program, about, opset) if output.suffix == ".onnx" else _archive(program, text)
    with _folder(output.parent), written_whole(output) as model_file, written_whole(sidecar) as about_file:
        about_file.write(text.encode())
        write(model_file)
        model_file.flush()
        exported = _load(Path(model_file.name), output.suffix, about)
        agreement = _compare(model, exported, clips, config)
        worst = max(agreement.differences.values())
        if not worst <= TOLERANCE:  # nor where it is no number
            raise UserError(
                f"the export of {about['arch']} is not the model: unit-length features differ by up to {worst:.1e}, "
                f"more than {TOLERANCE:.0e}; nothing was written"
            )
    _announce(config, about, agreement, output)
    return agreement


def _check(config: ExportConfig, output: Path) -> None:
    """Find out what can be wrong before the minutes that an export takes."""
    if output.suffix not in SUFFIXES:
        raise UserError(f"output {output} has no known suffix; expected a name that ends in {' or '.join(SUFFIXES)}")
    least = {name: LEAST[name] for name in ("height", "width", "seq_len", "seed", "data.workers")}
    for name, minimum in {**least, "clips": 1, "batch": 1, "runs": 1, "opset": 18}.items():
        value = config.data.workers if name == "data.workers" else getattr(config, name)
        if value is not None and value < minimum:
            raise UserError(f"{name} is {value}; expected at least {minimum:g}")
    if config.root is not None and config.sources is None:
        raise UserError(f"root is {config.root}, but of which dataset? pass its name as --sources")
    if output.exists():
        raise UserError(f"{output} exists; pass another --output, or remove it")
    check_output(output.parent)
    if output.suffix == ".onnx":
        _need(PACKAGES)


def _need(packages: tuple[str, ...]) -> None:
    for name in packages:
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"ONNX needs {name}: pip install st_reid[export]") from None


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
    """Try an empty model: onnxruntime does not say which opsets it knows."""
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


def _clips_to_check(config: ExportConfig, about: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return uint8 clips (n, T, 3, height, width): ``random`` ones, and those of a dataset by its name."""
    import torch

    shape = (about["seq_len"], 3, about["height"], about["width"])
    random = torch.Generator().manual_seed(config.seed)
    # At least two: the exporter takes a batch of one for a constant.
    clips = {"random": torch.randint(256, (max(config.batch, 2), *shape), dtype=torch.uint8, generator=random)}
    if config.sources is not None:
        from st_reid.data.datasets import read_dataset
        from st_reid.engine import ClipReader

        dataset = read_dataset(config.sources, config.root, config.data.options)
        tracklets = list(dict.fromkeys((*dataset.query, *dataset.gallery))) or list(dataset.train)
        tracklets = tracklets[:: max(len(tracklets) // config.clips, 1)][: config.clips]
        if not tracklets:
            raise UserError(f"{config.sources} has no tracklets to check the export on; leave --sources out")
        read = replace(config.data, interpolation=about["interpolation"])
        one_each = EvalConfig(sampler="evenly", batch=config.batch)
        reader = ClipReader(about["height"], about["width"], about["seq_len"], config.seed, read, one_each)
        loader = reader.loader(tracklets, uses_time=True, device=torch.device("cpu"))
        clips[dataset.name] = torch.cat([batch.clip for batch in loader])
    return clips


def _trace(model: nn.Module, clips: Tensor, arch: str) -> ExportedProgram:
    """Return what ``model`` does with clips like these, any number of them, from their pixels on."""
    import torch

    from st_reid.data.transforms import to_float

    class FromPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, clips: Tensor) -> Tensor:
            return self.model(to_float(clips))

    with torch.no_grad(), _quiet(), _refused(arch):
        return torch.export.export(FromPixels().eval(), (clips[:2],), dynamic_shapes=_any_batch(), strict=False)


def _any_batch() -> dict[str, dict[int, Any]]:
    import torch

    return {INPUT: {0: torch.export.Dim("batch", min=1)}}


def _convert(program: ExportedProgram, about: Mapping[str, Any], opset: int | None) -> Callable[[BinaryIO], object]:
    """Return what writes the program as ONNX, with what is told of it as the file's metadata."""
    import onnx
    import torch

    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": _any_batch()}
    with torch.no_grad(), _quiet(), _refused(about["arch"]):
        converted = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=opset, **names)
        assert converted is not None
        proto = converted.model_proto
    onnx.helper.set_model_props(proto, {key: str(value) for key, value in about.items()})
    return lambda file: file.write(proto.SerializeToString())


def _archive(program: ExportedProgram, text: str) -> Callable[[BinaryIO], object]:
    """Return what writes the program for ``torch.export.load``, with what is told of it inside."""
    import torch

    def write(file: BinaryIO) -> None:
        with _quiet():
            torch.export.save(program, file, extra_files={"about.json": text})

    return write


def _load(path: Path, suffix: str, about: Mapping[str, Any]) -> Features:
    import torch

    if suffix == ".onnx":
        return ExportedModel(path, about)
    with _quiet(), open(path, "rb") as file:
        return torch.export.load(file).module()


def _compare(model: nn.Module, exported: Features, clips: Mapping[str, Tensor], config: ExportConfig) -> Agreement:
    """Compare unit-length features of all clips, those of the first one also alone; and take the time."""
    import torch
    from torch.nn import functional as F

    from st_reid.compute import Compute
    from st_reid.data.transforms import to_float

    placed = Compute.choose("cpu", "float32").place(model)  # as evaluation would run it

    def expected(clips: Tensor) -> Tensor:
        return placed(to_float(clips))

    with torch.inference_mode():
        differences = {}
        for name, some in clips.items():
            batches = [some[:1], *some.split(config.batch)]
            pairs = [(F.normalize(expected(b)), F.normalize(exported(b))) for b in batches]
            differences[name] = max((a - b).abs().max().item() for a, b in pairs)
        batch = clips["random"][: config.batch]
        # By turns, so that whatever else the machine does slows both; what came before has warmed them up.
        times = [(_seconds(expected, batch), _seconds(exported, batch)) for _ in range(config.runs)]
    in_torch, in_export = (median(each) for each in zip(*times, strict=True))
    return Agreement(differences, in_torch, in_export)


def _seconds(features: Features, clips: Tensor) -> float:
    start = time.perf_counter()
    features(clips)
    return time.perf_counter() - start


def _announce(config: ExportConfig, about: Mapping[str, Any], agreement: Agreement, output: Path) -> None:
    for name, difference in agreement.differences.items():
        logger.info("%s clips: unit-length features differ by %.1e at most", name, difference)
    logger.info(
        "a batch of %d clips of %d x 3 x %d x %d: %.1f ms in PyTorch, %.1f ms exported (median of %d, CPU)",
        config.batch,
        *(about[key] for key in ("seq_len", "height", "width")),
        1000 * agreement.torch_seconds,
        1000 * agreement.exported_seconds,
        config.runs,
    )
    logger.info("%s (%.1f MB) and %s", output, output.stat().st_size / 1e6, output.with_suffix(".json").name)


def _read_about(path: Path) -> dict[str, Any]:
    """Read a model's ``MODEL.json``."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {path}, which says what the model's input is; export it again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); export the model again") from error
    wrong = [key for key, kind in ABOUT.items() if not isinstance(about, dict) or type(about.get(key)) is not kind]
    if wrong:
        raise UserError(f"{path} does not say what the model's input is: no {', '.join(wrong)}; export it again")
    return about


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder; where what follows fails, those that were made are removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # somebody else has put something there
                path.rmdir()
        raise


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
    """Keep back what the exporters tell of themselves, hundreds of lines: logged, warned of, and printed."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


if __name__ == "__main__":
    cli.run(main, NAME)
