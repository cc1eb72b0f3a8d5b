"""``python -m st_reid.evaluate``: the figures of a checkpoint on a dataset."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from st_reid import cli
from st_reid.config import EvaluateConfig, check_ranges
from st_reid.errors import UserError
from st_reid.files import check_output, folder_written_whole

NAME = "python -m st_reid.evaluate"
logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    evaluate(cli.parse(EvaluateConfig, argv, NAME))


def evaluate(config: EvaluateConfig) -> Path:
    """Evaluate a checkpoint and return the folder with its report and pictures; nothing is left where it fails.

    Several processes share the extraction, and the first one ranks and writes.

    Raises:
        UserError: weights or a dataset that cannot be read or do not fit, or a folder in the way.
    """
    from st_reid.distributed import together

    with together():
        return _evaluate(config)


def _evaluate(config: EvaluateConfig) -> Path:
    from st_reid import report
    from st_reid.compute import Compute
    from st_reid.data.datasets import read_dataset
    from st_reid.engine import ClipReader
    from st_reid.evaluation import Retrieval, evaluate_model, prepare
    from st_reid.loading import load_for_evaluation

    check_ranges(config)
    compute = Compute.choose(config.device, config.precision, config.compute)
    sizes = {"height": config.height, "width": config.width, "seq_len": config.seq_len}
    loaded = load_for_evaluation(config.weights, config.arch, config.options, **sizes)
    output = Path(config.output or f"runs/evaluate-{loaded.arch}-{config.sources}")
    if output.exists():
        raise UserError(f"{output} exists; pass another --output")
    check_output(output)
    with compute.world.first_of_node():
        dataset = read_dataset(config.sources, config.root, config.data.options)
    retrieval = Retrieval.of(dataset.query, dataset.gallery, config.eval)
    config.data.interpolation = config.data.interpolation or loaded.interpolation  # type: ignore[assignment]
    reader = ClipReader(loaded.height, loaded.width, loaded.seq_len, config.seed, config.data, config.eval)
    logger.info("%s: %d queries, %d gallery tracklets", dataset.name, len(retrieval.query), len(retrieval.gallery))

    transit_times = prepare(dataset.train, retrieval, config.eval)
    start = time.perf_counter()
    evaluation = evaluate_model(compute.place(loaded.model), dataset.train, retrieval, reader, compute, transit_times)
    seconds = time.perf_counter() - start
    if evaluation is None:
        return output
    baselines = {"color_histogram": report.rank_color_histogram(retrieval, config.data)} if config.baselines else {}

    with folder_written_whole(output) as partial:
        report.write_config(config, partial)
        content = report.assemble(loaded.arch, dataset, retrieval, reader, compute, evaluation)
        content |= {name: report.figures(result) for name, result in baselines.items()}
        report.write_json({**content, "eval_seconds": round(seconds, 2)}, partial / "report.json")
        curves = {name: result.cmc for name, result in baselines.items()}
        report.draw(retrieval, evaluation, curves, partial, config.eval.sheet_queries)
    report.announce(dataset.name, content, output)
    return output


if __name__ == "__main__":
    cli.run(main, NAME)
