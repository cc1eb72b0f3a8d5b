"""A training run, from its configuration to its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from st_reid.config import TrainConfig, check_combinations, write_config
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.loader import ClipDataset, train_loader
from st_reid.data.transforms import TrainTransform
from st_reid.drawing.curves import training_curves
from st_reid.errors import UserError, first_line
from st_reid.evaluation import report
from st_reid.evaluation.baselines import color_histograms, fewer_frames
from st_reid.evaluation.rankings import Evaluation, chooses_constants, evaluate_features
from st_reid.evaluation.sheets import pictures_of_tracklets
from st_reid.features.extraction import extract_features
from st_reid.features.feature_set import FeatureSet
from st_reid.files import remove_left_in, write_json
from st_reid.models.checkpoints import load_checkpoint
from st_reid.models.factory import check_model, create_model
from st_reid.runtime.compute import Compute
from st_reid.runtime.distributed import together
from st_reid.runtime.environment import environment
from st_reid.stopping import StopRequest
from st_reid.training.epoch import Totals, train_one_epoch
from st_reid.training.learner import Learner
from st_reid.training.losses import ClipLoss
from st_reid.training.optim import make_optimizer, make_scheduler
from st_reid.training.run_folder import BEST, Checkpoints, check_folder, folder_of, read_resumed
from st_reid.training.run_log import RunLog
from st_reid.training.splits import Splits, read_splits

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> Path:
    """Train, evaluate, and return the run's folder.

    Wrong settings, weights or splits, and with baselines a bad test image, are found before the folder is made; a bad
    training image only when it is read.

    Raises:
        UserError: an invalid setting, dataset, weights or folder.
    """
    check_combinations(config)
    check_model(config.arch, config.model.options)
    with together():
        compute = Compute.choose(config.device, config.precision, config.compute)
        with compute.world.only_writer(folder_of(config)):
            run = TrainingRun(config, compute)
            with run.stop:
                run.fit()
                return run.finish()


class TrainingRun:
    """The state of a training run between its epochs.

    Args:
        config: every setting.
        compute: where it runs. Its first process holds the lock of the run's folder.

    Raises:
        UserError: see :func:`train`.
    """

    def __init__(self, config: TrainConfig, compute: Compute) -> None:
        self.config = config
        self.compute = compute
        self.world = compute.world
        if config.optim.sync_batchnorm and self.compute.device.type != "cuda":
            raise UserError(
                f"optim.sync_batchnorm needs GPUs, and the device is {self.compute.device}; leave it false, or pass "
                "optim.freeze_batchnorm"
            )
        self.folder = check_folder(config)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", config.checkpoint.keep)
        resumed = read_resumed(config)
        self.splits = read_splits(config, self.world)
        self.spec = _test_spec(config)
        self.loader = _train_loader(config, self.splits, self.compute)
        self.model_arguments = _model_arguments(config, self.splits.num_classes)
        pretrained = config.model.pretrained if resumed is None else False  # a checkpoint has all weights
        self.learner = _learner(config, self.model_arguments, self.compute, len(self.loader), pretrained)
        self.epoch = 0  # epochs done
        self.totals = Totals()  # of the current epoch
        self.best: dict[str, Any] = {}
        self.log = RunLog(self.folder, config.epochs, self.world.is_main)
        if resumed is not None:
            self._resume(resumed)
        precision = str(self.compute.dtype).removeprefix("torch.")
        logger.info("%s on %s; %s, %s", config.arch, self.splits.describe(), self.compute.device, precision)
        # Before the folder is made: they read every test image, and so find what cannot be read.
        self.baselines = resumed["baselines"] if resumed is not None else self._measure_baselines()
        self.stop = StopRequest(f"resume with --resume {self.folder}")

    def fit(self) -> None:
        """Train the remaining epochs; write checkpoints, metrics and TensorBoard's events as they come.

        Raises:
            UserError: a batch that cannot be read or learned from, or a checkpoint that cannot be written.
            Interrupted: by Ctrl-C or SIGTERM, after a checkpoint of the step that was being taken.
        """
        self.world.barrier()  # all processes have checked the folder before it is made
        if self.world.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, self.checkpoints.folder):
                remove_left_in(folder)
            write_config(self.config, self.folder)
        with self.stop.held(), self.log.board(purge_step=self.epoch + 1) as board:
            self._save()  # a run that fails in its first epoch can be resumed too
            self.log.write()
            while self.epoch < self.config.epochs and not self._out_of_patience():
                row = self._train_epoch()
                self.log.add(row, board)
                self._choose_best(row)
                self._save()
                if self._asked_to_stop():
                    raise self.stop.agreed()
        if self.world.is_main and not self.best:
            self.checkpoints.save_best(self._checkpoint())

    def finish(self) -> Path:
        """Evaluate the best checkpoint, write the report and the pictures, and return the run's folder."""
        if self.world.is_main:
            self.learner.to_evaluate.load_state_dict(load_checkpoint(self.checkpoints.folder / BEST)["state_dict"])
        self.world.share_first(self.learner.to_evaluate.state_dict().values())
        start = time.perf_counter()
        eval_config, splits, train = self.config.eval, self.splits, None
        if chooses_constants(eval_config, splits.transit_times):
            train = self._extract(splits.source.train, "training features")
        features = self._extract(splits.tested.test, "features")
        before = time.perf_counter()
        fewer = self._fewer_frames(features)
        start += time.perf_counter() - before  # baselines are not included in the evaluation's time
        if self.world.is_main:
            evaluation = evaluate_features(splits.test, features, eval_config, splits.transit_times, train)
            _write_report(self, evaluation, fewer, time.perf_counter() - start)
        return self.folder

    def _fewer_frames(self, features: FeatureSet) -> dict[str, FeatureSet]:
        if not self.config.baselines or self.config.eval.frames != "ordered":
            return {}
        uses_time = getattr(self.learner.to_evaluate, "uses_time", True)
        tracklets = self.splits.tested.test
        return fewer_frames(features, self.spec, partial(self._extract, tracklets), uses_time=uses_time)

    def _extract(self, tracklets: Any, description: str, spec: ClipSpec | None = None) -> FeatureSet:
        model = self.learner.to_evaluate
        return extract_features(model, tracklets, spec or self.spec, self.config.data, self.compute, description)

    def _measure_baselines(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"figures": {}, "cmc": {}}
        if not self.config.baselines:
            return nothing
        test, tracklets = self.splits.test, self.splits.tested.test
        untrained = self._extract(tracklets, "untrained model")
        if not self.world.is_main:
            return nothing
        histograms = color_histograms(tracklets, self.config.data.on_bad_image)
        results = {
            "color_histogram": test.rank_features(histograms),
            "untrained": test.rank_features(untrained),
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
        if self.splits.validation is not None and due:
            self._save()  # an interruption during the validation must not lose the epoch
            if self._asked_to_stop():
                raise self.stop.agreed()
            with self.stop.held(False):
                features = self._extract(self.splits.held_out, "validation")
                result = self.splits.validation.rank_features(features)
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
        # Of equals the later: few validation identities are soon all found, while the model still learns.
        self.best = {"epoch": self.epoch, "val_mAP": row["val_mAP"], "val_rank1": row["val_rank1"]}
        if self.world.is_main:
            self.checkpoints.save_best(self._checkpoint())

    def _out_of_patience(self) -> bool:
        if self.config.patience is None or not self.best:
            return False
        values = [row["val_mAP"] for row in self.log.metrics if "val_mAP" in row]
        return len(values) - 1 - values.index(self.best["val_mAP"]) >= self.config.patience

    def _save(self) -> None:
        if self.world.is_main:
            self.checkpoints.save(self._checkpoint(), self.epoch, self.totals.batches)

    def _checkpoint(self) -> dict[str, Any]:
        return {
            **self.learner.state_dict(),
            "epoch": self.epoch,
            "totals": asdict(self.totals),
            "rank1": self.best.get("val_rank1", 0.0),
            "model": self.model_arguments,
            "best": self.best,
            "metrics": self.log.metrics,
            "baselines": self.baselines,
            "config": asdict(self.config),
        }

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        try:
            self.learner.load_state_dict(checkpoint)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"the checkpoint of {self.folder} does not fit this run ({first_line(error)})") from error
        self.epoch, self.best, self.log.metrics = checkpoint["epoch"], checkpoint["best"], checkpoint["metrics"]
        self.totals = Totals(**checkpoint.get("totals", {}))
        logger.info("resumed after epoch %d and %d batches", self.epoch, self.totals.batches)

    def explain_best(self) -> str:
        """Say which epoch was evaluated, and why."""
        if self.epoch == 0:
            return "the untrained model: 0 epochs"
        if not self.best:
            return f"the last epoch, {self.epoch}: no validation identities to choose by"
        persons = len(np.unique(self.splits.validation.query.person)) if self.splits.validation else 0
        return (
            f"epoch {self.best['epoch']}, chosen by mAP on {persons} validation identities "
            "taken from training, not on the test set"
        )


