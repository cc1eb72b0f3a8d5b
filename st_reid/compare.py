"""``python -m st_reid.compare``: train several models alike, and tell what each gains over the first, and by what."""

from __future__ import annotations

from dataclasses import dataclass, field

from st_reid import cli
from st_reid.config import NonNegativeInt, Options, PositiveInt, Seed

NAME = "python -m st_reid.compare"


@dataclass(kw_only=True)
class CompareConfig:
    """Train models with the same recipe, and compare them. What is done stays done; call it again to go on.

    Attributes:
        models: their names; the others are compared with the first, such as mean_resnet18.
        output: the folder of the table, with the folder of a run for every model, budget, split and seed.
        recipe: a YAML file of settings of train, or the name of an included recipe; null for the dataset's defaults.
        train: more settings of train by their dotted names, such as {seq_len: 4, optim.lr: 0.001}.
        sources: the dataset's name; null for that of the recipe.
        root: the folder that holds the dataset's folder, or that folder itself.
        splits: of the dataset, for one that has several; null for none.
        seeds: of the runs.
        epochs: the budgets, one or more; null for that of the recipe.
    """

    models: list[str]
    output: str
    recipe: str | None = None
    train: Options = field(default_factory=dict)
    sources: str | None = None
    root: str | None = None
    splits: list[NonNegativeInt] | None = None
    seeds: list[Seed] = field(default_factory=lambda: [0])
    epochs: list[PositiveInt] | None = None


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(CompareConfig, argv, NAME)
    from st_reid.training.comparison import compare

    compare(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
