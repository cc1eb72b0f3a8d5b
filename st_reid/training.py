"""A training run, from its configuration to its folder."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

from st_reid import plots, report
from st_reid.checkpoints import load_checkpoint, save_checkpoint
from st_reid.config import OptimConfig, TrainConfig, check_ranges
from st_reid.data.datasets import read_dataset
from st_reid.data.loader import ClipDataset, train_loader
from st_reid.data.sampling import derived_rng
from st_reid.data.tracklet import Dataset, Tracklet, person_labels
from st_reid.data.transforms import TrainTransform
from st_reid.engine import ClipReader, Compute, extract_features, train_one_epoch
from st_reid.errors import UserError
from st_reid.evaluation import Retrieval, evaluate_model, prepare
from st_reid.losses import ClipLoss
from st_reid.registry import check_model, create_model
from st_reid.retrieval import RankingResult

WARMUP_START = 0.01  # of the learning rate, as PSTA's
VALIDATION_KEY = 4  # of the random numbers that choose the validation identities
DROPOUT_KEY = 5  # of those that layers draw in an epoch
MAY_CHANGE = ("epochs", "output", "resume", "root", "device", "data.workers", "data.on_bad_image", "eval.sheet_queries")
MAY_CHANGE_WITHIN = ("eval.joint.", "eval.rerank.")
"""Settings that may differ between a run and its resumption; any other would make it another run."""

logger = logging.getLogger(__name__)


def train(config: TrainConfig) -> Path:
    """Train, evaluate, and return the run's folder.

    Wrong settings, weights or splits, and with baselines a bad test image, are found before the folder is made; a bad
    training image only when its turn comes.

    Raises:
        UserError: a setting, a dataset, weights or a folder that will not do.
    """
    run = Run(config)
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
        self.compute = Compute.choose(config.device, config.precision)
        self.folder = _run_folder(config)
        resumed = _last_checkpoint(config)
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
        )
        self.model_arguments = _model_arguments(config, len(person_labels(learned)))
        torch.manual_seed(config.seed)
        self.model = self.compute.place(create_model(**self.model_arguments, pretrained=config.model.pretrained))
        optim = config.optim
        self.loss = ClipLoss(optim.label_smoothing, optim.margin, optim.triplet_weight, optim.levels)
        self.optimizer = make_optimizer(self.model, optim)
        steps = len(self.loader)
        factor = partial(learning_rate_factor, config=optim, epochs=config.epochs)
        self.scheduler = LambdaLR(self.optimizer, lambda step: factor(step / steps))
        self.epoch = 0
        self.best: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []
        if resumed is not None:
            self._resume(resumed)
        self._log_sizes(source, learned, held_out)
        # Before the folder is made: they read every test image, and so find what cannot be read.
        self.baselines = resumed["baselines"] if resumed is not None else self._measure_baselines()

    def fit(self) -> None:
        """Train the epochs that are left; write checkpoints, metrics and TensorBoard's events as they come."""
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        report.write_config(self.config, self.folder)
        self._save({})  # a run that fails in its first epoch can be resumed too
        self._write_metrics()
        with SummaryWriter(str(self.folder), purge_step=self.epoch + 1) as board:
            while self.epoch < self.config.epochs:
                row = self._train_epoch()
                self.metrics.append(row)
                self._write_metrics()
                self._log_epoch(row, board)
                self._save(row)

    def finish(self) -> Path:
        """Evaluate the best checkpoint, write the report and the pictures, and return the run's folder."""
        best = self.folder / "checkpoints" / "best.pth"
        if best.exists():  # not after 0 epochs
            self.model.load_state_dict(load_checkpoint(best)["state_dict"])
        start = time.perf_counter()
        evaluation = evaluate_model(
            self.model, self.train_tracklets, self.retrieval, self.reader, self.compute, self.transit_times
        )
        seconds = time.perf_counter() - start
        content = {
            **report.assemble(self.config.arch, self.dataset, self.retrieval, self.reader, self.compute, evaluation),
            **self.baselines["figures"],
            "trained_on": self.config.sources,
            "best": self._explain_best(),
            "epochs": self.config.epochs,
            "seed": self.config.seed,
            "train_seconds": round(sum(row["seconds"] for row in self.metrics), 2),
            "eval_seconds": round(seconds, 2),
        }
        curves = {k: np.array(v) for k, v in self.baselines["cmc"].items()}
        report.write_json(content, self.folder / "report.json")
        with SummaryWriter(str(self.folder)) as board:
            for key in ("rank1", "rank5", "rank10", "mAP"):
                board.add_scalar(f"Test/{self.dataset.name}/{key}", content["appearance"][key], self.epoch)
        report.draw(self.retrieval, evaluation, curves, self.folder, self.config.eval.sheet_queries)
        if self.metrics:
            plots.training_curves(self.metrics, self.folder / "plots" / "training.png")
        report.announce(self.dataset.name, content, self.folder)
        return self.folder

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
        features = extract_features(self.model, retrieval.tracklets, self.reader, self.compute, description)
        return retrieval.rank(retrieval.distances(features))

    def _measure_baselines(self) -> dict[str, Any]:
        if not self.config.baselines:
            return {"figures": {}, "cmc": {}}
        results = {
            "color_histogram": report.rank_color_histogram(self.retrieval, self.config.data),
            "untrained": self._rank(self.retrieval, "untrained model"),
        }
        figures = {name: report.figures(result) for name, result in results.items()}
        for line in report.table(figures):
            logger.info(line)
        return {"figures": figures, "cmc": {name: result.cmc.tolist() for name, result in results.items()}}

    def _train_epoch(self) -> dict[str, Any]:
        self.epoch += 1
        self.loader.batch_sampler.set_epoch(self.epoch)  # type: ignore[union-attr]
        torch.manual_seed(int(derived_rng(self.config.seed, DROPOUT_KEY, self.epoch).integers(2**63)))
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= train_one_epoch(
            self.model,
            self.loader,
            self.loss,
            self.optimizer,
            self.scheduler,
            self.compute,
            f"epoch {self.epoch}/{self.config.epochs}",
        )
        due = self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs
        if self.validation is not None and due:
            result = self._rank(self.validation, "validation")
            row |= {"val_rank1": float(result.cmc[0]), "val_mAP": result.mAP}
        return row

    def _save(self, row: dict[str, Any]) -> None:
        better = "val_mAP" in row and row["val_mAP"] > self.best.get("val_mAP", -1)
        if better:
            self.best = {"epoch": self.epoch, "val_mAP": row["val_mAP"], "val_rank1": row["val_rank1"]}
        checkpoint = {
            "state_dict": self.model.state_dict(),
            "epoch": self.epoch,
            "rank1": self.best.get("val_rank1", 0.0),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "model": self.model_arguments,
            "best": self.best,
            "metrics": self.metrics,
            "baselines": self.baselines,
            "config": asdict(self.config),
        }
        folder = self.folder / "checkpoints"
        save_checkpoint(checkpoint, folder / "last.pth")
        nothing_to_choose_by = self.epoch == self.config.epochs and not self.best
        if better or nothing_to_choose_by:
            to_go_on = ("optimizer", "scheduler")  # two thirds of the file, and of no use to whoever gets it
            save_checkpoint({k: v for k, v in checkpoint.items() if k not in to_go_on}, folder / "best.pth")

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        # What a run of an earlier version could not set was as it is by default.
        defaults = dict(_flatten(asdict(TrainConfig())))
        before, now = defaults | dict(_flatten(checkpoint["config"])), dict(_flatten(asdict(self.config)))
        changed = [
            name
            for name in now
            if name not in MAY_CHANGE and not name.startswith(MAY_CHANGE_WITHIN) and before.get(name) != now[name]
        ]
        if changed:
            name = changed[0]
            raise UserError(
                f"{name} is {now[name]!r}, and was {before.get(name)!r} in the run that is resumed; "
                f"only {', '.join(MAY_CHANGE)}, eval.joint and eval.rerank may change"
            )
        self.model.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scheduler.load_state_dict(checkpoint["scheduler"])
        self.epoch, self.best, self.metrics = checkpoint["epoch"], checkpoint["best"], checkpoint["metrics"]
        logger.info("resumed after epoch %d", self.epoch)

    def _write_metrics(self) -> None:
        report.write_text("".join(json.dumps(row) + "\n" for row in self.metrics), self.folder / "metrics.jsonl")

    def _log_epoch(self, row: dict[str, Any], board: SummaryWriter) -> None:
        for key, value in row.items():
            if key != "epoch":
                board.add_scalar(f"Train/{key}", value, self.epoch)
        validation = f"  validation rank-1 {row['val_rank1']:.1%} mAP {row['val_mAP']:.1%}" if "val_mAP" in row else ""
        logger.info(
            "epoch %*d/%d  loss %.3f  accuracy %5.1f%%  lr %.1e  %.1f s (%.0f%% waiting for data)%s",
            len(str(self.config.epochs)),
            self.epoch,
            self.config.epochs,
            row["loss"],
            100 * row["accuracy"],
            row["lr"],
            row["seconds"],
            100 * row["data_seconds"] / row["seconds"],
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


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a model's trainable parameters, those of its ``backbone`` at a rate of their own."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[config.backbone_lr != 1 and name.startswith("backbone.")].append(parameter)
    if config.backbone_lr != 1 and not groups[True]:
        raise UserError(
            f"optim.backbone_lr is {config.backbone_lr:g}, but the model has no backbone of its own; leave it at 1"
        )
    # The new layers come first: theirs is the rate that the log shows.
    rates = {False: config.lr, True: config.lr * config.backbone_lr}
    parameters = [{"params": group, "lr": rates[own]} for own, group in sorted(groups.items()) if group]
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, weight_decay=config.weight_decay, fused=True)


