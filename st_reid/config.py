"""Every setting of the command lines, with its default: the one place where defaults live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import wraps
from math import inf
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from st_reid.errors import UserError
from st_reid.files import write_text

C = TypeVar("C", bound=type)
Precision = Literal["auto", "float32", "bfloat16", "float16"]
ProtocolName = Literal[
    "standard", "clothes_changing", "same_clothes", "other_location", "same_location", "other_scale", "same_scale",
    "aerial_to_ground", "ground_to_aerial", "aerial_to_aerial",
]  # fmt: skip

# For jsonargparse a number with a range is a class of its own; for type checkers it is a plain number. It also reads
# the body of `if TYPE_CHECKING`, so the condition must be negated.
if not TYPE_CHECKING:
    from jsonargparse.typing import ClosedUnitInterval as Share
    from jsonargparse.typing import OpenUnitInterval as OpenShare
    from jsonargparse.typing import restricted_number_type, restricted_string_type

    # Larger numbers than these are slips, and would end in an overflow or without memory.
    PositiveInt = restricted_number_type("1<=int<=10**9", int, [(">=", 1), ("<=", 10**9)])
    NonNegativeInt = restricted_number_type("0<=int<=10**9", int, [(">=", 0), ("<=", 10**9)])
    Pixels = restricted_number_type("16<=int<=4096", int, [(">=", 16), ("<=", 4096)])
    Count = restricted_number_type("1<=int<=65536", int, [(">=", 1), ("<=", 65536)])
    Workers = restricted_number_type("0<=int<=1024", int, [(">=", 0), ("<=", 1024)])
    Opset = restricted_number_type("18<=int<=100", int, [(">=", 18), ("<=", 100)])
    Time = restricted_number_type("abs(float)<=1e15", float, [(">=", -1e15), ("<=", 1e15)])
    Rate = restricted_number_type("0.001<=float<=1e6", float, [(">=", 0.001), ("<=", 1e6)])
    Strength = restricted_number_type("0<=float<=10", float, [(">=", 0), ("<=", 10)])
    Text = restricted_string_type("Text", r"^[^\x00]+$")
    Device = restricted_string_type("Device", r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$")
    Seed = restricted_number_type("0<=int<2**64", int, [(">=", 0), ("<", 2**64)])
    Positive = restricted_number_type("float>0", float, [(">", 0), ("<", inf)])
    NonNegative = restricted_number_type("float>=0", float, [(">=", 0), ("<", inf)])
    ShareBelowOne = restricted_number_type("0<=float<1", float, [(">=", 0), ("<", 1)])
    Cosine = restricted_number_type("-1<=float<=1", float, [(">=", -1), ("<=", 1)])
    # Not Any: with it, jsonargparse would import and build any class that a file names.
    Options = dict[str, bool | int | float | str | list | dict | None]
else:
    PositiveInt = int
    NonNegativeInt = int
    Count = int
    Workers = int
    Time = float
    Rate = float
    Strength = float
    Text = str
    Device = str
    Pixels = int
    Opset = int
    Seed = int
    Positive = float
    NonNegative = float
    Share = float
    OpenShare = float
    ShareBelowOne = float
    Cosine = float
    Options = dict[str, Any]

_EXPECTED: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "names with values, such as {dim: 512}",
    NoneType: "null",
    PositiveInt: "a whole number of at least 1 and at most 10**9",
    NonNegativeInt: "a whole number of at least 0 and at most 10**9",
    Pixels: "a whole number of at least 16 and at most 4096",
    Count: "a whole number of at least 1 and at most 65536",
    Workers: "a whole number of at least 0 and at most 1024",
    Opset: "a whole number of at least 18 and at most 100",
    Time: "a number of -1e15 to 1e15",
    Rate: "a number of 0.001 to 1e6",
    Strength: "a number of 0 to 10",
    Text: "a text that is not empty and has no null byte",
    Device: "one of auto, cpu, cuda, cuda:1, mps, xpu",
    Seed: "a whole number of at least 0 and less than 2**64",
    Positive: "a positive number",
    NonNegative: "a number of at least 0",
    Share: "a number of 0 to 1",
    OpenShare: "a number of more than 0 and less than 1",
    ShareBelowOne: "a number of 0 up to but not 1",
    Cosine: "a number of -1 to 1",
}


def expected(kind: Any) -> str:
    """Describe the values that a setting of this type takes, for error messages."""
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ", or ".join(map(expected, kinds))
    if origin is Literal:
        return f"one of {', '.join(kinds)}"
    if origin is list:
        return f"a list, each {expected(kinds[0])}"
    return _EXPECTED.get(origin or kind, "its settings, such as {name: value}")


def _remembers_given(config_class: C) -> C:
    """Make a dataclass record in ``given`` which of its fields the caller has set."""
    initialize = config_class.__init__  # type: ignore[misc]

    @wraps(initialize)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        names = [f.name for f in fields(config_class) if not f.kw_only]  # type: ignore[arg-type]
        self.given = {*names[: len(args)], *kwargs}
        initialize(self, *args, **kwargs)

    config_class.__init__ = remember  # type: ignore[misc]
    return config_class


@dataclass(kw_only=True)
class WeightsConfig:
    """Which model, and what its clips are like.

    Attributes:
        weights: a checkpoint of a training run, or an exported MODEL.onnx; or, with arch, a state dict or a checkpoint
            of torchreid or of the original code.
        arch: the model's name, if the weights do not contain it.
        options: the model's own options, with arch.
        height: input height in pixels; null for what the checkpoint was trained with, or 256.
        width: input width in pixels; null for what the checkpoint was trained with, or 128.
        seq_len: frames in a clip; null for what the checkpoint was trained with, or 8.
    """

    weights: Text
    arch: Text | None = None
    options: Options = field(default_factory=dict)
    height: Pixels | None = None
    width: Pixels | None = None
    seq_len: Count | None = None


@dataclass(kw_only=True)
class BoxesConfig:
    """How a tracker's file of boxes is read.

    Attributes:
        format: mot, mot-corners (right and bottom instead of sizes), kitti, ultralytics (a folder of save_txt),
            supervision-csv, supervision-json or cvat; auto recognises it by the content of the file.
        classes: the classes to keep, as written in the file; null for persons, if the file has classes.
        first_frame: number of the video's first frame in the file; null for the format's own.
        min_confidence: drop boxes of a lower confidence, keep those without one; null drops those of confidence 0.
        strict: stop at a box that would be dropped: one without size, outside the frame, or after the video's end; and
            at gaps in the numbers of images.
    """

    format: Text = "auto"
    classes: list[Text] | None = None
    first_frame: NonNegativeInt | None = None
    min_confidence: Share | None = None
    strict: bool = False


@dataclass(kw_only=True)
class DeviceConfig:
    """Where and in which precision a model runs.

    Attributes:
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, bfloat16, float16 on a GPU, or auto for bfloat16 if the device supports it.
    """

    device: Device = "auto"
    precision: Precision = "auto"


@_remembers_given
@dataclass
class ModelConfig:
    """Settings of the model, besides its name.

    Attributes:
        loss: softmax for cross entropy alone, triplet to add the triplet loss.
        pretrained: true for a backbone with ImageNet's weights, which are downloaded; false for random ones; or the
            path of a checkpoint.
        options: the model's own options, such as {dim: 512}.
    """

    loss: Literal["softmax", "triplet"] = "triplet"
    pretrained: bool | Text = True
    options: Options = field(default_factory=dict)


@dataclass
class ReadConfig:
    """How a dataset is read.

    Attributes:
        options: the dataset reader's own options, such as {queries_in_gallery: false}.
        workers: processes that read images; with 0 the main process reads them.
        on_bad_image: stop at an image that cannot be read, or skip to the nearest readable one of its tracklet.
        follow_links: take images that links lead to outside of the dataset's folder; otherwise they are an error.
        interpolation: how images are resized, in training and in tests; null for what the checkpoint was trained with,
            or bilinear.
    """

    options: Options = field(default_factory=dict)
    workers: Workers = 2
    on_bad_image: Literal["stop", "skip"] = "stop"
    follow_links: bool = False
    interpolation: Literal["bilinear", "bicubic"] | None = None


@_remembers_given
@dataclass
class DataConfig(ReadConfig):
    """How a dataset is read, and which training clips are drawn.

    Attributes:
        sampler: how a training clip is drawn from its tracklet.
        persons: identities in a training batch, P; if several processes train, in all of them together.
        clips: clips of each identity, K.
        batches: batches per epoch; null for each identity once.
        crop: probability that a training clip is cropped.
        flip: probability that it is mirrored.
        erase: probability that a rectangle of it is erased.
        jitter: strength of a random change of its brightness, contrast and saturation.
        cast: strength of a random change of its white balance, red, green and blue separately.
    """

    sampler: Text = "random_interval"
    persons: Count = 8
    clips: Count = 4
    batches: PositiveInt | None = None
    crop: Share = 0.0
    flip: Share = 0.5
    erase: Share = 0.5
    jitter: Strength = 0.0
    cast: Strength = 0.0


@_remembers_given
@dataclass
class OptimConfig:
    """The optimizer, the learning rate and the loss.

    Attributes:
        name: adam, adamw (with decoupled weight decay), or sgd (with Nesterov momentum 0.9).
        lr: learning rate after the warm-up.
        backbone_lr: factor on lr for the backbone.
        weight_decay: L2 penalty; with adamw, each step shrinks the weights by this times the learning rate.
        warmup_epochs: epochs of linear warm-up from a hundredth of lr.
        schedule: steps multiplies lr by gamma at the milestones; cosine lowers it to zero along a cosine.
        milestones: epochs at which steps multiplies lr by gamma.
        gamma: the factor at each milestone.
        label_smoothing: of the cross entropy.
        margin: of the triplet loss.
        triplet_weight: weight of the triplet loss; the cross entropy has weight 1.
        levels: mean or sum of the losses of a model with several levels or parts.
        accumulate: batches whose gradients are averaged for one step; the triplets are mined within each batch.
        clip_norm: the largest norm of the gradient, longer ones are scaled down to it; null for no limit.
        ema: decay of an exponential moving average of the weights, which is then evaluated; 0 for none. It averages
            over about 1 / (1 - ema) steps.
        freeze_batchnorm: normalise by the stored running statistics, and do not update them.
        sync_batchnorm: compute the statistics over the clips of all processes; on GPUs only.
        on_bad_loss: stop at a loss or gradient that is not finite, or skip the step.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 3.5e-4
    backbone_lr: NonNegative = 1.0
    weight_decay: NonNegative = 5e-4
    warmup_epochs: NonNegative = 10
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: list[NonNegative] = field(default_factory=lambda: [70, 140, 210, 310, 410])
    gamma: Positive = 0.3
    label_smoothing: ShareBelowOne = 0.1
    margin: NonNegative = 0.3
    triplet_weight: NonNegative = 1.0
    levels: Literal["mean", "sum"] = "mean"
    accumulate: PositiveInt = 1
    clip_norm: Positive | None = None
    ema: ShareBelowOne = 0.0
    freeze_batchnorm: bool = False
    sync_batchnorm: bool = False
    on_bad_loss: Literal["stop", "skip"] = "stop"


