"""Where a model runs, and in which precision."""

import pytest

from st_reid.errors import UserError
from st_reid.runtime.compute import Compute


def test_an_unknown_device():
    with pytest.raises(UserError, match="device 'gpu' cannot be used"):
        Compute.choose("gpu")


def test_float16_is_for_gpus():
    with pytest.raises(UserError, match="precision float16 needs a GPU, and the device is cpu"):
        Compute.choose("cpu", "float16")