def _write_report(run: TrainingRun, evaluation: Evaluation, fewer: Mapping[str, FeatureSet], seconds: float) -> None:
    splits, config, folder = run.splits, run.config, run.folder
    tested = splits.tested
    content = report.assemble(
        config.arch, tested.name, tested.notes, splits.test, run.spec, evaluation, environment(run.compute)
    )
    content |= run.baselines["figures"]
    ranked = {name: splits.test.rank_features(features) for name, features in fewer.items()}
    content |= report.fewer_frames(evaluation.rankings["appearance"].result, ranked)  # type: ignore[typeddict-item]
    content |= {
        "trained_on": config.sources,
        "best": run.explain_best(),
        "epochs": run.epoch,
        "stopped_early": run.epoch < config.epochs,
        "seed": config.seed,
        "train_seconds": round(run.log.train_seconds(), 2),
        "eval_seconds": round(seconds, 2),
    }
    write_json(content, folder / "report.json")
    run.log.add_test(tested.name, content["appearance"], run.epoch)
    curves = {name: np.array(cmc) for name, cmc in run.baselines["cmc"].items()}
    curves |= {name: result.cmc for name, result in ranked.items()}
    pictures = pictures_of_tracklets(tested.test)
    report.draw(splits.test, evaluation, curves, pictures, folder, config.eval.sheet_queries)
    if run.log.metrics:
        training_curves(run.log.metrics, folder / "plots" / "training.png")
    report.announce(content, folder)