@dataclass
class ComputeConfig:
    """How a model runs; these settings do not change the result.

    Attributes:
        compile: compile the model with torch.compile, which first takes minutes; on a CPU it needs a C++ compiler.
        channels_last: store convolutions with their channels last in memory, which is usually faster.
    """

    compile: bool = False
    channels_last: bool = True


@dataclass
class CheckpointConfig:
    """When checkpoints are written.

    Attributes:
        every_steps: optimisation steps between checkpoints within an epoch; null for one at the end of each epoch.
        keep: how many of the last checkpoints are kept.
    """

    every_steps: PositiveInt | None = None
    keep: PositiveInt = 2


@dataclass
class JointConfig:
    """How appearance is joined with where and when; the constants are those of ST-ReID and belong together.

    Attributes:
        use: auto also ranks by the joint metric if every tracklet has a time; always stops with an error if one has
            no time; never does not use it.
        model: a file of fitted transit times, such as spatial_temporal.npz of a training run; null fits them on the
            dataset's training tracklets.
        bin_width: width of a bin of transit times, in the unit of the times.
        sigma: of the smoothing, in bins.
        lambda_appearance: of the logistic of the similarity.
        gamma_appearance: of the logistic of the similarity.
        lambda_time: of the logistic of the transit time's probability.
        gamma_time: of the logistic of the transit time's probability.
        choose: choose sigma and gamma_time by cross-validation on the training identities.
    """

    use: Literal["auto", "always", "never"] = "auto"
    model: Text | None = None
    bin_width: Positive = 100.0
    sigma: Positive = 50.0
    lambda_appearance: Positive = 1.0
    gamma_appearance: Positive = 5.0
    lambda_time: Positive = 2.0
    gamma_time: Positive = 5.0
    choose: bool = False


