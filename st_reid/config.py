"""Every setting of the command lines, with its default: the one place where defaults live."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from st_reid.errors import UserError

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass
class ModelConfig:
    """The model beyond its name.

    Attributes:
        loss: softmax for cross entropy alone, triplet to add the triplet loss.
        pretrained: true for a backbone with ImageNet's weights, which are downloaded; false for random ones; or the
            path of a checkpoint.
        options: the model's own options, such as {dim: 512}.
    """

    loss: Literal["softmax", "triplet"] = "triplet"
    pretrained: bool | str = True
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReadConfig:
    """How a dataset is read.

    Attributes:
        options: the dataset reader's own options, such as {queries_in_gallery: false}.
        workers: processes that read images; 0 reads in the main one.
        on_bad_image: stop at an image that cannot be read, or skip to the nearest readable one of its tracklet.
        interpolation: how images are resized, in training and in tests; null for what the checkpoint was trained with,
            or bilinear.
    """

    options: dict[str, Any] = field(default_factory=dict)
    workers: int = 2
    on_bad_image: Literal["stop", "skip"] = "stop"
    interpolation: Literal["bilinear", "bicubic"] | None = None


@dataclass
class DataConfig(ReadConfig):
    """How a dataset is read, and which training clips are drawn.

    Attributes:
        options: the dataset reader's own options, such as {queries_in_gallery: false}.
        workers: processes that read images; 0 reads in the main one.
        on_bad_image: stop at an image that cannot be read, or skip to the nearest readable one of its tracklet.
        interpolation: how images are resized, in training and in tests; null for bilinear.
        sampler: how a training clip is drawn from its tracklet.
        persons: identities in a training batch, P; of several processes together.
        clips: clips of each, K.
        batches: batches an epoch; null for each identity once.
        crop: probability that a training clip is cropped.
        flip: probability that it is mirrored.
        erase: probability that a rectangle of it is erased.
        jitter: strength of a random change of its brightness, contrast and saturation.
        cast: strength of a random change of its white balance, red, green and blue each for itself.
    """

    sampler: str = "random_interval"
    persons: int = 8
    clips: int = 4
    batches: int | None = None
    crop: float = 0.0
    flip: float = 0.5
    erase: float = 0.5
    jitter: float = 0.0
    cast: float = 0.0


@dataclass
class OptimConfig:
    """How the weights are changed.

    Attributes:
        name: adam, adamw, whose weight decay is apart from the gradient, or sgd with momentum 0.9 as Nesterov's.
        lr: learning rate after the warm-up.
        backbone_lr: factor on it for the backbone.
        weight_decay: L2 penalty; of adamw the share of the learning rate by which weights shrink.
        warmup_epochs: linear warm-up from a hundredth of lr.
        schedule: multiply by gamma at the milestones, or follow a cosine to zero.
        milestones: epochs of the steps.
        gamma: factor of a step.
        label_smoothing: of the cross entropy.
        margin: of the triplet loss.
        triplet_weight: of the triplet loss beside the cross entropy.
        levels: mean or sum of the losses of a model with several levels or parts.
        accumulate: batches whose gradients are averaged for one step; the triplets are mined in each by itself.
        clip_norm: the norm to which a longer gradient is cut; null leaves it.
        ema: decay of an exponential moving average of the weights, which is then what is evaluated; 0 for none. It
            averages over about 1 / (1 - ema) steps.
        freeze_batchnorm: normalise by the running statistics that are there, and leave them.
        sync_batchnorm: take the statistics over the clips of all processes; on GPUs only.
        on_bad_loss: stop at a loss or gradient that is not finite, or skip the step.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 3.5e-4
    backbone_lr: float = 1.0
    weight_decay: float = 5e-4
    warmup_epochs: float = 10
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: list[float] = field(default_factory=lambda: [70, 140, 210, 310, 410])
    gamma: float = 0.3
    label_smoothing: float = 0.1
    margin: float = 0.3
    triplet_weight: float = 1.0
    levels: Literal["mean", "sum"] = "mean"
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    freeze_batchnorm: bool = False
    sync_batchnorm: bool = False
    on_bad_loss: Literal["stop", "skip"] = "stop"


@dataclass
class ComputeConfig:
    """How a model is laid out and run; none of it changes what is computed.

    Attributes:
        compile: compile the model with torch.compile, which takes minutes once; on a CPU it needs a C++ compiler.
        channels_last: whether convolutions lie in memory with their channels last, which is faster nearly everywhere.
    """

    compile: bool = False
    channels_last: bool = True


