"""Pictures of transit times."""

import pytest
from PIL import Image

from st_reid.retrieval import SpatialTemporalModel


@pytest.mark.parametrize(
    "passings",
    [
        (["x", "x", "x"], ["a", "b", "c"], [0, 10_000, 40_000]),
        (["x", "x"], ["a", "b"], [0, 10]),
    ],
    ids=["a network", "one pair of cameras"],
)
def test_transit_times(passings, tmp_path):
    SpatialTemporalModel.fit(*passings).plot(tmp_path / "transit.png")
    assert Image.open(tmp_path / "transit.png").width > 300