@dataclass
class RerankConfig:
    """Re-ranking by k-reciprocal neighbours.

    Attributes:
        use: whether to report every ranking also after re-ranking.
        k1: neighbours that may be reciprocal; null for 1.5 times the number of tracklets that a person has in the
            gallery, but at most the published 20.
        k2: neighbours whose sets are averaged; null for 0.3 k1.
        lambda_value: weight of the original distance.
    """

    use: bool = False
    k1: PositiveInt | None = None
    k2: PositiveInt | None = None
    lambda_value: Share = 0.3


@dataclass
class ExpandConfig:
    """Averaging features with their nearest neighbours before they are ranked.

    Attributes:
        queries: nearest gallery tracklets that a query is averaged with; 0 for none.
        gallery: nearest gallery tracklets that a gallery tracklet is averaged with; 0 for none.
    """

    queries: NonNegativeInt = 0
    gallery: NonNegativeInt = 0


@_remembers_given
@dataclass
class EvalConfig:
    """How features are extracted and ranked.

    Attributes:
        sampler: which clips of a tracklet are averaged; all for every frame.
        frames: ordered as they were taken; shuffled within their tracklet before clips are cut; separate, so that a
            clip is one frame; or one, the middle frame of a tracklet.
        batch: clips in a batch.
        junk: gallery items left out for a query, same_camera (of its person and camera) or same_tracklet (itself);
            auto takes same_camera where the gallery has two cameras or more.
        protocol: what is junk of the query's person besides: nothing (standard), what is in the query's clothes
            (clothes_changing), or in others (same_clothes); likewise for locations and scales. aerial_to_ground and its
            like take the queries and the gallery of these views.
        also: other protocols, whose figures by appearance are reported too.
        unknown: how a gallery tracklet of an unknown person counts: junk (left out), or wrong (as distractors are).
        ap: step for average precision as in torchreid, trapezoid for ST-ReID's protocol.
        sheet_queries: queries on the contact sheet.
        joint: how appearance is joined with where and when.
        rerank: whether and how rankings are re-ranked.
        expand: whether features are averaged with those of their neighbours.
    """

    sampler: Text = "all"
    frames: Literal["ordered", "shuffled", "separate", "one"] = "ordered"
    batch: Count = 16
    junk: Literal["auto", "same_camera", "same_tracklet"] = "auto"
    protocol: ProtocolName = "standard"
    also: list[ProtocolName] = field(default_factory=list)
    unknown: Literal["junk", "wrong"] = "junk"
    ap: Literal["step", "trapezoid"] = "step"
    sheet_queries: PositiveInt = 10
    joint: JointConfig = field(default_factory=JointConfig)
    rerank: RerankConfig = field(default_factory=RerankConfig)
    expand: ExpandConfig = field(default_factory=ExpandConfig)


