"""Which model is better? Trains configurations on a dataset with several seeds and splits, and writes one table.

    python -m benchmarks.accuracy configs/comparison/*.yaml --root /data --splits 0 1 2 --output runs/ilids
    python -m benchmarks.accuracy configs/comparison/*.yaml --sources walkers --seeds 0 1 --output runs/walkers \
        -- --epochs 10 --height 64 --width 32

What follows ``--`` goes to every run of ``python -m st_reid.train``. A run that is finished is not done again, whatever
it was trained with, which ``accuracy.json`` says: so a table can be completed later. Written are ``accuracy.json``,
``accuracy.md`` and ``accuracy.png``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from benchmarks.machine import ScriptParser, environment, in_range, run_script, settings_of, write
from st_reid.config import NonNegativeInt, Seed

KEYS = ("mAP", "rank1", "mINP")
RANKINGS = ("appearance", "camera_mask", "joint")
REPORTED = {
    "osnet_x1_0_softmax": (0.7328, 0.6267),
    "osnet_x1_0_triplet": (0.727, 0.6333),
    "resnet50mid_softmax": (0.7596, 0.6467),
    "resnet50mid_triplet": (0.778, 0.68),
    "hacnn_softmax": (0.5718, 0.46),
    "pcb_p4_softmax": (0.7329, 0.6333),
    "resnet101_softmax": (0.6675, 0.5533),
}
"""mAP and rank-1 that the comparison which this project started from reported on iLIDS-VID."""


def train(config: Path, folder: Path, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Train one configuration into ``folder`` unless it is there, and return its report; ``None`` if it failed."""
    if not (folder / "report.json").exists():
        command = [sys.executable, "-m", "st_reid.train", "--config", str(config), "--output", str(folder), *arguments]
        if (folder / "checkpoints" / "last.pth").exists():
            command += ["--resume", str(folder)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_suffix(".log"), "w", encoding="utf-8") as log:
            if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
                print(f"{folder}: failed, see {log.name}", flush=True)
                return None
    return json.loads((folder / "report.json").read_text())


def summarise(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of every figure of every ranking over runs, their input, and seconds of training."""
    rows: dict[str, Any] = {}
    for ranking in RANKINGS:
        runs = [report[ranking] for report in reports if ranking in report]
        if runs:
            values = {key: [run[key] for run in runs] for key in KEYS}
            rows[ranking] = {
                key: {"mean": float(np.mean(v)), "deviation": float(np.std(v, ddof=1)) if len(v) > 1 else None}
                for key, v in values.items()
            }
    seconds = [report["train_seconds"] for report in reports]
    frames = " / ".join(dict.fromkeys(report["protocol"]["frames"].partition(",")[0] for report in reports))
    return {"runs": len(reports), "input": frames, "train_seconds": float(np.mean(seconds)), "rankings": rows}


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown, best mAP by appearance first, the reported figures beside them."""
    lines = [
        "| configuration | ranking | mAP | rank-1 | mINP | runs | input | training "
        "| reported on iLIDS-VID, mAP / rank-1 |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, row in sorted(results.items(), key=lambda item: -item[1]["rankings"]["appearance"]["mAP"]["mean"]):
        for ranking, figures in row["rankings"].items():
            first = ranking == "appearance"
            cells = [name if first else "", ranking, *(_cell(figures[key]) for key in KEYS)]
            cells += [str(row["runs"]), row["input"], f"{row['train_seconds']:.0f} s"] if first else ["", "", ""]
            told = REPORTED.get(name) if first else None
            cells.append(f"{told[0]:.1%} / {told[1]:.1%}" if told else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(figure: dict[str, float | None]) -> str:
    deviation = "" if figure["deviation"] is None else f" ± {100 * figure['deviation']:.1f}"
    return f"{100 * figure['mean']:.1f}{deviation}"


def draw(results: dict[str, Any], title: str, path: Path) -> None:
    """Draw mAP of every configuration, the best on top."""
    rows = sorted(
        (
            (name, ranking, figures["mAP"])
            for name, row in results.items()
            for ranking, figures in row["rankings"].items()
            if ranking != "camera_mask"
        ),
        key=lambda row: row[2]["mean"],
    )
    figure = Figure(figsize=(7, 0.8 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        [f"{name}, joint" if ranking == "joint" else name for name, ranking, _ in rows],
        [100 * figures["mean"] for *_, figures in rows],
        xerr=[100 * (figures["deviation"] or 0) for *_, figures in rows],
        color=["tab:orange" if ranking == "joint" else "tab:blue" for _, ranking, _ in rows],
    )
    axes.set(title=title, xlabel="mAP in percent; bars: deviation over runs", xlim=(0, 100))
    figure.savefig(path, dpi=110)


def main() -> None:
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, extra = sys.argv[1:cut], sys.argv[cut + 1 :]
    parser = ScriptParser(__doc__)
    parser.add_argument("configs", nargs="+", type=Path, help="YAML files of configs/")
    parser.add_argument("--sources", help="the dataset; by default the one that the configuration names")
    parser.add_argument("--root", help="the folder that holds it")
    parser.add_argument("--seeds", nargs="+", type=in_range(Seed), default=[0], help="of the runs")
    parser.add_argument("--splits", nargs="+", type=in_range(NonNegativeInt), help="of a dataset that has several")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs and the table")
    args = parser.parse_args(own)

    machine = environment("accuracy")
    results, failed = {}, []
    for config in args.configs:
        reports, runs = [], []
        for seed in args.seeds:
            for split in args.splits or [None]:
                arguments = ["--seed", str(seed), *extra]
                arguments += ["--sources", args.sources] if args.sources else []
                arguments += ["--root", args.root] if args.root else []
                arguments += ["--data.options", json.dumps({"split": split})] if split is not None else []
                name = f"{config.stem}-seed{seed}" + ("" if split is None else f"-split{split}")
                report = train(config, args.output / name, arguments)
                if report is None:
                    failed.append(name)
                    continue
                reports.append(report)
                runs.append({"folder": name, "config": settings_of(args.output / name)})
                print(f"{name}: mAP {report['appearance']['mAP']:.1%}, {report['train_seconds']:.0f} s", flush=True)
        if reports:
            results[config.stem] = summarise(reports) | {"of": runs}
    if not results:
        sys.exit(1)
    dataset = args.sources or yaml.safe_load(args.configs[0].read_text()).get("sources", "walkers")
    args.output.mkdir(parents=True, exist_ok=True)
    content = {"environment": machine, "dataset": dataset, "train_arguments": extra, "failed": failed}
    write(args.output / "accuracy.json", {**content, "results": results})
    (args.output / "accuracy.md").write_text(table(results), encoding="utf-8")
    draw(results, f"{dataset}: {len(args.seeds) * len(args.splits or [0])} runs each", args.output / "accuracy.png")
    print(table(results), end="")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    run_script(main)
