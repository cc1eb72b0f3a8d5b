"""Several models trained alike, and what each gains over the first: paired by split, seed and query."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from st_reid import cli
from st_reid.config import TrainConfig
from st_reid.data.clips import FRAMES
from st_reid.drawing.comparison import gains_over_budget, gains_over_cost
from st_reid.drawing.markdown import markdown_table
from st_reid.errors import UserError
from st_reid.evaluation.report import Report
from st_reid.features.extraction import extract_features
from st_reid.files import check_output, only_writer, write_json, write_text
from st_reid.models.factory import check_model
from st_reid.models.loading import load_for_evaluation
from st_reid.reading import read_json
from st_reid.retrieval.bootstrap import person_mean_interval, person_means
from st_reid.runtime.compute import Compute
from st_reid.runtime.environment import environment
from st_reid.training.cost import cost_of
from st_reid.training.run import train
from st_reid.training.run_folder import BEST, LAST, check_same_run
from st_reid.training.splits import read_splits

logger = logging.getLogger(__name__)
NAME = "python -m st_reid.compare"
QUERIES = "queries.json"
HINT = "expected what a comparison wrote; remove it, or pass another --output"
Queries = dict[str, list[Any]]
"""Of each valid query: ``person``, ``ap`` and ``hit``, whether the nearest is a match."""


class RunResult(TypedDict):
    """``queries.json`` in the folder of a run: its queries by what was seen of tracklets, and what it costs."""

    frames: dict[str, Queries]
    cost: dict[str, float]


@dataclass(frozen=True)
class Planned:
    """A run of the comparison."""

    model: str
    epochs: int
    pair: str  # split and seed: what is compared is equal in both
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(str(self.config.output))


@only_writer
def compare(
    *,
    models: Sequence[str],
    output: str,
    recipe: str | None = None,
    train: Mapping[str, Any] | None = None,
    sources: str | None = None,
    root: str | None = None,
    splits: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    epochs: Sequence[int] | None = None,
) -> Path:
    """Train what is missing, evaluate it in four ways, write one table, and return its folder.

    The arguments are the options of ``python -m st_reid.compare``. Stopped and called again, it goes on.

    Raises:
        UserError: no or equal models, several processes, finished runs of other settings; and what training raises.
    """
    if "RANK" in os.environ:
        raise UserError("compare runs as one process; start it without torchrun")
    for what, values in {"models": models, "seeds": seeds, "splits": splits or [0], "epochs": epochs or [0]}.items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"{what} are {list(values)}; expected one or more, each once")
    folder = Path(output)
    check_output(folder)
    given = {**(train or {}), **({} if sources is None else {"sources": sources})}
    given |= {} if root is None else {"root": root}
    planned = []
    budgets: Sequence[int | None] = epochs or [None]
    parts: Sequence[int | None] = splits or [None]
    for model, budget, split, seed in product(models, budgets, parts, seeds):
        planned.append(_plan(folder, recipe, given, model, budget, split, seed))
        check_model(model, planned[-1].config.model.options)
    for plan in planned:  # before the first is trained
        _check_finished(plan)
    for plan in planned:
        _run(plan)
    return _finish(planned, models, folder)


def _plan(
    folder: Path,
    recipe: str | None,
    given: Mapping[str, Any],
    model: str,
    epochs: int | None,
    split: int | None,
    seed: int,
) -> Planned:
    settings = {**given, "arch": model, "seed": seed}
    if epochs is not None:
        settings["epochs"] = epochs
    argv = ["--config", recipe] if recipe is not None else []
    argv += [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings.items()]
    config = cli.parse(TrainConfig, argv, NAME)
    if split is not None:
        config.data.options = {**config.data.options, "split": split}
    pair = f"seed{seed}" if split is None else f"split{split}-seed{seed}"
    config.output = str(folder / f"{model}-epochs{config.epochs}-{pair}")
    config.baselines = False  # the comparison has its own
    return Planned(model, config.epochs, pair, config)


def _check_finished(plan: Planned) -> None:
    file = plan.folder / "config.yaml"
    if file.is_file():
        check_same_run(asdict(cli.parse(TrainConfig, ["--config", str(file)], NAME)), plan.config)


def _run(plan: Planned) -> None:
    if (plan.folder / QUERIES).is_file():
        logger.info(f"{plan.folder}: there already")
        return
    if not (plan.folder / "report.json").is_file():
        logger.info(f"{plan.folder}")
        begun = (plan.folder / "checkpoints" / LAST).is_file()
        train(replace(plan.config, resume=str(plan.folder) if begun else None))
    write_json(_evaluate(plan), plan.folder / QUERIES)


def _evaluate(plan: Planned) -> RunResult:
    """Evaluate the best checkpoint of a run by appearance, in all the ways of ``--eval.frames``."""
    config = plan.config
    compute = Compute.choose(config.device, config.precision, config.compute)
    chosen: dict[str, Any] = {"sampler": config.eval.sampler, "batch": config.eval.batch, "seed": config.seed}
    loaded = load_for_evaluation(str(plan.folder / "checkpoints" / BEST), **chosen)
    splits = read_splits(config, compute.world)
    pairs = splits.test
    model = compute.place(loaded.model)
    frames = {}
    for way in FRAMES:
        spec = replace(loaded.spec, frames=way)
        result = pairs.rank_features(extract_features(model, splits.tested.test, spec, config.data, compute, way))
        persons = pairs.query.person[result.valid].tolist()
        hits = (result.first_rank == 1).astype(int).tolist()
        frames[way] = Queries(person=persons, ap=result.ap.tolist(), hit=hits)
    report = read_json(plan.folder / "report.json", Report, HINT)
    cost = {**cost_of(model, loaded.spec, compute), "train_seconds": report["train_seconds"]}
    return {"frames": frames, "cost": cost}


def _finish(planned: Sequence[Planned], models: Sequence[str], folder: Path) -> Path:
    results = {(p.epochs, p.model, p.pair): read_json(p.folder / QUERIES, RunResult, HINT) for p in planned}
    rows = rows_of(results, models)
    write_json({"models": list(models), "rows": rows, "environment": environment()}, folder / "comparison.json")
    text = table(rows)
    write_text(text, folder / "table.md")
    gains_over_cost(rows, folder / "gain_over_cost.png")
    gains_over_budget(rows, folder / "gain_over_budget.png")
    for line in text.splitlines():
        logger.info(line)
    logger.info(f"table: {folder / 'table.md'}")
    return folder


def rows_of(results: Mapping[tuple[int, str, str], RunResult], models: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for every budget and model.

    Args:
        results: by epochs, model, and what is equal in a pair.
        models: the first is the one that the others are compared with.
    """
    rows = []
    for epochs in sorted({key[0] for key in results}):
        runs = {m: [r for (e, name, _), r in sorted(results.items()) if (e, name) == (epochs, m)] for m in models}
        base = runs[models[0]]
        for model, own in runs.items():
            ways = {}
            for way in FRAMES:
                figures = {key: _mean(own, way, key) for key in ("ap", "hit")}
                ways[way] = figures | {"gain": None if own is base else gain(own, base, way, way)}
            cost = {name: float(np.median([run["cost"][name] for run in own])) for name in own[0]["cost"]}
            order = gain(own, own, "ordered", "shuffled")
            rows.append({"model": model, "epochs": epochs, "runs": len(own), "frames": ways, "order": order} | cost)
    return rows


