"""``python -m st_reid.across``: one model on several datasets, or several models, as one table."""

from __future__ import annotations

from dataclasses import dataclass, field

from st_reid import cli
from st_reid.config import ComputeConfig, DeviceConfig, EvalConfig, ReadConfig, Seed, WeightsConfig

NAME = "python -m st_reid.across"


@dataclass(kw_only=True)
class AcrossConfig(WeightsConfig, DeviceConfig):
    """Evaluate every model on the query and gallery of every dataset, and write one table. What is done stays done.

    Attributes:
        weights: checkpoints, as evaluate takes them, one or more.
        sources: the datasets' names; NAME=FOLDER for one that is not below root, such as manifest=data/street.
        root: the folder that holds the datasets' folders.
        output: the folder of the table, with a folder for every pair; one with the same table is completed.
        seed: of random samplers.
        data: how the datasets are read.
        eval: how features are extracted and ranked.
        compute: how the models run.
    """

    weights: list[str]  # type: ignore[assignment]
    sources: list[str]
    output: str
    root: str | None = None
    seed: Seed = 0
    data: ReadConfig = field(default_factory=ReadConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(AcrossConfig, argv, NAME)
    from st_reid.evaluation.across import across

    across(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