def learning_rate_factor(epoch: float, config: OptimConfig, epochs: int) -> float:
    """Return the factor on the learning rate after ``epoch`` epochs, a fraction in the middle of one."""
    if epoch < config.warmup_epochs:
        return WARMUP_START + (1 - WARMUP_START) * epoch / config.warmup_epochs
    if config.schedule == "cosine":
        done = (epoch - config.warmup_epochs) / max(epochs - config.warmup_epochs, 1e-9)
        return (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return config.gamma ** sum(epoch >= milestone for milestone in config.milestones)


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


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names; options, which are anybody's, as wholes."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and name != "options":
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _check_train(dataset: Dataset) -> None:
    if not dataset.train:
        raise UserError(f"{dataset.name}: no training tracklets; the split of some must be train")
    unknown = sum(not t.person for t in dataset.train)
    if unknown:
        raise UserError(f"{dataset.name}: {unknown} training tracklets have no person; name the persons to train")


def _run_folder(config: TrainConfig) -> Path:
    folder = Path(config.output or f"runs/{config.arch}-{config.sources}-seed{config.seed}")
    if config.resume is None and folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder} holds a run already; pass another --output, or --resume {folder} to go on with that run"
        )
    report.check_output(folder)
    return folder


def _last_checkpoint(config: TrainConfig) -> dict[str, Any] | None:
    if config.resume is None:
        return None
    path = Path(config.resume)
    if path.is_dir():
        path = path / "checkpoints" / "last.pth"
    checkpoint = load_checkpoint(path)
    if not {"config", "optimizer", "scheduler", "baselines"} <= checkpoint.keys():
        raise UserError(f"{path} is no checkpoint of a training run; pass the run's folder, or its last.pth")
    return checkpoint
