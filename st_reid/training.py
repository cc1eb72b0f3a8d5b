"""A training run, from its configuration to its folder."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from st_reid import plots, report
from st_reid.checkpoints import load_checkpoint
from st_reid.compute import Compute
from st_reid.config import TrainConfig, check_ranges
from st_reid.data.datasets import read_dataset
from st_reid.data.loader import ClipDataset, train_loader
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Dataset, Tracklet, person_labels
from st_reid.data.transforms import TrainTransform
from st_reid.distributed import together
from st_reid.engine import ClipReader, Totals, extract_features, train_one_epoch
from st_reid.errors import UserError
from st_reid.evaluation import Retrieval, evaluate_model, prepare
from st_reid.files import write_text
from st_reid.learner import Learner
from st_reid.losses import ClipLoss
from st_reid.optim import make_optimizer, make_scheduler
from st_reid.registry import check_model, create_model
from st_reid.retrieval import RankingResult
from st_reid.run_folder import BEST, Checkpoints, read_resumed, run_folder
from st_reid.stopping import StopRequest

VALIDATION_KEY = 4  # of the random numbers that choose the validation identities

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> Path:
    """Train, evaluate, and return the run's folder.

    Wrong settings, weights or splits, and with baselines a bad test image, are found before the folder is made; a bad
    training image only when its turn comes.

    Raises:
        UserError: a setting, a dataset, weights or a folder that will not do.
    """
    with together():
        run = Run(config)
        with run.stop:
            run.fit()
            return run.finish()


class Run:
    """What a training run holds between its epochs.

    Args:
        config: every setting.

    Raises:
        UserError: see :func:`train`.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        check_ranges(config)
        check_model(config.arch, config.model.options)
        self.compute = Compute.choose(config.device, config.precision, config.compute)
        self.world = self.compute.world
        if config.optim.sync_batchnorm and self.compute.device.type != "cuda":
            raise UserError(
                f"optim.sync_batchnorm needs GPUs, and the device is {self.compute.device}; leave it false, or pass "
                "optim.freeze_batchnorm"
            )
        self.folder = run_folder(config)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", config.checkpoint.keep)
        resumed = read_resumed(config)
        with self.world.first_of_node():
            source = read_dataset(config.sources, config.root, config.data.options)
        self.dataset = source
        if config.targets is not None:
            self.dataset = read_dataset(config.targets, config.target_root or config.root)
        _check_train(source)
        self.retrieval = Retrieval.of(self.dataset.query, self.dataset.gallery, config.eval)
        self.train_tracklets = source.train
        self.transit_times = prepare(source.train, self.retrieval, config.eval, config.targets is None)
        self.reader = ClipReader(config.height, config.width, config.seq_len, config.seed, config.data, config.eval)

        learned, held_out = split_validation(source.train, config.val_identities, config.seed)
        self.validation = _validation(held_out, config) if held_out else None
        self.loader = train_loader(
            self._clips(learned),
            persons_per_batch=config.data.persons,
            clips_per_person=config.data.clips,
            batches=config.data.batches,
            workers=config.data.workers,
            device=self.compute.device,
            world=self.world,
        )
        self.model_arguments = _model_arguments(config, len(person_labels(learned)))
        self.learner = self._make_learner()
        self.epoch = 0  # epochs done
        self.totals = Totals()  # of the one under way
        self.best: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []
        if resumed is not None:
            self._resume(resumed)
        self._log_sizes(source, learned, held_out)
        # Before the folder is made: they read every test image, and so find what cannot be read.
        self.baselines = resumed["baselines"] if resumed is not None else self._measure_baselines()
        self.stop = StopRequest(f"go on with --resume {self.folder}")

    def fit(self) -> None:
        """Train the epochs that are left; write checkpoints, metrics and TensorBoard's events as they come.

        Raises:
            UserError: a batch that cannot be read or learned from, or a checkpoint that cannot be written.
            Interrupted: by Ctrl-C or SIGTERM, after a checkpoint of the step that was being taken.
        """
        self.world.barrier()  # everybody has seen whether the folder is free
        if self.world.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            report.write_config(self.config, self.folder)
        with self.stop.held(), self._board(purge_step=self.epoch + 1) as board:
            self._save()  # a run that fails in its first epoch can be resumed too
            self._write_metrics()
            while self.epoch < self.config.epochs and not self._out_of_patience():
                row = self._train_epoch()
                self.metrics.append(row)
                self._write_metrics()
                self._log_epoch(row, board)
                self._choose_best(row)
                self._save()
                if self._asked_to_stop():
                    raise self.stop.agreed()
        if self.world.writes and not self.best:
            self.checkpoints.save_best(self._checkpoint())

    def finish(self) -> Path:
        """Evaluate the best checkpoint, write the report and the pictures, and return the run's folder."""
        if self.world.writes:
            self.learner.to_evaluate.load_state_dict(load_checkpoint(self.checkpoints.folder / BEST)["state_dict"])
        self.world.share_first(self.learner.to_evaluate.state_dict().values())
        start = time.perf_counter()
        evaluation = evaluate_model(
            self.learner.to_evaluate,
            self.train_tracklets,
            self.retrieval,
            self.reader,
            self.compute,
            self.transit_times,
        )
        seconds = time.perf_counter() - start
        if evaluation is None:
            return self.folder
        content = {
            **report.assemble(self.config.arch, self.dataset, self.retrieval, self.reader, self.compute, evaluation),
            **self.baselines["figures"],
            "trained_on": self.config.sources,
            "best": self._explain_best(),
            "epochs": self.epoch,
            "stopped_early": self.epoch < self.config.epochs,
            "seed": self.config.seed,
            "train_seconds": round(sum(row["seconds"] for row in self.metrics), 2),
            "eval_seconds": round(seconds, 2),
        }
        curves = {k: np.array(v) for k, v in self.baselines["cmc"].items()}
        report.write_json(content, self.folder / "report.json")
        with self._board() as board:
            for key in ("rank1", "rank5", "rank10", "mAP"):
                board.add_scalar(f"Test/{self.dataset.name}/{key}", content["appearance"][key], self.epoch)
        report.draw(self.retrieval, evaluation, curves, self.folder, self.config.eval.sheet_queries)
        if self.metrics:
            plots.training_curves(self.metrics, self.folder / "plots" / "training.png")
        report.announce(self.dataset.name, content, self.folder)
        return self.folder

    def _make_learner(self) -> Learner:
        config, optim = self.config, self.config.optim
        torch.manual_seed(config.seed)
        with self.world.first_of_node():  # it may download weights
            model = create_model(**self.model_arguments, pretrained=config.model.pretrained)
        model = self.compute.place(model)
        gather = self.world.gather if self.world.size > 1 else None
        loss = ClipLoss(optim.label_smoothing, optim.margin, optim.triplet_weight, optim.levels, gather)
        optimizer = make_optimizer(model, optim)
        scheduler = make_scheduler(optimizer, optim, config.epochs, len(self.loader))
        return Learner(model, loss, optimizer, scheduler, self.compute, optim)

    def _board(self, purge_step: int | None = None) -> Any:
        return SummaryWriter(str(self.folder), purge_step=purge_step) if self.world.writes else nullcontext()

    def _clips(self, tracklets: Sequence[Tracklet]) -> ClipDataset:
        data = self.config.data
        transform = TrainTransform(
            self.config.height,
            self.config.width,
            crop=data.crop,
            flip=data.flip,
            erase=data.erase,
            jitter=data.jitter,
            cast=data.cast,
            interpolation=data.interpolation or "bilinear",
        )
        return ClipDataset(
            tracklets,
            sampler=data.sampler,
            seq_len=self.config.seq_len,
            transform=transform,
            seed=self.config.seed,
            on_bad_image=data.on_bad_image,
        )

    def _rank(self, retrieval: Retrieval, description: str) -> RankingResult:
        model = self.learner.to_evaluate
        features = extract_features(model, retrieval.tracklets, self.reader, self.compute, description)
        return retrieval.rank(retrieval.distances(features))

    def _measure_baselines(self) -> dict[str, Any]:
        if not self.config.baselines:
            return {"figures": {}, "cmc": {}}
        untrained = self._rank(self.retrieval, "untrained model")
        if not self.world.writes:
            return {"figures": {}, "cmc": {}}
        results = {
            "color_histogram": report.rank_color_histogram(self.retrieval, self.config.data),
            "untrained": untrained,
        }
        figures = {name: report.figures(result) for name, result in results.items()}
        for line in report.table(figures):
            logger.info(line)
        return {"figures": figures, "cmc": {name: result.cmc.tolist() for name, result in results.items()}}

    def _train_epoch(self) -> dict[str, Any]:
        number = self.epoch + 1
        self.loader.batch_sampler.set_epoch(number, start=self.totals.batches)  # type: ignore[union-attr]
        train_one_epoch(
            self.learner,
            self.loader,
            self.totals,
            seed=self.config.seed,
            epoch=number,
            after_step=self._after_step,
            description=f"epoch {number}/{self.config.epochs}",
        )
        row = {
            "epoch": number,
            **self.totals.row(),
            "lr": self.learner.learning_rate,
            "memory_gb": round(self.compute.peak_gigabytes(), 3),
        }
        due = number % self.config.validate_every == 0 or number == self.config.epochs
        if self.validation is not None and due:
            self._save()  # what is interrupted while it validates has not trained in vain
            if self._asked_to_stop():
                raise self.stop.agreed()
            with self.stop.held(False):
                result = self._rank(self.validation, "validation")
            row |= {"val_rank1": float(result.cmc[0]), "val_mAP": result.mAP}
        self.epoch, self.totals = number, Totals()
        return row

    def _after_step(self) -> None:
        asked = self._asked_to_stop()
        every = self.config.checkpoint.every_steps
        if asked or (every is not None and (self.totals.steps + self.totals.skipped) % every == 0):
            self._save()
        if asked:
            raise self.stop.agreed()

    def _asked_to_stop(self) -> bool:
        return self.world.any(self.stop.signum is not None)[0]

    def _choose_best(self, row: dict[str, Any]) -> None:
        if "val_mAP" not in row or row["val_mAP"] < self.best.get("val_mAP", -1):
            return
        # Of equals the later: few validation identities are soon all found, while it goes on to learn.
        self.best = {"epoch": self.epoch, "val_mAP": row["val_mAP"], "val_rank1": row["val_rank1"]}
        if self.world.writes:
            self.checkpoints.save_best(self._checkpoint())

    def _out_of_patience(self) -> bool:
        if self.config.patience is None or not self.best:
            return False
        values = [row["val_mAP"] for row in self.metrics if "val_mAP" in row]
        return len(values) - 1 - values.index(self.best["val_mAP"]) >= self.config.patience

    def _save(self) -> None:
        if self.world.writes:
            self.checkpoints.save(self._checkpoint(), self.epoch, self.totals.batches)

    def _checkpoint(self) -> dict[str, Any]:
        return {
            **self.learner.state_dict(),
            "epoch": self.epoch,
            "totals": asdict(self.totals),
            "rank1": self.best.get("val_rank1", 0.0),
            "model": self.model_arguments,
            "best": self.best,
            "metrics": self.metrics,
            "baselines": self.baselines,
            "config": asdict(self.config),
        }

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        self.learner.load_state_dict(checkpoint)
        self.epoch, self.best, self.metrics = checkpoint["epoch"], checkpoint["best"], checkpoint["metrics"]
        self.totals = Totals(**checkpoint.get("totals", {}))
        logger.info("resumed after epoch %d and %d batches", self.epoch, self.totals.batches)

    def _write_metrics(self) -> None:
        if self.world.writes:
            write_text("".join(json.dumps(row) + "\n" for row in self.metrics), self.folder / "metrics.jsonl")

    def _log_epoch(self, row: dict[str, Any], board: SummaryWriter) -> None:
        if not self.world.writes:
            return
        for key, value in row.items():
            if key != "epoch":
                board.add_scalar(f"Train/{key}", value, self.epoch)
        validation = f"  validation rank-1 {row['val_rank1']:.1%} mAP {row['val_mAP']:.1%}" if "val_mAP" in row else ""
        skipped = f"  {row['skipped']} steps skipped" if row["skipped"] else ""
        logger.info(
            "epoch %*d/%d  loss %.3f  accuracy %5.1f%%  lr %.1e  gradient %.2g  "
            "%.1f s: %.3g clips/s, %.0f%% waiting for data  %.1f GB%s%s",
            len(str(self.config.epochs)),
            self.epoch,
            self.config.epochs,
            row["loss"],
            100 * row["accuracy"],
            row["lr"],
            row["grad_norm"],
            row["seconds"],
            row["clips_per_second"],
            100 * row["data_seconds"] / row["seconds"],
            row["memory_gb"],
            skipped,
            validation,
        )

    def _explain_best(self) -> str:
        if self.epoch == 0:
            return "the untrained model: 0 epochs"
        if not self.best:
            return f"the last epoch, {self.epoch}: no validation identities to choose by"
        persons = len({t.person for t in self.validation.query}) if self.validation else 0
        return (
            f"epoch {self.best['epoch']}, chosen by mAP on {persons} validation identities "
            "taken from training, not on the test set"
        )

    def _log_sizes(self, source: Dataset, learned: Sequence[Tracklet], held_out: Sequence[Tracklet]) -> None:
        logger.info(
            "%s on %s: %d tracklets of %d identities to learn from, %d identities for validation; "
            "test on %s: %d queries, %d gallery tracklets; %s, %s",
            self.config.arch,
            source.name,
            len(learned),
            len(person_labels(learned)),
            len(person_labels(held_out)),
            self.dataset.name,
            len(self.retrieval.query),
            len(self.retrieval.gallery),
            self.compute.device,
            str(self.compute.dtype).removeprefix("torch."),
        )


