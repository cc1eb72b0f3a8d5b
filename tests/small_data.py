"""Small data that the tests make themselves."""

import csv
from pathlib import Path

import cv2
import numpy as np

COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200), (200, 40, 200)]


def write_person(path: Path, color, seed: int, size=(64, 32)) -> None:
    """Write a noisy picture of one colour: who can tell colours apart knows the person."""
    rng = np.random.default_rng(seed)
    image = np.clip(np.array(color) + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_dataset(folder: Path, *, persons=6, cameras=2, frames=5, train=True) -> Path:
    """Write a manifest dataset: every person is seen by every camera, in training and test alike."""
    rows = []
    for person in range(persons):
        for camera in range(cameras):
            split = ("train+" if train else "") + ("query+gallery" if camera == 0 else "gallery")
            for frame in range(frames + person % 2):
                path = f"images/p{person}c{camera}/{frame:03d}.jpg"
                write_person(folder / path, COLORS[person % len(COLORS)], seed=person * 100 + camera * 10 + frame)
                rows.append(
                    (split, f"p{person}c{camera}", path, f"person{person}", f"cam{camera}", 100 * camera + frame)
                )
    with open(folder / "manifest.csv", "w", newline="") as f:
        csv.writer(f).writerows([("split", "tracklet", "path", "person", "camera", "time"), *rows])
    return folder
