"""``python -m st_reid.export``: a model for programs that have ONNX or torch.export, but not this package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from st_reid import cli
from st_reid.config import Count, Opset, PositiveInt, ReadConfig, Seed, Text, WeightsConfig

NAME = "python -m st_reid.export"


@dataclass(kw_only=True)
class ExportConfig(WeightsConfig):
    """Export a model to ONNX or torch.export, from pixels to features, and check the result against PyTorch.

    Attributes:
        output: MODEL.onnx, or MODEL.pt2 for torch.export; MODEL.json beside it says how its input is made.
        seq_len: frames in a clip; null for what the checkpoint was trained with, or 8; or 1, as in evaluation, if the
            model does not use time and the sampler is all.
        format: auto for what the output's suffix says; torchreid writes a frame-level model's weights to MODEL.pth,
            under the names that torchreid, and what is built on it, expect.
        sampler: which clips of a tracklet are to be averaged, for MODEL.json; all for every frame.
        opset: of ONNX; null for the newest that is exported and that the onnxruntime here runs.
        sources: a dataset to check the export on too; null for random clips alone.
        root: the folder that holds the dataset's folder, or that folder itself.
        clips: number of clips of the dataset, each of another tracklet.
        batch: clips in a batch: of the random one, which is timed, and of the dataset's.
        runs: number of timed calls; the latency is their median.
        seed: of the random clips, and of samplers that draw.
        data: how images are resized, and how the dataset is read.
    """

    output: Text
    format: Literal["auto", "torchreid"] = "auto"
    sampler: Text = "all"
    opset: Opset | None = None
    sources: Text | None = None
    root: Text | None = None
    clips: Count = 16
    batch: Count = 4
    runs: PositiveInt = 5
    seed: Seed = 0
    data: ReadConfig = field(default_factory=ReadConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(ExportConfig, argv, NAME)
    from st_reid.models.exporting import export, export_weights

    settings = dict(vars(config))
    if settings.pop("format") == "torchreid":
        export_weights(config.weights, config.output, config.arch, config.options)
    else:
        export(**settings)


if __name__ == "__main__":
    cli.run(main, NAME)
