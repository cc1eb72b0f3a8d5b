"""Who sees them: the cameras, their backgrounds, and the times at which persons pass them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from st_reid.data.datasets._walkers import random
from st_reid.data.datasets._walkers.people import Color

# Where the cameras stand along the way, in units of TRANSIT: a Golomb ruler, whose marks all lie differently far apart.
# So the mean transit times of any two pairs of cameras are at least TRANSIT frames apart.
MARKS = (0, 1, 4, 9, 11)
TRANSIT = 6000
SPREAD = 500.0  # standard deviation of a passing time, in frames; of a transit time sqrt(2) times as much
RECORDING = 100_000  # persons set out at any time in so many frames
VIEWS = (20.0, 95.0, 200.0, 145.0, 300.0)  # degrees


@dataclass(frozen=True)
class Camera:
    """A camera.

    Attributes:
        index: number of the camera.
        angle: from where it sees those who walk in the usual direction: 0 from the front, pi/2 from their right.
        pitch: by how much it looks down.
        size: height of a person in its boxes, as a part of the box.
        gain: colour cast and light, a factor for each of R, G, B.
        gamma: exponent of its tone curve.
        noise: standard deviation of its noise, in grey levels.
        blur: standard deviation of its defocus, in pixels of a box.
        smear: how strongly movement blurs, in pixels of a box.
        quality: of its JPEG compression.
        background: what it sees without persons (H, W, 3) uint8, wider than a box.
    """

    index: int
    angle: float
    pitch: float
    size: float
    gain: tuple[float, float, float]
    gamma: float
    noise: float
    blur: float
    smear: float
    quality: int
    background: np.ndarray

    @property
    def name(self) -> str:
        """The label in the manifest."""
        return f"c{self.index + 1}"


def make_cameras(seed: int, height: int) -> list[Camera]:
    """Draw the cameras; their backgrounds are ``height`` pixels high."""
    return [_make_camera(random(seed, "camera", index), index, height) for index in range(len(MARKS))]


def _make_camera(rng: np.random.Generator, index: int, height: int) -> Camera:
    cast = rng.uniform(0.92, 1.08, 3)
    r, g, b = (float(c) for c in cast / cast.mean() * rng.uniform(0.85, 1.12))
    return Camera(
        index=index,
        angle=float(np.deg2rad(VIEWS[index] + rng.uniform(-10, 10))),
        pitch=float(rng.uniform(0.05, 0.35)),
        size=float(rng.uniform(0.78, 0.9)),
        gain=(r, g, b),
        gamma=float(rng.uniform(0.9, 1.15)),
        noise=float(rng.uniform(2.0, 6.0)),
        blur=float(rng.uniform(0.2, 0.7)),
        smear=float(rng.uniform(1.0, 4.0)),
        quality=int(rng.integers(65, 90)),
        background=_background(rng, height),
    )


def _background(rng: np.random.Generator, height: int) -> np.ndarray:
    """Draw a street: a wall with windows and signs over a paved floor (height, 4 * height, 3)."""
    width = 4 * height

    def grey(low: int, high: int) -> Color:
        r, g, b = (int(c) for c in np.clip(rng.integers(low, high) + rng.integers(-6, 7, 3), 0, 255))
        return r, g, b

    image = np.empty((height, width, 3), np.uint8)
    floor = int(height * rng.uniform(0.45, 0.7))
    image[:floor], image[floor:] = grey(110, 180), grey(100, 170)
    for _ in range(int(rng.integers(12, 24))):
        x, y = int(rng.integers(width)), int(rng.integers(-height // 8, floor - height // 10))
        w, h = int(rng.integers(height // 12, height // 3)), int(rng.integers(height // 10, height // 2))
        vivid: Color = tuple(int(c) for c in rng.integers(30, 220, 3))  # type: ignore[assignment]
        color = vivid if rng.random() < 0.15 else grey(40, 230)
        cv2.rectangle(image, (x, y), (x + w, min(y + h, floor)), color, -1)
    line = grey(60, 160)
    for x in range(0, width, int(rng.integers(height // 6, height // 3))):
        cv2.line(image, (x, floor), (int(x + 0.4 * (x - width / 2)), height), line, 1, cv2.LINE_AA)
    for y in np.geomspace(8, height - floor, 5).astype(int):
        cv2.line(image, (0, floor + int(y)), (width, floor + int(y)), line, 1, cv2.LINE_AA)
    shades = rng.uniform(0.8, 1.2, (6, 24)).astype(np.float32)
    clouds = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * clouds[..., None], 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Passing:
    """A person passes a camera, walking in the usual direction or against it."""

    camera: int
    time: int
    against: bool


def route(seed: int, person: int, cameras: Sequence[int]) -> list[Passing]:
    """Draw when a person passes ``cameras``; one in ten passings is followed by a second at the same camera."""
    rng = random(seed, "route", person)
    against = bool(rng.random() < 0.5)
    start = rng.uniform(0, RECORDING)
    passings = []
    for camera in cameras:
        mark = MARKS[-1] - MARKS[camera] if against else MARKS[camera]
        time = start + mark * TRANSIT + rng.normal(0, SPREAD)
        passings.append(Passing(camera, max(0, round(time)), against))
        again, pause = rng.random() < 0.1, rng.uniform(100, 400)
        if again:
            passings.append(Passing(camera, max(0, round(time + pause)), against))
    return passings