@_remembers_given
@dataclass
class TrainConfig(DeviceConfig):
    """Train a model, evaluate it, and write the run's folder.

    Settings that are not given come from ``DATASET_DEFAULTS`` for this dataset, or else from the defaults below.

    Attributes:
        arch: the model's name.
        sources: the dataset's name.
        targets: another dataset to test on, read with its reader's defaults; null for the one trained on.
        target_root: the folder of that dataset; null for root.
        root: the folder that holds the dataset's folder, or that folder itself; walkers needs none.
        output: the run's folder; null for runs/ARCH-SOURCES-seedSEED.
        resume: folder or checkpoint of the run to resume; its settings are used.
        epochs: passes over the training identities.
        seed: of all random numbers.
        height: input height in pixels.
        width: input width in pixels.
        seq_len: frames in a clip.
        val_identities: training identities kept for choosing the best epoch, 0 for none; null for a tenth of them.
        validate_every: epochs between validations.
        patience: stop after this many validations without improvement; null for never.
        baselines: also measure a colour histogram, the untrained model, and the trained one with one frame of each
            tracklet and with shuffled frames.
        model: settings of the model, besides its name.
        data: how the dataset is read, and which training clips are drawn.
        optim: the optimizer, the learning rate and the loss.
        eval: how features are extracted and ranked.
        compute: how the model runs.
        checkpoint: when checkpoints are written.
    """

    arch: Text = "psta"
    sources: Text = "walkers"
    targets: Text | None = None
    target_root: Text | None = None
    root: Text | None = None
    output: Text | None = None
    resume: Text | None = None
    epochs: NonNegativeInt = 500
    seed: Seed = 0
    height: Pixels = 256
    width: Pixels = 128
    seq_len: Count = 8
    val_identities: NonNegativeInt | None = None
    validate_every: PositiveInt = 10
    patience: PositiveInt | None = None
    baselines: bool = True
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for name, value in DATASET_DEFAULTS.get(self.sources, {}).items():
            *groups, last = name.split(".")
            owner: Any = self
            for group in groups:
                owner = getattr(owner, group)
            if last not in owner.given:
                setattr(owner, last, value)


DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    # Small enough for two cores and a few minutes, and without pretrained weights, which the drawings do not need.
    # Clips have four frames, and a batch twice the clips: at the same cost a batch has twice the tracklets, and PSTA
    # learned more from that than from longer clips. No weight decay: a few hundred steps learned more without it.
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
"""The defaults of ``train`` for datasets that need other settings than the published recipe of PSTA on MARS."""


def check_combinations(config: TrainConfig) -> None:
    """Raise :class:`UserError` for settings that are valid alone, but not together."""
    if config.data.persons * config.data.clips < 2:
        raise UserError("a batch of 1 clip; batch norm needs at least 2: raise data.persons or data.clips")


def write_config(config: Any, folder: Path) -> None:
    """Write settings, a dataclass or a mapping that contains dataclasses, as ``config.yaml`` for ``--config``."""
    settings = dict(config if isinstance(config, Mapping) else asdict(config))
    settings.pop("resume", None)  # a new run with these settings is not a resumed one
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            settings[name] = asdict(value)
    write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), folder / "config.yaml")
