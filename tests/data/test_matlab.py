"""Arrays of MATLAB files, beside SciPy's reader."""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from st_reid.data.datasets._matlab import load_integers
from st_reid.errors import UserError

KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_of_scipy(compressed, tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (7,), (3, 4), (0, 3), (2, 3, 4)]
    arrays = {
        f"{kind}_{'x' * i}": rng.integers(0, 100, shape).astype(kind)
        for kind in KINDS
        for i, shape in enumerate(shapes)
    }
    path = tmp_path / "a.mat"
    savemat(path, {"text": "before", **arrays}, do_compression=compressed)
    expected = loadmat(path)
    for name in arrays:
        found = load_integers(path, name, "x")
        assert found.shape == expected[name].shape
        np.testing.assert_array_equal(found, expected[name])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("hello", "it is no array of real numbers"),
        ({"b": 1}, "it is no array of real numbers"),
        (np.array([1 + 2j]), "it is no array of real numbers"),
        (np.array([1.5]), "no whole numbers"),
    ],
)
def test_what_is_no_array_of_whole_numbers(value, reason, tmp_path):
    savemat(tmp_path / "a.mat", {"a": value})
    with pytest.raises(UserError, match=f"x: .*a.mat: cannot read the array 'a' .*{reason}"):
        load_integers(tmp_path / "a.mat", "a", "x")


def test_other_names_and_other_files(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"a": 1, "b": 2})
    with pytest.raises(UserError, match="the file has a, b"):
        load_integers(path, "c", "x")
    whole = path.read_bytes()
    for content in (whole[:150], whole[:100], b"", b"x" * 300):
        path.write_bytes(content)
        with pytest.raises(UserError, match="get the file again"):
            load_integers(path, "a", "x")


def test_a_type_of_data_that_does_not_exist(tmp_path):
    """SciPy's reader ends the process."""
    path = tmp_path / "a.mat"
    savemat(path, {"a": np.arange(6)})
    content = bytearray(path.read_bytes())
    content[176:178] = b"\x4c\x00"
    path.write_bytes(content)
    with pytest.raises(UserError, match="it is no array of real numbers"):
        load_integers(path, "a", "x")
