"""Turns the results in a command's folder into one HTML page."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from st_reid.drawing.html import Page, Table, render
from st_reid.errors import UserError
from st_reid.evaluation.across import AcrossReport, tables
from st_reid.evaluation.check import WORDS, CheckReport
from st_reid.evaluation.report import Report, gains_in, rankings_in, say_interval, shares
from st_reid.features.calibrate import CalibrationReport
from st_reid.features.search import SearchReport
from st_reid.files import locked, write_text
from st_reid.reading import of_type, read_json, read_text

logger = logging.getLogger(__name__)
TITLES = {
    "contact_sheet": "Contact sheet",
    "cmc": "CMC curves",
    "training": "Training",
    "transit_times": "Transit times",
    "changed_by_joint": "What where and when changed",
    "calibration": "Similarities and ROC",
    "check": "Lengths, cameras, sizes",
}
PROTOCOL = ("junk", "ap", "frames")  # of a report's protocol, for the first lines
HINT = "expected what a command of this package wrote; is the file complete?"


def write_page(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write ``folder/report.html``, or ``output``, from the results of a command in ``folder``.

    Raises:
        UserError: not the folder of a command of this package, a file in it cannot be read, or ``output`` exists.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file; pass the folder of a run, search, calibration, check or table")
    file = folder / "report.html" if output is None else Path(output)
    with locked(file):
        if output is not None and file.exists():
            raise UserError(f"{file} exists; pass another --output")
        write_text(_render(folder), file)
    logger.info("page: %s", file)
    return file


def _render(folder: Path) -> str:
    page = _page_of(folder)
    if (folder / "config.yaml").is_file():
        page.details["Configuration"] = read_text(folder / "config.yaml")
    paths = sorted((p for p in (*folder.glob("*.png"), *folder.glob("plots/*.png")) if p.is_file()), key=_place)
    pictures = {TITLES.get(path.stem, path.stem.replace("_", " ")): path.read_bytes() for path in paths}
    return render(page, pictures)


def _place(path: Path) -> tuple[int, str]:
    order = list(TITLES)
    return (order.index(path.stem) if path.stem in order else len(order), path.name)


def _page_of(folder: Path) -> Page:
    for name, key, kind, read in READERS:
        path = folder / name
        if path.exists():
            content = read_json(path, dict[str, Any], HINT)
            if key in content:
                of_type(content, kind, path, HINT)
                return read(content)
    names = ", ".join(dict.fromkeys(name for name, *_ in READERS))
    raise UserError(f"{folder} has none of {names}; pass the folder of a run, search, calibration, check or table")


def _run(content: Report) -> Page:
    rows = []
    for name, row in rankings_in(content).items():
        between = say_interval(row["interval95"]["mAP"]).removeprefix("95% interval ")
        rows.append([name.replace("_", " "), row["num_valid"], *(f"{share:.1%}" for share in shares(row)), between])
    columns = ["ranking", "valid queries", "rank-1", "rank-5", "rank-10", "mAP", "mINP", "mAP, 95% interval"]
    figures = Table("Figures", columns, rows)
    tables = [figures]
    gains = [
        [gained, what, f"{100 * value:+.1f}", say_interval(bounds, "+.1f", 100).removeprefix("95% interval ")]
        for gained, over in gains_in(content).items()
        for what, value, bounds in (
            ("rank-1", over["rank1"], over["interval95"]["rank1"]),
            ("mAP", over["mAP"], over["interval95"]["mAP"]),
        )
    ]
    if gains:
        tables.append(Table("Gains", ["", "", "points", "95% interval"], gains))
    protocol = content["protocol"]
    summary = (
        f"{content['num_query']} queries, {content['num_gallery']} gallery tracklets. "
        f"Protocol {protocol.get('name', 'standard')}: "
        f"{'; '.join(protocol[key] for key in PROTOCOL if key in protocol)}."
    )
    told = ("best", "epochs", "seed", "trained_on", "train_seconds", "eval_seconds")
    about = [[key.replace("_", " "), value] for key, value in content.items() if key in told]
    tables.append(Table("The run", ["", ""], about))
    details = {"Environment": json.dumps(content.get("environment", {}), indent=2)}
    return Page(f"{content['arch']} on {content['dataset']}", summary, tables, details)


def _search(content: SearchReport) -> Page:
    rows = []
    for result in content["queries"]:
        for row in result["found"]:
            who = [row["camera"], "" if row["time"] is None else f"{row['time']:.15g}", row["person"]]
            rows.append(
                [
                    result["query"]["tracklet"],
                    row["rank"],
                    row["tracklet"],
                    *who,
                    f"{row['score']:.3f}",
                    row.get("decision", ""),
                ]
            )
    columns = ["query", "rank", "tracklet", "camera", "time", "person", "score", "decision"]
    summary = (
        f"{len(content['queries'])} queries in {content['searched']} of {content['tracklets']} tracklets of "
        f"{content['features']}, by {content['ranked_by']}, {content['through']}."
    )
    details = {"Model": json.dumps(content["model"], indent=2)}
    return Page("Search", summary, [Table("Found", columns, rows, filter=True)], details)


def _calibration(content: CalibrationReport) -> Page:
    about = content["about"]
    bounds = content["interval95"]
    thresholds = [
        ["same from", f"{content['same']:.3f}", "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"],
        ["unsure from", f"{content['unsure']:.3f}", ""],
    ]
    rates = [
        [
            rate,
            "too few pairs" if row is None else f"{row['tar']:.1%}",
            "" if row is None else f"{row['threshold']:.3f}",
        ]
        for rate, row in content["tar_at_far"].items()
    ]
    shares_of = content["open_set"]
    open_rows = [
        ["the right person is first", f"{shares_of['found']:.1%}"],
        ["another person is first", f"{shares_of['wrong']:.1%}"],
        ["no tracklet is called the same", f"{shares_of['missed']:.1%}"],
        ["false alarms: the person is not in the gallery", f"{shares_of['false_alarms']:.1%}"],
    ]
    tables = [
        Table("Thresholds", ["", "similarity", "95% interval"], thresholds),
        Table("True accepts at false accepts", ["FAR", "TAR", "threshold"], rates),
        Table("Open set", [f"{content['open_set']['queries']} queries", "share"], open_rows),
    ]
    counts = f"{about['pairs_of_one_person']} pairs of one person and {about['pairs_of_two']} of two"
    summary = f"{counts}, of {about['features']}."
    return Page("Calibration", summary, tables, {"Calibration": json.dumps(content, indent=2)})


def _check(content: CheckReport) -> Page:
    rows = []
    for split, row in {**content["splits"], "together": content["together"]}.items():
        length = row["frames_a_tracklet"]
        rows.append(
            [split, row["tracklets"], row["persons"], len(row["cameras"]), row["frames"],
             f"{length['least']} / {length['median']:g} / {length['most']}"]
        )  # fmt: skip
    columns = ["split", "tracklets", "persons", "cameras", "frames", "frames a tracklet: least / median / most"]
    wrong = [
        [WORDS.get(name, name), row["count"], ", ".join(row["for_example"])]
        for name, row in (content["images"] or {}).items()
        if isinstance(row, dict)
    ]
    persons = [
        [what, row["count"], ", ".join(row["for_example"])]
        for what, row in (
            ("seen by one camera only", content["together"]["persons_of_one_camera"]),
            ("in training and in test", content["in_training_and_test"]),
            ("pairs of tracklets of one person in two places at once", content.get("one_person_at_once")),
        )
        if row is not None
    ]
    shown = ["", "count", "for example"]
    tables = [Table("Splits", columns, rows), Table("Persons", shown, persons), Table("Images", shown, wrong)]
    failures = "; ".join(content["failures"]) or "Nothing that would fail."
    return Page(f"Check of {content['dataset']}", failures, tables, {"All": json.dumps(content, indent=2)})


def _across(content: AcrossReport) -> Page:
    titles = ("Models by datasets", "All figures")
    made = [Table(title, columns, rows) for title, (columns, rows) in zip(titles, tables(content), strict=True)]
    summary = f"{len(content['models'])} models on {len(content['datasets'])} datasets, ranked by appearance."
    return Page("Across datasets", summary, made, {"Settings": json.dumps(content["settings"], indent=2)})


READERS: tuple[tuple[str, str, type, Callable[[Any], Page]], ...] = (
    ("search.json", "queries", SearchReport, _search),
    ("check.json", "splits", CheckReport, _check),
    ("across.json", "cells", AcrossReport, _across),
    ("report.json", "appearance", Report, _run),
    ("report.json", "open_set", CalibrationReport, _calibration),
)
"""The file that a command writes, a key in it, what it holds, and the function that makes its page."""
