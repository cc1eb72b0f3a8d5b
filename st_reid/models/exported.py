"""Running a model that was exported to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from st_reid.errors import UserError, first_line
from st_reid.reading import Count, check_file, of_type, read_json

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

INPUT, OUTPUT = "clips", "features"


class Sidecar(TypedDict):
    """What the ``.json`` file of an exported model says; it may have other entries."""

    arch: str
    height: Count
    width: Count
    seq_len: Count
    interpolation: Literal["bilinear", "bicubic"]
    sampler: str
    feature_dim: Count
    uses_time: bool
    fingerprint: str


class ExportedModel:
    """A model exported to ONNX, run by onnxruntime on the CPU. It does not need the model's code.

    Args:
        path: of ``MODEL.onnx``.
        about: the content of ``MODEL.json``; by default it is read from the model's folder.

    Attributes:
        about: the content of ``MODEL.json``.
        arch: the name of the exported model.
        height: of its input in pixels.
        width: of its input in pixels.
        seq_len: frames T in a clip.
        feature_dim: D.
        uses_time: false if the result is the mean over single frames.
        fingerprint: of the weights and the input, as :mod:`st_reid.models.fingerprint` has it.

    Shapes:
        - Input: uint8 (B, T, 3, height, width), RGB, any B >= 1; a model that does not use time takes any T.
        - Output: float32 (B, D), on the CPU.

    It can be used instead of a checkpoint: ``extract --weights MODEL.onnx``.

    Raises:
        UserError: a missing package, files that are missing, damaged, or do not belong together; in calls, clips of
            another shape or type.
    """

    takes_pixels = True

    def __init__(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        need_packages(PACKAGES[-1:])
        import onnxruntime

        path = Path(path)
        check_file(path, "make an exported model with python -m st_reid.export")
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
        options.intra_op_num_threads = torch.get_num_threads()  # otherwise it uses every core
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
        (features,) = self._session.run([OUTPUT], {INPUT: clips.cpu().contiguous().numpy()})
        return torch.from_numpy(features)


def need_packages(packages: tuple[str, ...]) -> None:
    """Raise :class:`UserError` for a package that is not installed."""
    for name in packages:
        try:
            import_module(name)
        except ImportError:
            raise UserError(f"ONNX needs {name}: pip install st_reid[export]") from None


def _read_about(path: Path) -> dict[str, Any]:
    """Read a model's ``MODEL.json``."""
    hint = "it says what the model's input is: export the model again"
    about = read_json(path, dict[str, Any], hint)
    of_type(about, Sidecar, path, hint)
    return about
