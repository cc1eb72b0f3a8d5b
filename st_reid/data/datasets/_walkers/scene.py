"""What a camera records of a person: a tracklet of shaky boxes with things in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from st_reid.data.datasets._walkers import random
from st_reid.data.datasets._walkers.cameras import Camera
from st_reid.data.datasets._walkers.figure import Figure
from st_reid.data.datasets._walkers.people import Person, make_person

WIDTH, HEIGHT = 64, 128
FINE = 2  # drawn so many times as large and shrunk

Overlay = Callable[[np.ndarray, int], None]


@dataclass(frozen=True)
class Walk:
    """How a person walks past a camera in one tracklet of T frames.

    Attributes:
        phase: of the walk (T,), 2 pi for two steps.
        angle: of the view, as :class:`~st_reid.data.datasets._walkers.figure.Figure` has it.
        shake: errors of the box (T, 3): across and down, as parts of the box, and of its size, as a factor less 1.
    """

    phase: np.ndarray
    angle: float
    shake: np.ndarray


def draw_walk(person: Person, view: float, against: bool, frames: int, rng: np.random.Generator) -> Walk:
    """Draw how a person walks past a camera, whose angle is ``view``, from the tracklet's generator as it begins."""
    angle = view + np.pi * against + rng.normal(0, 0.12)
    step = 2 * np.pi / person.gait.period * rng.normal(1, 0.03)
    phase = rng.uniform(0, 2 * np.pi) + step * np.arange(frames)
    # Boxes: an error of position and size that stays for a while, and one that is new in every frame.
    shake = rng.normal(0, (0.03, 0.02, 0.03), (frames, 3)) + rng.normal(0, (0.04, 0.03, 0.05), (1, 3))
    return Walk(phase, angle, shake)


def render(person: Person, camera: Camera, against: bool, frames: int, seed: int, index: int) -> list[np.ndarray]:
    """Draw the ``index``-th tracklet of the dataset.

    Args:
        person: who walks.
        camera: who sees it.
        against: the person walks against the usual direction.
        frames: length of the tracklet T.
        seed: the dataset's.
        index: the tracklet's number.

    Returns:
        T images (HEIGHT, WIDTH, 3) uint8, RGB.
    """
    rng = random(seed, "tracklet", index)
    walk = draw_walk(person, camera.angle, against, frames, rng)
    angle, shake = walk.angle, walk.shake
    figure = Figure(person, walk.phase, angle, camera.pitch)
    scale = camera.size * HEIGHT * FINE * (1 + shake[:, 2])
    feet_x = WIDTH * FINE * (0.5 + shake[:, 0])
    feet_y = HEIGHT * FINE * (0.5 + camera.size / 2 - 0.01 + shake[:, 1])
    speed = person.gait.stride * person.body.leg * 4 / person.gait.period * np.sin(angle) * camera.size * HEIGHT * FINE
    room = camera.background.shape[1] - WIDTH * FINE
    start = rng.uniform(0, room)
    overlay = _obstacle(rng, camera, frames, angle, seed, index)
    light = float(rng.normal(1, 0.08))
    images = []
    for t in range(frames):
        left = abs((start + speed * t + shake[t, 0] * WIDTH + room) % (2 * room) - room)  # turns back at the edges
        image = camera.background[:, int(left) : int(left) + WIDTH * FINE].copy()
        figure.draw(image, t, (float(feet_x[t]), float(feet_y[t])), float(scale[t]))
        overlay(image, t)
        images.append(_photograph(image, camera, light, rng))
    return images


def _obstacle(rng: np.random.Generator, camera: Camera, frames: int, angle: float, seed: int, index: int) -> Overlay:
    """Draw what gets in the way, if anything: a post or a bench, a car, or a passer-by."""
    kind = rng.choice(("nothing", "post", "bench", "car", "passer-by"), p=(0.4, 0.15, 0.15, 0.1, 0.2))
    height, width = HEIGHT * FINE, WIDTH * FINE
    direction = 1 if rng.random() < 0.5 else -1
    pace = rng.uniform(4, 10) * FINE
    middle = rng.uniform(0.2, 0.8) * frames
    x = width / 2 + direction * pace * (np.arange(frames) - middle)  # moves through the box
    color = tuple(int(c) for c in rng.integers(30, 200, 3))
    tall, wide = rng.uniform(0.25, 0.5) * height, rng.uniform(0.3, 0.8) * width
    if kind == "passer-by":
        stranger = make_person(seed + 1, 100_000 + index, "passer-by")
        phase = 2 * np.pi / stranger.gait.period * np.arange(frames)
        figure = Figure(stranger, phase, np.pi / 2 * direction, camera.pitch)
        return lambda image, t: figure.draw(image, t, (float(x[t]), height * 1.02), height * 0.92)
    if kind == "post":
        return lambda image, t: _block(image, x[t], wide * 0.4, height * 1.1, color)
    if kind == "bench":
        standing = rng.uniform(-0.1, 1.1) * width + 0.1 * (x - x[0])
        return lambda image, t: _block(image, standing[t], wide, tall, color)
    if kind == "car":
        return lambda image, t: _block(image, 2 * x[t] - width / 2, 1.5 * width, tall, color)
    return lambda image, t: None


def _block(image: np.ndarray, x: float, wide: float, tall: float, color: tuple[int, ...]) -> None:
    """Draw a block that stands on the lower edge, lit from above."""
    height = image.shape[0]
    left, right, top = int(x - wide / 2), int(x + wide / 2), int(height - tall)
    cv2.rectangle(image, (left, top), (right, height), color, -1)
    cv2.rectangle(image, (left, top), (right, top + height // 24), tuple(min(255, c + 40) for c in color), -1)


def _photograph(image: np.ndarray, camera: Camera, light: float, rng: np.random.Generator) -> np.ndarray:
    """Do to a drawing (FINE * HEIGHT, FINE * WIDTH, 3) what optics and sensor do: (HEIGHT, WIDTH, 3)."""
    small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), camera.blur)
    smear = int(rng.uniform(0, camera.smear))
    if smear:
        small = cv2.blur(small, (smear + 1, 1))
    levels = (np.arange(256, dtype=np.float32) / 255) ** camera.gamma * np.float32(255 * light)
    lit = levels[small] * np.asarray(camera.gain, np.float32)
    noise = rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(camera.noise)
    return np.clip(lit + noise, 0, 255).astype(np.uint8)
