"""Several models on several datasets: every pair is evaluated once, and one table shows them all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypedDict

from st_reid.drawing.markdown import markdown_table
from st_reid.errors import UserError
from st_reid.evaluation.evaluate import evaluate
from st_reid.evaluation.report import Figures, Report, say_interval, shares
from st_reid.features.parts import stamp
from st_reid.files import only_writer, write_json, write_text
from st_reid.reading import read_json

logger = logging.getLogger(__name__)
HINT = "expected what an evaluation wrote; remove it, or pass another --output"
MAY_CHANGE = ("device", "compute")
"""Options with which a table may be completed that has begun with others."""
COLUMNS = ("model", "dataset", "protocol", "valid queries", "rank-1", "rank-5", "rank-10", "mAP", "mINP", "mAP, 95 %")


class Cell(TypedDict):
    """A model on a dataset."""

    model: str
    dataset: str
    folder: str
    protocol: str
    appearance: Figures


class AcrossReport(TypedDict):
    """``across.json``."""

    models: dict[str, list[Any]]
    datasets: dict[str, list[str]]
    settings: dict[str, Any]
    cells: list[Cell]


@dataclass(frozen=True)
class Source:
    """A dataset of the table: its registered name, and the folder that holds it."""

    name: str
    root: str | None

    @property
    def label(self) -> str:
        """What the table calls it."""
        return (
            f"{self.name}-{Path(self.root).name}" if self.name in ("manifest", "folders") and self.root else self.name
        )


@only_writer
def across(
    *, weights: Sequence[str], sources: Sequence[str], output: str, root: str | None = None, **options: Any
) -> Path:
    """Evaluate every model on every dataset, write the table, and return its folder. What is there is not done again.

    The arguments are the options of ``python -m st_reid.across``; ``options`` are those of
    :func:`~st_reid.evaluation.evaluate.evaluate`, which holds for every pair.

    Raises:
        UserError: nothing to evaluate, two models or datasets of one name, a folder with another table, several
            processes; and what an evaluation raises: what is done until then stays.
    """
    if "RANK" in os.environ:
        raise UserError("across runs as one process; start it without torchrun")
    models = _named([(_model_name(Path(file)), file) for file in weights], "weights")
    datasets = _named([(source.label, source) for source in _read_sources(sources, root)], "sources")
    folder = Path(output)
    report = _completed(
        folder,
        {
            "models": {name: list(stamp(Path(file))) for name, file in models.items()},
            "datasets": {label: [source.name, str(source.root)] for label, source in datasets.items()},
            "settings": {name: _plain(value) for name, value in options.items() if name not in MAY_CHANGE},
            "cells": [],
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(report, folder / "across.json")
    for model_name, file in models.items():
        for label, source in datasets.items():
            cell = folder / f"{model_name}__{label}"
            if (cell / "report.json").is_file():
                logger.info(f"{model_name} on {label}: there already")
                continue
            logger.info(f"{model_name} on {label}")
            evaluate(weights=file, sources=source.name, root=source.root, output=str(cell), **options)
    return _finish(report, folder)


def _plain(settings: Any) -> Any:
    """Return settings as JSON has them, without the number of workers, which changes nothing."""
    plain = asdict(settings) if is_dataclass(settings) else settings  # type: ignore[arg-type]
    return {name: value for name, value in plain.items() if name != "workers"} if isinstance(plain, dict) else plain


def _model_name(file: Path) -> str:
    """Return what the table calls a model: the folder of its run, or the file's own name."""
    return file.parent.parent.name if file.parent.name == "checkpoints" else file.stem


def _read_sources(sources: Sequence[str], root: str | None) -> list[Source]:
    """Return the datasets that are given as ``NAME`` or ``NAME=FOLDER``."""
    parts = [source.partition("=") for source in sources]
    return [Source(name, own if equals else root) for name, equals, own in parts]


def _named(pairs: Sequence[tuple[str, Any]], what: str) -> dict[str, Any]:
    """Return what is asked for by its name.

    Raises:
        UserError: nothing, or one name twice.
    """
    if not pairs:
        raise UserError(f"no {what}; pass one or more")
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"two of the {what} are called {name}, and the table could not tell them apart; rename one")
        found[name] = value
    return found


def _completed(folder: Path, report: AcrossReport) -> AcrossReport:
    """Return the report with the models and datasets that the table in ``folder`` has already.

    Raises:
        UserError: they are of the same name and not the same, or the settings differ, or the folder holds no table.
    """
    file = folder / "across.json"
    if not file.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} exists and holds no table; pass another --output")
        return report
    before, now = read_json(file, AcrossReport, HINT), json.loads(json.dumps(report))
    changed = [name for name, value in now["settings"].items() if before["settings"].get(name) != value]
    for kind in ("models", "datasets"):
        changed += [name for name in now[kind] if name in before[kind] and now[kind][name] != before[kind][name]]
    if changed:
        raise UserError(f"{folder} holds a table with another {', '.join(changed)}; pass another --output")
    return now | {kind: before[kind] | now[kind] for kind in ("models", "datasets")}


def _cells(report: AcrossReport, folder: Path) -> list[Cell]:
    """Return the pairs that are done, with a cell for every protocol."""
    cells: list[Cell] = []
    for model, dataset in product(report["models"], report["datasets"]):
        file = folder / f"{model}__{dataset}" / "report.json"
        if not file.is_file():
            continue
        content = read_json(file, Report, HINT)
        figures = {content["protocol"]["name"]: content["appearance"]} | content.get("also", {})
        cells += [
            Cell(model=model, dataset=dataset, folder=file.parent.name, protocol=protocol, appearance=row)
            for protocol, row in figures.items()
        ]
    return cells


def _finish(report: AcrossReport, folder: Path) -> Path:
    report["cells"] = _cells(report, folder)
    text = "\n".join(markdown_table(columns, rows) for columns, rows in tables(report))
    write_text(text, folder / "table.md")
    write_json(report, folder / "across.json")
    for line in text.splitlines():
        logger.info(line)
    logger.info(f"table: {folder / 'table.md'}; as one page: python -m st_reid.report {folder}")
    return folder


def tables(report: AcrossReport) -> list[tuple[list[str], list[list[Any]]]]:
    """Return columns and rows of two tables: models by datasets, mAP / rank-1 in percent, and all figures."""
    columns = list(dict.fromkeys((cell["dataset"], cell["protocol"]) for cell in report["cells"]))
    by_place = {(c["model"], c["dataset"], c["protocol"]): c["appearance"] for c in report["cells"]}
    heads = [dataset if protocol == "standard" else f"{dataset}, {protocol}" for dataset, protocol in columns]
    rows: list[list[Any]] = []
    for model in dict.fromkeys(cell["model"] for cell in report["cells"]):
        found = [by_place.get((model, *column)) for column in columns]
        rows.append([model, *(f"{100 * f['mAP']:.1f} / {100 * f['rank1']:.1f}" if f else "" for f in found)])
    details = []
    for cell in report["cells"]:
        row = cell["appearance"]
        between = say_interval(row["interval95"]["mAP"]).removeprefix("95% interval ")
        who = [cell["model"], cell["dataset"], cell["protocol"], row["num_valid"]]
        details.append([*who, *(f"{share:.1%}" for share in shares(row)), between])
    return [(["mAP / rank-1", *heads], rows), (list(COLUMNS), details)]