def _test_spec(config: TrainConfig) -> ClipSpec:
    test = ClipSpec(config.height, config.width, config.seq_len, sampler=config.eval.sampler, batch=config.eval.batch)
    return test.changed(frames=config.eval.frames, seed=config.seed, interpolation=config.data.interpolation)


def _train_loader(config: TrainConfig, splits: Splits, compute: Compute) -> DataLoader:
    data = config.data
    spec = _test_spec(config).changed(sampler=data.sampler)
    transform = TrainTransform(
        spec.height,
        spec.width,
        crop=data.crop,
        flip=data.flip,
        erase=data.erase,
        jitter=data.jitter,
        cast=data.cast,
        interpolation=spec.interpolation,
    )
    return train_loader(
        ClipDataset(splits.learned, spec, transform, data.on_bad_image),
        persons_per_batch=data.persons,
        clips_per_person=data.clips,
        batches=data.batches,
        workers=data.workers,
        device=compute.device,
        world=compute.world,
    )


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


def _learner(
    config: TrainConfig, model_arguments: dict[str, Any], compute: Compute, batches: int, pretrained: bool | str
) -> Learner:
    optim, world = config.optim, compute.world
    torch.manual_seed(config.seed)
    with world.first_of_node():  # it may download weights
        model = create_model(**model_arguments, pretrained=pretrained)
    model = compute.place(model)
    gather = world.gather if world.size > 1 else None
    loss = ClipLoss(optim.label_smoothing, optim.margin, optim.triplet_weight, optim.levels, gather)
    optimizer = make_optimizer(model, optim)
    scheduler = make_scheduler(optimizer, optim, config.epochs, batches)
    return Learner(model, loss, optimizer, scheduler, compute, optim)
