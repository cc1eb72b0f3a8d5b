"""Small data that the tests make themselves."""

import csv
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from st_reid.features.feature_set import FeatureSet

COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200), (200, 40, 200)]


def write_person(path: Path, color, seed: int, size=(64, 32)) -> None:
    """Write a noisy picture of one colour: who can tell colours apart knows the person."""
    rng = np.random.default_rng(seed)
    image = np.clip(np.array(color) + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_dataset(folder: Path, *, persons=6, cameras=2, frames=5, train=True, apart=0) -> Path:
    """Write a manifest dataset: every person is seen by every camera, in training and test alike.

    Of more than six persons some have the same colour; each passes ``apart`` frames after the one before.
    """
    rows = []
    for person in range(persons):
        for camera in range(cameras):
            split = ("train+" if train else "") + ("query+gallery" if camera == 0 else "gallery")
            for frame in range(frames + person % 2):
                path = f"images/p{person}c{camera}/{frame:03d}.jpg"
                write_person(folder / path, COLORS[person % len(COLORS)], seed=person * 100 + camera * 10 + frame)
                time = apart * person + 100 * camera + frame
                rows.append((split, f"p{person}c{camera}", path, f"person{person}", f"cam{camera}", time))
    with open(folder / "manifest.csv", "w", newline="") as f:
        csv.writer(f).writerows([("split", "tracklet", "path", "person", "camera", "time"), *rows])
    return folder


def write_image(path: Path, value: int, mode: str = "RGB", size=(16, 32)) -> Path:
    """Write an image (width, height) of one colour, which ``value`` gives."""
    Image.new("RGB", size, (value, value // 2, 255 - value)).convert(mode).save(path)
    return path


def cut(path: Path, keep: float) -> Path:
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    return path


def make_features(persons=8, each=4, noise=0.3, seed=0, cameras=2):
    """Features of persons who differ, with noise; of every person the tracklets take turns between cameras."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(persons), each)
    features = rng.normal(size=(persons, 16))[person] + noise * rng.normal(size=(persons * each, 16))
    n = len(person)
    return FeatureSet(
        features=features.astype(np.float32),
        tracklet=np.array([f"t{i}" for i in range(n)]),
        person=np.array([f"p{p}" for p in person]),
        camera=np.array([str(i % cameras) for i in range(n)]),
        time=1000.0 * np.arange(n),
        frames=np.full(n, 10),
        about={"fingerprint": "abc"},
    )
