"""What the tests of data share."""

import pytest
from small_data import write_image

from st_reid.data.tracklet import Tracklet


@pytest.fixture
def tracklets(tmp_path):
    """Four persons with two tracklets each, of 3 to 10 frames; frame i of tracklet t is of colour 20 t + i."""
    made = []
    for t in range(8):
        paths = tuple(write_image(tmp_path / f"{t}_{i}.png", 20 * t + i) for i in range(3 + t))
        made.append(Tracklet(f"t{t}", paths, f"person{t // 2}", f"camera{t % 2}"))
    return made