def split_validation(
    tracklets: Sequence[Tracklet], count: int | None, seed: int
) -> tuple[list[Tracklet], list[Tracklet]]:
    """Take ``count`` identities that two cameras saw out of the training tracklets, for validation.

    Args:
        tracklets: of the training split.
        count: identities; ``None`` for a tenth of all.
        seed: of the run.

    Returns:
        The tracklets to learn from, and those held out: none if fewer than two identities would be.

    Raises:
        UserError: a negative count, or more than there are identities with two cameras.
    """
    cameras = defaultdict(set)
    for tracklet in tracklets:
        cameras[tracklet.person].add(tracklet.camera)
    eligible = sorted(person for person, seen in cameras.items() if len(seen) > 1)
    if count is None:
        count = min(len(cameras) // 10, len(eligible))
    elif count not in (0, *range(2, len(eligible) + 1)):
        raise UserError(
            f"val_identities is {count}; expected 0, or 2 up to the {len(eligible)} training identities "
            "that two cameras saw"
        )
    if count < 2:
        return list(tracklets), []
    held_out = set(derived_rng(seed, VALIDATION_KEY).choice(eligible, size=count, replace=False).tolist())
    return [t for t in tracklets if t.person not in held_out], [t for t in tracklets if t.person in held_out]


def _validation(tracklets: Sequence[Tracklet], config: TrainConfig) -> Retrieval:
    """One query for each identity and camera, all tracklets as gallery."""
    first = {(t.person, t.camera): t for t in reversed(tracklets)}
    return Retrieval.of(list(first.values()), tracklets, config.eval)


def _model_arguments(config: TrainConfig, num_classes: int) -> dict[str, Any]:
    return {
        "name": config.arch,
        "num_classes": num_classes,
        "loss": config.model.loss,
        "seq_len": config.seq_len,
        "height": config.height,
        "width": config.width,
        **config.model.options,
    }


def _check_train(dataset: Dataset) -> None:
    if not dataset.train:
        raise UserError(f"{dataset.name}: no training tracklets; the split of some must be train")
    unknown = sum(not t.person for t in dataset.train)
    if unknown:
        raise UserError(f"{dataset.name}: {unknown} training tracklets have no person; name the persons to train")
