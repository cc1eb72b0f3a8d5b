"""Whatever is changed in a file, each reader returns data or raises ``UserError``, nothing else."""

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat
from small_data import make_features

from st_reid import train
from st_reid.data.boxes import FORMATS, VideoInfo, read_boxes
from st_reid.data.cutting import read_identities
from st_reid.data.datasets._matlab import load_integers
from st_reid.data.datasets.manifest import read_folder
from st_reid.data.frames import read_frame
from st_reid.data.video import frames_of, probe
from st_reid.errors import UserError
from st_reid.evaluation.pages import write_page
from st_reid.features.calibration import Calibration
from st_reid.features.feature_set import FeatureSet
from st_reid.models.checkpoints import load_checkpoint, load_state_dict
from st_reid.models.exported import _read_about
from st_reid.retrieval import SpatialTemporalModel

TRACKERS = Path(__file__).parent / "data" / "trackers"
FEATURES = make_features(persons=2, each=2)
SEARCH = {
    "features": "x", "tracklets": 1, "searched": 1, "ranked_by": "x", "through": "y", "model": {},
    "queries": [{"query": {"tracklet": "a", "camera": "1", "time": None, "frames": 2, "person": ""}, "found": []}],
}  # fmt: skip
SIDECAR = {
    "arch": "osnet_x0_25", "height": 64, "width": 32, "seq_len": 4, "interpolation": "bilinear", "sampler": "all",
    "feature_dim": 8, "uses_time": True, "fingerprint": "abc",
}  # fmt: skip
CALIBRATION = {"same": 0.5, "unsure": 0.2, "false_accept_rate": 0.1, "about": {"fingerprint": "abc"}}


@dataclass(frozen=True)
class Format:
    """A reader, the name of its file, and a valid content."""

    name: str
    content: bytes
    read: Callable[[Path], object]


def image(suffix):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (12, 10, 3), np.uint8)).save(buffer, suffix)
    return buffer.getvalue()


def saved(write, name, tmp):
    path = tmp / name
    write(path)
    return path.read_bytes()


def boxes(name, form):
    content = (TRACKERS / name).read_bytes()
    if name.endswith("txt"):
        content = b"".join(content.splitlines(keepends=True)[:15])
    return Format(name, content, lambda p: read_boxes(p, video=VideoInfo(64, 48, 9, 25.0)) if form is None
                  else list(FORMATS[form].read(p, VideoInfo(64, 48, 9, 25.0))))  # fmt: skip


def video(path):
    probe(path)
    for _ in frames_of(path, 3):
        pass


def write_video(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 32))
    for value in (0, 100, 200):
        writer.write(np.full((32, 32, 3), value, np.uint8))
    writer.release()


def transit_times(path):
    pids, camids = np.repeat(np.arange(4), 2), np.tile(["1", "2"], 4)
    SpatialTemporalModel.fit(pids, camids, 100.0 * np.arange(8), bin_width=10, sigma=1.0).save(path)


def write_mat(path):
    savemat(path, {"a": np.arange(6)})


