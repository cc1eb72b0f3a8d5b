"""What a run leaves to be read: report.json, and the lines that say the same."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from st_reid import plots
from st_reid.baselines import color_histogram
from st_reid.compute import Compute
from st_reid.config import ReadConfig
from st_reid.data.frames import FrameReader
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.data.transforms import resize_clip
from st_reid.engine import ClipReader
from st_reid.evaluation import Evaluation, Retrieval
from st_reid.files import write_text
from st_reid.retrieval import RankingResult

logger = logging.getLogger(__name__)
RANKS = (1, 5, 10)


def figures(result: RankingResult) -> dict[str, Any]:
    """Return a ranking's figures, 0 to 1, with the 95 % bootstrap intervals of ``rank1`` and ``mAP``."""
    return {
        **{f"rank{k}": round(float(result.cmc[k - 1]), 6) for k in RANKS},
        "mAP": round(result.mAP, 6),
        "mINP": round(result.mINP, 6),
        "num_valid": result.num_valid,
        "interval95": {k: [round(v, 4) for v in bounds] for k, bounds in result.interval().items()},
    }


def gain(results: Mapping[str, RankingResult]) -> dict[str, Any]:
    """Return by how much ``joint`` is above ``camera_mask``, with a 95 % bootstrap interval over queries."""
    joint, mask = results["joint"], results["camera_mask"]
    rng = np.random.default_rng(0)
    draws = rng.integers(joint.num_valid, size=(1000, joint.num_valid))
    differences = {"rank1": (joint.first_rank == 1) * 1.0 - (mask.first_rank == 1), "mAP": joint.ap - mask.ap}
    return {
        **{key: round(float(values.sum() / joint.divisor), 6) for key, values in differences.items()},
        "interval95": {
            key: [round(float(v), 4) for v in np.percentile(values[draws].sum(axis=1) / joint.divisor, [2.5, 97.5])]
            for key, values in differences.items()
        },
    }


def lines(name: str, row: Mapping[str, Any]) -> list[str]:
    """Return a ranking's figures as torchreid prints them."""
    ranks = [f"Rank-{k:<3}: {row[f'rank{k}']:.1%}" for k in RANKS]
    low, high = row["interval95"]["mAP"]
    return [f"** {name} **", f"mAP: {row['mAP']:.1%}  (95% interval {low:.1%} to {high:.1%})", *ranks]


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table with a line a ranking."""
    width = max(len(name) for name in rows)
    head = f"{'':{width}}  " + "  ".join(f"{name:>7}" for name in ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP"))
    return [
        head,
        *(
            f"{name:{width}}  " + "  ".join(f"{row[k]:7.1%}" for k in ("rank1", "rank5", "rank10", "mAP", "mINP"))
            for name, row in rows.items()
        ),
    ]


def environment(compute: Compute) -> dict[str, Any]:
    """Return what a figure depends on beside the code: versions, processor, device, threads, precision."""
    versions = {}
    for package in ("st_reid", "torch", "torchvision", "torchreid", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        **versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "device": torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else str(compute.device),
        "threads": torch.get_num_threads(),
        "precision": str(compute.dtype).removeprefix("torch."),
    }


def processor() -> str:
    """Return the processor's name, where Linux says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.partition(":")[2].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def write_config(config: Any, folder: Path) -> None:
    """Write the resolved configuration as ``config.yaml``, which ``--config`` reads back."""
    settings = {key: value for key, value in asdict(config).items() if key != "resume"}  # a new run is none
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    write_text(text, folder / "config.yaml")