@dataclass
class CheckpointConfig:
    """When a run can be resumed from where.

    Attributes:
        every_steps: optimisation steps between checkpoints within an epoch; null for one at the end of each epoch.
        keep: how many of the last checkpoints are kept.
    """

    every_steps: int | None = None
    keep: int = 2


@dataclass
class JointConfig:
    """How appearance is joined with where and when; the constants are those of ST-ReID and belong together.

    Attributes:
        use: auto ranks by the joint metric too where every tracklet has a time; always makes it an error where one
            has none; never leaves it out.
        model: a file of fitted transit times, which a training run leaves as spatial_temporal.npz; null fits them on
            the dataset's training tracklets.
        bin_width: width of a bin of transit times, in the unit of the times.
        sigma: of the smoothing, in bins.
        lambda_appearance: of the logistic of the similarity.
        gamma_appearance: of the logistic of the similarity.
        lambda_time: of the logistic of the transit time's probability.
        gamma_time: of the logistic of the transit time's probability.
        choose: choose sigma and gamma_time by cross-validation on the training identities.
    """

    use: Literal["auto", "always", "never"] = "auto"
    model: str | None = None
    bin_width: float = 100.0
    sigma: float = 50.0
    lambda_appearance: float = 1.0
    gamma_appearance: float = 5.0
    lambda_time: float = 2.0
    gamma_time: float = 5.0
    choose: bool = False


@dataclass
class RerankConfig:
    """Re-ranking by k-reciprocal neighbours.

    Attributes:
        use: whether to report every ranking re-ranked too.
        k1: neighbours that may be reciprocal.
        k2: neighbours whose sets are averaged.
        lambda_value: weight of the first distance.
    """

    use: bool = False
    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3


@dataclass
class EvalConfig:
    """How features are extracted and ranked.

    Attributes:
        sampler: which clips of a tracklet are averaged; all for every frame.
        batch: clips in a batch.
        junk: gallery items left out for a query, same_camera (of its person and camera) or same_tracklet (itself);
            auto takes same_camera where the gallery has two cameras or more.
        ap: step for average precision as torchreid's, trapezoid for ST-ReID's protocol.
        sheet_queries: queries on the contact sheet.
        joint: how appearance is joined with where and when.
        rerank: whether and how rankings are re-ranked.
    """

    sampler: str = "all"
    batch: int = 16
    junk: Literal["auto", "same_camera", "same_tracklet"] = "auto"
    ap: Literal["step", "trapezoid"] = "step"
    sheet_queries: int = 10
    joint: JointConfig = field(default_factory=JointConfig)
    rerank: RerankConfig = field(default_factory=RerankConfig)


@dataclass
class TrainConfig:
    """Train a model, evaluate it, and write the run's folder.

    Attributes:
        arch: the model's name.
        sources: the dataset's name.
        targets: another dataset to test on, read with its reader's defaults; null for the one trained on.
        target_root: the folder of that dataset; null for root.
        root: the folder that holds the dataset's folder, or that folder itself; walkers needs none.
        output: the run's folder; null for runs/ARCH-SOURCES-seedSEED.
        resume: go on with the run in this folder, or from this checkpoint of one; its configuration holds.
        epochs: passes over the training identities.
        seed: of every random number.
        height: input height in pixels.
        width: input width in pixels.
        seq_len: frames in a clip.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, bfloat16, float16 on a GPU, or auto for bfloat16 where the device computes in it.
        val_identities: training identities kept for choosing the best epoch, 0 for none; null for a tenth of them.
        validate_every: epochs between validations.
        patience: stop after this many validations without a better one; null never does.
        baselines: also measure a colour histogram and the untrained model.
        model: the model beyond its name.
        data: how the dataset is read, and which training clips are drawn.
        optim: how the weights are changed.
        eval: how features are extracted and ranked.
        compute: how the model is laid out and run.
        checkpoint: when the run can be resumed from where.
    """

    arch: str = "psta"
    sources: str = "walkers"
    targets: str | None = None
    target_root: str | None = None
    root: str | None = None
    output: str | None = None
    resume: str | None = None
    epochs: int = 500
    seed: int = 0
    height: int = 256
    width: int = 128
    seq_len: int = 8
    device: str = "auto"
    precision: Precision = "auto"
    val_identities: int | None = None
    validate_every: int = 10
    patience: int | None = None
    baselines: bool = True
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