def formats(tmp):
    """Return the formats by their names."""
    checkpoint = {"state_dict": {"a": torch.zeros(2)}, "epoch": 3, "model": {"name": "x"}, "rank1": np.float64(0.5)}
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    found = {
        suffix: Format(f"x.{suffix}", image(suffix), read_frame) for suffix in ("jpeg", "png", "bmp", "webp", "tiff")
    }
    found |= {
        "mot": boxes("bytetrack.txt", None),
        "header": boxes("header.csv", None),
        "kitti": boxes("kitti.txt", "kitti"),
        "norfair": boxes("norfair_bad_boxes.txt", None),
        "supervision csv": boxes("supervision_csv_sink.csv", "supervision-csv"),
        "supervision json": boxes("supervision_json_sink.json", "supervision-json"),
        "cvat": boxes("cvat_video.xml", "cvat"),
        "ultralytics": Format("v_1.txt", b"0 0.5 0.5 0.2 0.4 7\n0 0.1 0.2 0.1 0.2 8\n",
                              lambda p: read_boxes(p.parent, video=VideoInfo(64, 48, 9, 25.0))),
        "identities": Format("i.csv", b"track_id,person_id\n1,ann\n2,bob\n", read_identities),
        "manifest": Format("manifest.csv", b"split,tracklet,path,person,camera,time\nquery+gallery,t1,a/b.jpg,ann,1,5\n"
                           b"train,t2,a/c.jpg,bob,2,\n", lambda p: read_folder(p.parent, "manifest")),
        "calibration": Format("c.json", json.dumps(CALIBRATION).encode(), lambda p: Calibration.load(p, FEATURES)),
        "search": Format("search.json", json.dumps(SEARCH).encode(), lambda p: write_page(p.parent)),
        "sidecar": Format("m.json", json.dumps(SIDECAR).encode(), _read_about),
        "config": Format("c.yaml", b"arch: psta\nepochs: 3\noptim: {lr: 0.1, milestones: [3, 5]}\nroot: null\n",
                         lambda p: train.parse(["--config", str(p)])),
        "npz": Format("f.npz", saved(FEATURES.save, "f.npz", tmp), FeatureSet.load),
        "parquet": Format("f.parquet", saved(FEATURES.save, "f.parquet", tmp), FeatureSet.load),
        "transit times": Format("s.npz", saved(transit_times, "s.npz", tmp), SpatialTemporalModel.load),
        "safetensors": Format("w.safetensors", save({"a": torch.zeros(4)}, {"model": '{"n": 1}'}), load_checkpoint),
        "pth": Format("w.pth", buffer.getvalue(), load_state_dict),
        "mat": Format("x.mat", saved(write_mat, "x.mat", tmp),
                      lambda p: load_integers(p, "a", "mars")),
        "video": Format("v.avi", saved(write_video, "v.avi", tmp), video),
    }  # fmt: skip
    return found


NAMES = [
    "jpeg", "png", "bmp", "webp", "tiff", "mot", "header", "kitti", "norfair", "supervision csv", "supervision json",
    "cvat", "ultralytics", "identities", "manifest", "calibration", "search", "sidecar", "config", "npz", "parquet",
    "transit times", "safetensors", "pth", "mat", "video",
]  # fmt: skip


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    found = formats(tmp_path_factory.mktemp("whole"))
    assert sorted(found) == sorted(NAMES)
    return found


@st.composite
def mutated(draw, content):
    """Change content in one to four places: a bit, a cut, bytes put in, bytes repeated, two parts exchanged."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
        how = draw(st.sampled_from(("flip", "set", "cut", "end", "insert", "repeat", "swap")))
        if how == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "set" and at < len(data):
            data[at] = draw(st.sampled_from(b"\x00\xff\x7f\x800-9.,;\"'[{<\n"))
        elif how == "cut":
            del data[at : min(end, at + 40)]
        elif how == "end":
            del data[at:]
        elif how == "insert":
            data[at:at] = draw(st.sampled_from((b"nan", b"1e999", b"\xff\xfe", b"-1", b"null", b"\x00" * 4, b"9" * 30)))
        elif how == "repeat":
            data[at:at] = data[at : min(end, at + 40)] * draw(st.integers(1, 3))
        elif how == "swap":
            middle = (at + end) // 2
            data[at:end] = data[middle:end] + data[at:middle]
    return bytes(data)


def check(form, count, folder):
    path = folder / form.name
    path.write_bytes(form.content)
    form.read(path)  # the whole one

    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(content=mutated(form.content))
    def data_or_user_error(content):
        path.write_bytes(content)
        with suppress(UserError):
            form.read(path)

    data_or_user_error()


@pytest.mark.parametrize("name", NAMES)
def test_a_few_changes(name, readers, tmp_path):
    check(readers[name], 50, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_changes(name, readers, tmp_path):
    check(readers[name], 2000, tmp_path)
