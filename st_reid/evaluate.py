"""``python -m st_reid.evaluate``: the figures of a checkpoint, or of extracted features."""

from __future__ import annotations

from dataclasses import dataclass, field

from st_reid import cli
from st_reid.config import ComputeConfig, DeviceConfig, EvalConfig, ReadConfig, Seed, Text, WeightsConfig

NAME = "python -m st_reid.evaluate"


@dataclass(kw_only=True)
class EvaluateConfig(WeightsConfig, DeviceConfig):
    """Evaluate a checkpoint on a dataset's query and gallery, or features that were extracted before.

    Attributes:
        features: a file of extract, instead of weights and a dataset; transit times are fitted on its train split.
        sources: the dataset's name.
        root: the folder that holds the dataset's folder, or that folder itself; walkers needs none.
        output: the folder for report.json and pictures; null for runs/evaluate-ARCH-SOURCES.
        seed: of random samplers.
        baselines: also measure a colour histogram, and the model with one frame of each tracklet and with shuffled
            frames.
        data: how the dataset is read.
        eval: how features are extracted and ranked.
        compute: how the model runs.
    """

    weights: Text | None = None  # type: ignore[assignment]
    features: Text | None = None
    sources: Text = "walkers"
    root: Text | None = None
    output: Text | None = None
    seed: Seed = 0
    baselines: bool = False
    data: ReadConfig = field(default_factory=ReadConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(EvaluateConfig, argv, NAME)
    from st_reid.evaluation.evaluate import evaluate

    evaluate(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