@dataclass
class EvaluateConfig:
    """Evaluate a checkpoint, or a bare state dict of a named model, on a dataset's query and gallery.

    Attributes:
        weights: a checkpoint of a training run; or, with arch, a state dict or a checkpoint of torchreid.
        sources: the dataset's name.
        root: the folder that holds the dataset's folder, or that folder itself; walkers needs none.
        output: the folder for report.json and pictures; null for runs/evaluate-ARCH-SOURCES.
        arch: the model's name, where the weights do not say it.
        height: input height in pixels; null for what the checkpoint was trained with, or 256.
        width: input width in pixels; null for what the checkpoint was trained with, or 128.
        seq_len: frames in a clip; null for what the checkpoint was trained with, or 8.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, bfloat16, float16 on a GPU, or auto for bfloat16 where the device computes in it.
        seed: of samplers that draw.
        baselines: also measure a colour histogram.
        options: the model's own options, with arch.
        data: how the dataset is read.
        eval: how features are extracted and ranked.
        compute: how the model is laid out and run.
    """

    weights: str
    sources: str = "walkers"
    root: str | None = None
    output: str | None = None
    arch: str | None = None
    height: int | None = None
    width: int | None = None
    seq_len: int | None = None
    device: str = "auto"
    precision: Precision = "auto"
    seed: int = 0
    baselines: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    data: ReadConfig = field(default_factory=ReadConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    # Small enough for two cores and minutes, and from scratch: the drawings need no ImageNet. Four frames a clip, and
    # twice the clips: at the same cost a batch shows twice the tracklets, which taught PSTA more than longer clips did.
    # No weight decay: a few hundred steps learned more without it.
    "walkers": {
        "epochs": 36,
        "height": 64,
        "width": 32,
        "seq_len": 4,
        "val_identities": 4,
        "validate_every": 12,
        "model.pretrained": False,
        "data.persons": 16,
        "data.clips": 2,
        "data.crop": 1.0,
        "data.erase": 0.0,
        "data.jitter": 0.2,
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.warmup_epochs": 2,
        "optim.schedule": "cosine",
        "eval.batch": 32,
    },
}
"""What ``train`` takes by default where a dataset wants something else than the published recipe of PSTA on MARS."""


LEAST: dict[str, float] = {
    "epochs": 0,
    "seed": 0,
    "height": 16,
    "width": 16,
    "seq_len": 1,
    "validate_every": 1,
    "patience": 1,
    "checkpoint.every_steps": 1,
    "checkpoint.keep": 1,
    "data.workers": 0,
    "data.persons": 1,
    "data.clips": 1,
    "data.batches": 1,
    "data.jitter": 0,
    "data.cast": 0,
    "eval.batch": 1,
    "eval.sheet_queries": 1,
    "eval.rerank.k1": 1,
    "eval.rerank.k2": 1,
    "optim.accumulate": 1,
    "optim.backbone_lr": 0,
    "optim.weight_decay": 0,
    "optim.warmup_epochs": 0,
    "optim.triplet_weight": 0,
}


def check_ranges(config: TrainConfig | EvaluateConfig) -> None:
    """Raise :class:`UserError` for a number that no run can work with."""
    for name, least in LEAST.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is not None and not value >= least:
            raise UserError(f"{name} is {value}; expected at least {least:g}")
    joint = config.eval.joint
    for name in ("bin_width", "sigma", "gamma_appearance", "gamma_time", "lambda_appearance", "lambda_time"):
        if not 0 < getattr(joint, name) < math.inf:
            raise UserError(f"eval.joint.{name} is {getattr(joint, name)}; expected a positive number")
    if not 0 <= config.eval.rerank.lambda_value <= 1:
        raise UserError(f"eval.rerank.lambda_value is {config.eval.rerank.lambda_value}; expected 0 to 1")
    if isinstance(config, TrainConfig):
        if not config.optim.lr > 0:
            raise UserError(f"optim.lr is {config.optim.lr}; expected a positive number")
        if not 0 <= config.optim.ema < 1:
            raise UserError(f"optim.ema is {config.optim.ema}; expected 0 up to but not 1, 0.999 for example")
        if config.optim.clip_norm is not None and not config.optim.clip_norm > 0:
            raise UserError(f"optim.clip_norm is {config.optim.clip_norm}; expected a positive number, or null")
        if config.data.persons * config.data.clips < 2:
            raise UserError("a batch of 1 clip; batch norm needs at least 2: raise data.persons or data.clips")
        for name in ("crop", "flip", "erase"):
            if not 0 <= getattr(config.data, name) <= 1:
                raise UserError(f"data.{name} is {getattr(config.data, name)}; expected a probability, 0 to 1")
