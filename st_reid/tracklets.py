"""``python -m st_reid.tracklets``: a video and the boxes of a tracker become a tracklet dataset."""

from __future__ import annotations

from dataclasses import dataclass

from st_reid import cli
from st_reid.config import BoxesConfig, Rate, Text, Time

NAME = "python -m st_reid.tracklets"


@dataclass(kw_only=True)
class TrackletsConfig(BoxesConfig):
    """Cut the boxes of a tracker out of a video and write them as a tracklet dataset (a manifest.csv and images).

    Attributes:
        video: the video file, a folder of its frames, or a pattern such as 'img1/*.jpg'.
        tracks: its boxes, as a tracker writes them: a file of MOT's format or another, see --format.
        output: the folder of the dataset; it must not exist, or be a dataset with --append.
        identities: a CSV with columns track_id and person_id, and perhaps clothes; tracks that it does not name are
            unknown, and the person distractor is for persons who are none of the others. Without it all are unknown,
            and the dataset can be used to extract features, but not to train or to evaluate.
        camera: the camera's label.
        start_time: time of the first frame on the clock that all cameras share, in frames.
        fps: frames per second of the shared clock; by default the video's own rate.
        split: train, query, gallery, or several joined by +.
        append: add the video to the dataset in --output.
    """

    video: Text
    tracks: Text
    output: Text
    identities: Text | None = None
    camera: Text = "1"
    start_time: Time = 0
    fps: Rate | None = None
    split: Text = "query+gallery"
    append: bool = False


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(TrackletsConfig, argv, NAME)
    from st_reid.data.cutting import cut

    cut(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
