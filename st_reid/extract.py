"""``python -m st_reid.extract``: a feature for each tracklet of a dataset, of folders of images, or of videos."""

from __future__ import annotations

from dataclasses import dataclass, field

from st_reid import cli
from st_reid.config import (
    BoxesConfig,
    ComputeConfig,
    Count,
    DeviceConfig,
    Rate,
    ReadConfig,
    Seed,
    Text,
    Time,
    WeightsConfig,
)

NAME = "python -m st_reid.extract"


@dataclass(kw_only=True)
class ExtractConfig(WeightsConfig, DeviceConfig, BoxesConfig):
    """Extract a feature for each tracklet. The same command resumes where it was interrupted.

    Attributes:
        output: the file of features, .npz or .parquet; it must not exist.
        sources: the dataset's name; folders for a folder of images a tracklet, with nothing else known.
        root: the folder that holds the dataset's folder, or that folder itself.
        split: whose tracklets, train, query, gallery, or several joined by +.
        video: video files, folders of their frames, or patterns, instead of a dataset.
        tracks: the boxes of each video, as many: files of MOT's format or another, see --format.
        camera: the camera of each video, as many; null for 1, 2, ...
        start_time: when each video begins, in frames of the common clock, as many; null for 0.
        fps: frames per second of the common clock; null for each video's own rate.
        per_frame: a feature for each frame instead of each tracklet.
        thumbnails: keep a picture of each tracklet, for the contact sheets of search.
        sampler: which clips of a tracklet are averaged; all for every frame.
        batch: clips in a batch.
        seed: of random samplers.
        data: how the dataset is read.
        compute: how the model runs.
    """

    output: Text
    sources: Text = "manifest"
    root: Text | None = None
    split: Text = "query+gallery"
    video: list[Text] = field(default_factory=list)
    tracks: list[Text] = field(default_factory=list)
    camera: list[Text] | None = None
    start_time: list[Time] | None = None
    fps: Rate | None = None
    per_frame: bool = False
    thumbnails: bool = True
    sampler: Text = "all"
    batch: Count = 16
    seed: Seed = 0
    data: ReadConfig = field(default_factory=ReadConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(ExtractConfig, argv, NAME)
    from st_reid.features.extract import extract

    extract(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