def _mean(runs: Sequence[RunResult], way: str, key: str) -> float:
    return float(np.mean([np.mean(run["frames"][way][key]) for run in runs]))


def gain(
    better: Sequence[RunResult], base: Sequence[RunResult], way: str, base_way: str, key: str = "ap"
) -> dict[str, Any]:
    """Return the gain in AP: the mean over persons of a person's mean difference, over queries, splits and seeds.

    Args:
        better: runs.
        base: as many runs, each of the same split and seed as that of ``better``.
        way: what ``better`` sees of tracklets.
        base_way: what ``base`` sees.
        key: ``ap``, or ``hit`` for rank-1.

    Returns:
        ``mean``, and ``interval95`` by bootstrap over persons.

    Raises:
        UserError: runs that are not of the same queries.
    """
    differences: list[NDArray[np.float64]] = []
    persons: list[str] = []
    for one, other in zip(better, base, strict=True):
        a, b = one["frames"][way], other["frames"][base_way]
        if a["person"] != b["person"]:
            raise UserError("two runs of a pair are of other queries; the dataset has changed: pass another --output")
        differences.append(np.subtract(a[key], b[key]))
        persons += a["person"]
    values, names = np.concatenate(differences), np.array(persons)
    return {"mean": float(person_means(values, names).mean()), "interval95": person_mean_interval(values, names)}


def _points(gained: Mapping[str, Any] | None) -> str:
    if gained is None:
        return ""
    bounds = gained["interval95"]
    between = "" if bounds is None else f" ({100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f})"
    return f"{100 * gained['mean']:+.1f}{between}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as Markdown: mAP and rank-1 in percent, gains in points of mAP with 95 % intervals."""
    head = ["model", "epochs", "runs", "mAP", "rank-1", "gain", "gain, shuffled", "gain, separate", "gain, one frame"]
    head += ["ordered - shuffled", "M parameters", "GFLOPs a clip", "frames/s", "training"]
    lines = []
    for row in rows:
        ways = row["frames"]
        cells = [row["model"], row["epochs"], row["runs"]]
        cells += [f"{100 * ways['ordered'][key]:.1f}" for key in ("ap", "hit")]
        cells += [_points(ways[way]["gain"]) for way in FRAMES] + [_points(row["order"])]
        cells += [f"{row['parameters'] / 1e6:.2f}", f"{row['flops'] / 1e9:.3f}", f"{row['frames_per_second']:.0f}"]
        lines.append([*cells, f"{row['train_seconds']:.0f} s"])
    return markdown_table(head, lines)