def assemble(
    arch: str,
    dataset: Dataset,
    retrieval: Retrieval,
    reader: ClipReader,
    compute: Compute,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """Return the content of ``report.json``, times and baselines aside."""
    results = {name: ranking.result for name, ranking in evaluation.rankings.items()}
    joint = {}
    if "joint" in results:
        used = {key: value for key, value in asdict(evaluation.joint).items() if key != "use"}
        joint = {"joint": {**figures(results["joint"]), "over_camera_mask": gain(results), "constants": used}}
    return {
        "arch": arch,
        "dataset": dataset.name,
        "protocol": {
            **retrieval.describe(),
            "frames": f"clips of {reader.seq_len} at {reader.height} x {reader.width}, sampler {reader.eval.sampler}",
            **dataset.notes,
        },
        **{name: figures(result) for name, result in results.items()},
        **joint,
        "num_query": len(retrieval.query),
        "num_gallery": len(retrieval.gallery),
        "environment": environment(compute),
    }


def rank_color_histogram(retrieval: Retrieval, read: ReadConfig) -> RankingResult:
    """Rank by colour histograms of all frames, the baseline that learns nothing."""
    frames = FrameReader(read.on_bad_image)

    def histogram(tracklet: Tracklet) -> np.ndarray:
        clip = resize_clip(frames.read(tracklet, range(len(tracklet))), 128, 64)
        return color_histogram(clip.permute(0, 2, 3, 1).numpy())

    features = np.stack(
        [histogram(t) for t in tqdm(retrieval.tracklets, desc="colour histogram", leave=False, disable=None)]
    )
    return retrieval.rank(retrieval.distances(features))


def draw(
    retrieval: Retrieval,
    evaluation: Evaluation,
    curves: Mapping[str, NDArray[np.float64]],
    folder: Path,
    sheet_queries: int,
) -> None:
    """Draw an evaluation into ``folder/plots``, and save the transit times that it used.

    Args:
        retrieval: query and gallery.
        evaluation: what was found out.
        curves: other CMC curves to draw beside.
        folder: of the run.
        sheet_queries: rows of a contact sheet.
    """
    pictures = folder / "plots"
    pictures.mkdir(exist_ok=True)
    rankings = evaluation.rankings
    every = {**curves, **{name: ranking.result.cmc for name, ranking in rankings.items()}}
    plots.cmc_curves({name.replace("_", " "): cmc for name, cmc in every.items()}, pictures / "cmc.png")
    plots.contact_sheet(retrieval, rankings["appearance"], pictures / "contact_sheet.png", queries=sheet_queries)
    if evaluation.transit_times is not None:
        evaluation.transit_times.save(folder / "spatial_temporal.npz")
        evaluation.transit_times.plot(pictures / "transit_times.png")
        plots.changed_sheet(
            retrieval,
            rankings["appearance"].distances,
            rankings["joint"].distances,
            pictures / "changed_by_joint.png",
            queries=sheet_queries,
        )


def announce(dataset: str, content: Mapping[str, Any], folder: Path) -> None:
    """Log the figures, and where the rest of them is."""
    for line in lines(f"{dataset}: {content['num_query']} queries", content["appearance"]):
        logger.info(line)
    rows = {name: row for name, row in content.items() if isinstance(row, dict) and "rank1" in row}
    if len(rows) > 1:
        for line in table(rows):
            logger.info(line)
    if "joint" in content:
        over = content["joint"]["over_camera_mask"]
        low, high = over["interval95"]["mAP"]
        logger.info(
            "joint over camera_mask: rank-1 %+.1f, mAP %+.1f points (95%% interval %+.1f to %+.1f)",
            100 * over["rank1"],
            100 * over["mAP"],
            100 * low,
            100 * high,
        )
    logger.info("report:   %s", folder / "report.json")
    logger.info("pictures: %s", ", ".join(str(p) for p in sorted((folder / "plots").glob("*.png"))))


@dataclass
class ReportConfig:
    """Write what a command left in its folder as one self-contained HTML page.

    Attributes:
        folder: of a run, a search, a calibration or a check; it may stand first, without --folder.
        output: the page; null for report.html in the folder.
    """

    folder: str
    output: str | None = None


def main(argv: list[str]) -> None:
    """Parse and run ``python -m st_reid.report``."""
    from st_reid import cli
    from st_reid.html import write_page

    if argv and not argv[0].startswith("-"):
        argv = ["--folder", *argv]
    config = cli.parse(ReportConfig, argv, "python -m st_reid.report")
    page = write_page(Path(config.folder), None if config.output is None else Path(config.output))
    logger.info("page: %s", page)


if __name__ == "__main__":
    from st_reid import cli

    cli.run(main, "python -m st_reid.report")
