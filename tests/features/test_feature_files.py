"""Files of features: what is not of their form is refused with one line, and files of earlier versions are read."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from small_data import make_features

from st_reid.errors import UserError
from st_reid.features.feature_set import ARRAYS, FeatureSet

GOOD = make_features(persons=2, each=2)
COLUMNS = {name: getattr(GOOD, name) for name in ARRAYS}
ABOUT = json.dumps(GOOD.about)
TABLE = {
    **{name: pa.array(COLUMNS[name]) for name in ARRAYS if name != "features"},
    "feature": pa.array(GOOD.features.tolist(), pa.list_(pa.float32())),
}


def written(path, changes, about=ABOUT):
    """Write features with other columns, or without those that are ``None``, in the format of the suffix."""
    if path.suffix == ".npz":
        np.savez(path, **{k: v for k, v in (COLUMNS | {"about": np.array(about)} | changes).items() if v is not None})
    else:
        columns = {k: v for k, v in (TABLE | changes).items() if v is not None}
        metadata = None if about is None else {"about": about}
        pyarrow.parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def refused(path, *needed):
    with pytest.raises(UserError) as caught:
        FeatureSet.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for text in (str(path), *needed):
        assert text in message


def same(a, b):
    assert a.about == b.about
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"features": GOOD.features[:, :0]}, "4 tracklets of 0 numbers"),
        ({"features": GOOD.features[:3]}, "tracklet: 4 along N; expected 3, as in features"),
        ({"features": GOOD.features.ravel()}, "features: shape (64,); expected (N, D)"),
        ({"features": GOOD.features.astype(str)}, "expected numbers"),
        ({"features": GOOD.features * np.nan}, "features: nan at [0, 0]"),
        ({"features": GOOD.features.astype(np.float64) * 1e300}, "expected finite numbers"),
        ({"features": GOOD.features.astype(complex)}, "complex128"),
        ({"person": GOOD.person[:, None]}, "person: shape (4, 1)"),
        ({"person": np.array([1.5, 2, 3, 4])}, "person: float64"),
        ({"time": np.array(["noon"] * 4)}, "time: <U4"),
        ({"time": np.array([0, 1, np.inf, 2])}, "time: inf at [2]"),
        ({"frames": np.array([1.0, 2, 3, 4])}, "frames: float64"),
        ({"frames": np.array([1, 2, -3, 4])}, "frames: -3"),
        ({"split": np.array(["query+everything"] * 4)}, "with 'everything'"),
        ({"conditions": np.array(['{"view": 3}'] * 4)}, "conditions, [...]: expected str, got int"),
        ({"clothes": np.array([1.5] * 4)}, "clothes: float64"),
        ({"last": np.zeros(2)}, "last: 2 along N; expected 4"),
        ({"camera": None}, "camera missing"),
        ({"about": np.array(3)}, "about: int64"),
        ({"about": np.array("[]")}, "about: expected object, got array"),
        ({"about": np.array("{")}, "about is no JSON"),
        ({"about": np.array('{"fingerprint": 3}')}, "about, fingerprint: expected str, got int"),
        ({"about": np.array('{"height": "tall"}')}, "about, height: expected int | null, got str"),
        ({"thumbnails": np.zeros((4, 64, 96), np.uint8)}, "thumbnails: shape"),
        ({"thumbnails": np.zeros((4, 64, 96, 3))}, "thumbnails: float64"),
    ],
)
def test_arrays_that_are_no_features(changes, needed, tmp_path):
    refused(written(tmp_path / "f.npz", changes), needed)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"feature": pa.array([[1.0, 2.0], [3.0], [4.0, 5.0, 6.0], [7.0, 8.0]])}, "lists of 1, 2, 3 numbers"),
        ({"feature": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], None])}, "1 of them empty"),
        ({"feature": pa.array([[1.0, 2.0], [3.0, None], [5.0, 6.0], [7.0, 8.0]])}, "1 of them empty"),
        ({"feature": pa.array([[]] * 4, pa.list_(pa.float32()))}, "4 tracklets of 0 numbers"),
        ({"feature": pa.array([1.0, 2.0, 3.0, 4.0])}, "of type double; expected a list"),
        ({"feature": pa.array([["a"]] * 4)}, "expected numbers"),
        ({"feature": pa.array([[[1.0]]] * 4)}, "cannot be read|expected numbers"),
        ({"person": pa.array(["a", None, "b", "c"])}, "person has 1 empty entries"),
        ({"person": pa.array([1.5, 2.0, 3.0, 4.0])}, "person is of type double"),
        ({"time": pa.array([0, 1, 2, 3], pa.timestamp("s"))}, "time: datetime64"),
        ({"time": pa.array(["0", "1", "2", "3"])}, "time: object"),
        ({"frames": pa.array([1, None, 2, 3])}, "frames: float64"),
        ({"thumbnail": pa.array([b"123"] * 4)}, "cannot be read"),
        ({"thumbnail": pa.array([None] * 4, pa.binary())}, "cannot be read"),
        ({"feature": None}, "features missing"),
    ],
)
def test_tables_that_are_no_features(changes, needed, tmp_path):
    path = written(tmp_path / "f.parquet", changes)
    with pytest.raises(UserError) as caught:
        FeatureSet.load(path)
    assert any(text in str(caught.value) for text in needed.split("|")), str(caught.value)
    assert str(path) in str(caught.value)


def test_a_table_without_its_metadata(tmp_path):
    refused(written(tmp_path / "f.parquet", {}, about=None), "metadata 'about' missing")


def test_what_others_may_write(tmp_path):
    """Other types of columns that say the same: numbers for texts, categories, large and variable lists, a slice."""
    expected = FeatureSet(**COLUMNS | {"person": np.array(["7", "7", "9", "9"])}, about=GOOD.about)
    people = np.array([7, 7, 9, 9])
    same(FeatureSet.load(written(tmp_path / "a.npz", {"person": people})), expected)
    cameras = pa.array(GOOD.camera.tolist()).dictionary_encode()
    longer = pa.array([[0.0] * 16, *GOOD.features.tolist()], pa.large_list(pa.float64()))
    changes = {"person": pa.array(people), "camera": cameras, "feature": longer[1:]}
    same(FeatureSet.load(written(tmp_path / "a.parquet", changes)), expected)
    same(
        FeatureSet.load(
            written(tmp_path / "b.parquet", changes | {"feature": longer[1:].cast(pa.list_(pa.float32(), 16))})
        ),
        expected,
    )


def test_files_of_the_first_version_have_neither_split_nor_last_time(tmp_path):
    old = dict.fromkeys(("split", "last", "clothes", "conditions"))
    for suffix in (".npz", ".parquet"):
        loaded = FeatureSet.load(written(tmp_path / f"old{suffix}", old))
        assert set(loaded.split) == {"query+gallery"}
        assert loaded.last.tolist() == (GOOD.time + GOOD.frames - 1).tolist()


def test_a_missing_time_is_nan_in_both_formats(tmp_path):
    time = [0.0, None, 2.0, 3.0]
    npz = FeatureSet.load(written(tmp_path / "f.npz", {"time": np.array(time, float)}))
    table = FeatureSet.load(written(tmp_path / "f.parquet", {"time": pa.array(time)}))
    for loaded in (npz, table):
        assert np.isnan(loaded.time).tolist() == [False, True, False, False]
