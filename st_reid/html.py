"""A run, a search, a calibration or a check as one self-contained HTML page."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from st_reid.errors import UserError
from st_reid.files import check_output, write_text

TITLES = {
    "contact_sheet": "Contact sheet",
    "cmc": "CMC curves",
    "training": "Training",
    "transit_times": "Transit times",
    "changed_by_joint": "What where and when changed",
    "calibration": "Similarities and ROC",
    "check": "Lengths, cameras, sizes",
}


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: above it.
        columns: their names.
        rows: texts or numbers.
        note: below the title.
        filter: whether to offer a field that filters its rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    filter: bool = False


@dataclass(frozen=True)
class Page:
    """What a page says; pictures and configuration come from the folder."""

    title: str
    summary: str
    tables: Sequence[Table] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def write_page(folder: Path, output: Path | None = None) -> Path:
    """Write ``folder/report.html``, or ``output``, from what a command left in ``folder``.

    Raises:
        UserError: the folder is of no command of this package, a file in it cannot be read, or ``output`` exists.
    """
    from jinja2 import Environment

    if output is None:
        output = folder / "report.html"
    elif output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output.parent)
    for name, read in READERS.items():
        if (folder / name).is_file() and (page := read(_json(folder / name))) is not None:
            break
    else:
        raise UserError(
            f"{folder} has none of {', '.join(READERS)}; pass the folder of a run, search, calibration or check"
        )
    details = dict(page.details)
    if (folder / "config.yaml").is_file():
        details["Configuration"] = (folder / "config.yaml").read_text(encoding="utf-8")
    paths = sorted([*folder.glob("*.png"), *folder.glob("plots/*.png")], key=_place)
    pictures = [
        {
            "title": TITLES.get(path.stem, path.stem.replace("_", " ")),
            "data": base64.b64encode(path.read_bytes()).decode(),
        }
        for path in paths
    ]
    template = (files("st_reid") / "templates" / "report.html").read_text(encoding="utf-8")
    html = (
        Environment(autoescape=True)
        .from_string(template)
        .render(title=page.title, summary=page.summary, tables=page.tables, pictures=pictures, details=details)
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(html, output)
    return output


def _place(path: Path) -> tuple[int, str]:
    order = list(TITLES)
    return (order.index(path.stem) if path.stem in order else len(order), path.name)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); is it complete?") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected what a command of this package wrote")
    return content


def _run(content: dict[str, Any]) -> Page | None:
    if "appearance" not in content:
        return None
    keys = ("rank1", "rank5", "rank10", "mAP", "mINP")
    rows = []
    for name, row in content.items():
        if isinstance(row, dict) and "rank1" in row:
            low, high = row["interval95"]["mAP"]
            rows.append([name.replace("_", " "), *(f"{row[k]:.1%}" for k in keys), f"{low:.1%} to {high:.1%}"])
    figures = Table("Figures", ["ranking", "rank-1", "rank-5", "rank-10", "mAP", "mINP", "mAP, 95% interval"], rows)
    tables = [figures]
    if "joint" in content:
        over = content["joint"]["over_camera_mask"]
        bounds = over["interval95"]
        gains = [
            [what, f"{100 * over[k]:+.1f}", f"{100 * bounds[k][0]:+.1f} to {100 * bounds[k][1]:+.1f}"]
            for k, what in (("rank1", "rank-1"), ("mAP", "mAP"))
        ]
        tables.append(Table("What the joint metric adds to the camera mask", ["", "points", "95% interval"], gains))
    summary = (
        f"{content['num_query']} queries, {content['num_gallery']} gallery tracklets. "
        f"{content['protocol']['junk']}; {content['protocol']['ap']}; {content['protocol']['frames']}."
    )
    told = ("best", "epochs", "seed", "trained_on", "train_seconds", "eval_seconds")
    rows = [[key.replace("_", " "), content[key]] for key in told if key in content]
    tables.append(Table("The run", ["", ""], rows))
    details = {"Environment": json.dumps(content.get("environment", {}), indent=2)}
    return Page(f"{content['arch']} on {content['dataset']}", summary, tables, details)


def _search(content: dict[str, Any]) -> Page | None:
    if "queries" not in content:
        return None
    rows = []
    for result in content["queries"]:
        for row in result["found"]:
            who = [row["camera"], "" if row["time"] is None else f"{row['time']:g}", row["person"]]
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


def _calibration(content: dict[str, Any]) -> Page | None:
    if "open_set" not in content:
        return None
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
    queries = {"found": "theirs is first", "wrong": "somebody else is", "missed": "nobody is called the same"}
    open_rows = [[text, f"{content['open_set'][key]:.1%}"] for key, text in queries.items()]
    open_rows.append(["not there, and somebody is called them", f"{content['open_set']['false_alarms']:.1%}"])
    tables = [
        Table("Thresholds", ["", "similarity", "95% interval"], thresholds),
        Table("True accepts at false accepts", ["FAR", "TAR", "threshold"], rates),
        Table("Open set", [f"{content['open_set']['queries']} queries", "share"], open_rows),
    ]
    counts = f"{about['pairs_of_one_person']} pairs of one person and {about['pairs_of_two']} of two"
    summary = f"{counts}, of {about['features']}."
    return Page("Calibration", summary, tables, {"Calibration": json.dumps(content, indent=2)})


def _check(content: dict[str, Any]) -> Page | None:
    if "splits" not in content:
        return None
    rows = []
    for split, row in {**content["splits"], "together": content["together"]}.items():
        length = row["frames_a_tracklet"]
        rows.append(
            [split, row["tracklets"], row["persons"], len(row["cameras"]), row["frames"],
             f"{length['least']} / {length['median']:g} / {length['most']}"]
        )  # fmt: skip
    columns = ["split", "tracklets", "persons", "cameras", "frames", "frames a tracklet: least / median / most"]
    wrong = [
        [name, row["count"], ", ".join(row["for_example"])]
        for name, row in (content["images"] or {}).items()
        if isinstance(row, dict)
    ]
    tables = [Table("Splits", columns, rows), Table("Images", ["", "count", "for example"], wrong)]
    failures = "; ".join(content["failures"]) or "Nothing that would fail."
    return Page(f"Check of {content['dataset']}", failures, tables, {"All": json.dumps(content, indent=2)})


READERS: dict[str, Callable[[dict[str, Any]], Page | None]] = {
    "search.json": _search,
    "check.json": _check,
    "report.json": lambda content: _run(content) or _calibration(content),
}
"""By the file that a command leaves."""
