"""``python -m st_reid.search``: which of these is the same person?"""

from __future__ import annotations

from dataclasses import dataclass, field

from st_reid import cli
from st_reid.config import DeviceConfig, ExpandConfig, JointConfig, PositiveInt, Text, Time

NAME = "python -m st_reid.search"


@dataclass(kw_only=True)
class SearchConfig(DeviceConfig):
    """Search a gallery of features.

    Attributes:
        features: the gallery, a file of extract.
        query: what to look for: names of tracklets in the gallery (all for every tracklet), a file of features, an
            image of a person, or a folder of images of one person.
        output: the folder for search.json, search.csv and the contact sheet; it must not exist.
        weights: the model that the gallery was extracted with, for images as queries.
        arch: the model's name, if the weights do not contain it.
        top: how many to find for each query.
        cameras: only tracklets of these cameras.
        after: only tracklets that are seen at this time or later, in frames of the common clock.
        before: only tracklets that are seen before this time.
        other_cameras: only tracklets of other cameras than the query's.
        at_once: also tracklets that the query's camera saw at the same time as the query, so of other persons.
        transit_times: a file of fitted transit times, spatial_temporal.npz of a run, to rank by the joint score.
        query_camera: the camera of images as queries, for the joint score and other_cameras.
        query_time: the time of these images.
        calibration: a file of calibrate, to say same, unsure or nobody here.
        index: search through an index of approximate neighbours, which is built beside the features once.
        joint: constants of the joint score.
        expand: whether features are averaged with those of their neighbours; decisions are made without.
    """

    features: Text
    query: list[Text]
    output: Text
    weights: Text | None = None
    arch: Text | None = None
    top: PositiveInt = 10
    cameras: list[Text] | None = None
    after: Time | None = None
    before: Time | None = None
    other_cameras: bool = False
    at_once: bool = False
    transit_times: Text | None = None
    query_camera: Text | None = None
    query_time: Time | None = None
    calibration: Text | None = None
    index: bool = False
    joint: JointConfig = field(default_factory=JointConfig)
    expand: ExpandConfig = field(default_factory=ExpandConfig)


def main(argv: list[str]) -> None:
    """Parse and run the command."""
    config = cli.parse(SearchConfig, argv, NAME)
    from st_reid.features.search import search

    search(**vars(config))


if __name__ == "__main__":
    cli.run(main, NAME)
