"""The figure: a skeleton that walks, and a drawing of it from any side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from st_reid.data.datasets._walkers.people import Color, Person

SHOULDER = 0.82  # height of the shoulders and of the head's centre in units of the body height
HEAD = 0.925
Point = tuple[float, float]


def pose(person: Person, phase: np.ndarray) -> dict[str, np.ndarray]:
    """Return the joints of a walking person.

    Args:
        person: whose body and gait.
        phase: phase of the walk (T,), 2 pi for two steps.

    Returns:
        Joint name -> positions (T, 3): forwards, to the left, up. Limbs end in ``l`` or ``r``.
    """
    body, gait = person.body, person.gait

    def at(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
        return np.stack(np.broadcast_arrays(x, y, z, phase)[:3], axis=-1).astype(np.float64)  # (T, 3)

    def bone(angle: np.ndarray, length: float) -> np.ndarray:
        return at(np.sin(angle) * length, 0, -np.cos(angle) * length)

    half = body.leg / 2
    thigh = {s: gait.stride * np.sin(phase + p) + 0.04 for s, p in (("l", 0.0), ("r", np.pi))}
    shin = {
        s: thigh[s] - 0.08 - gait.knee * np.clip(np.cos(phase + p + 0.5), 0, None)
        for s, p in (("l", 0.0), ("r", np.pi))
    }
    reach = {s: half * (np.cos(thigh[s]) + np.cos(shin[s])) for s in "lr"}
    rise = np.maximum(reach["l"], reach["r"]) + gait.bounce * (0.5 + 0.5 * np.cos(2 * phase))
    hip = at(0, 0, rise)
    trunk = SHOULDER - body.leg
    sway = gait.sway * np.cos(phase)
    neck = hip + at(np.sin(gait.lean) * trunk, sway, np.cos(gait.lean) * trunk)
    nod = 0.6 * gait.lean
    head = neck + at(np.sin(nod) * (HEAD - SHOULDER), 0, np.cos(nod) * (HEAD - SHOULDER))
    joints = {"hip": hip, "neck": neck, "head": head}
    twist = 0.25 * gait.stride * np.sin(phase)
    for s, side, p in (("l", 1, 0.0), ("r", -1, np.pi)):
        joints["hip" + s] = hip + at(0, side * body.hip * 0.5, 0)
        joints["knee" + s] = joints["hip" + s] + bone(thigh[s], half)
        joints["foot" + s] = joints["knee" + s] + bone(shin[s], half)
        tip = shin[s] + np.pi / 2 - 0.1
        joints["toe" + s] = joints["foot" + s] + at(np.sin(tip) * 0.1, side * 0.015, -np.cos(tip) * 0.1)
        swing = gait.arm_swing * (0.25 if person.bag.kind == "handbag" and person.bag.side == side else 1.0)
        upper = -swing * np.sin(phase + p - gait.arm_lag) + 0.5 * gait.lean
        fore = upper + gait.elbow + 0.3 * swing * (1 - np.sin(phase + p - gait.arm_lag))
        width = side * (body.shoulder * 0.5 + 0.01 * body.girth)
        joints["shoulder" + s] = neck + at(-np.sin(-side * twist) * width, width, -0.025)
        joints["elbow" + s] = joints["shoulder" + s] + bone(upper, 0.165) + at(0, side * 0.025, 0)
        joints["hand" + s] = joints["elbow" + s] + bone(fore, 0.155) - at(0, side * 0.01, 0)
    return joints


class Canvas:
    """An RGB image (H, W, 3) uint8 to draw on, in pixels."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a convex polygon."""
        fixed = np.rint(np.asarray(points) * 8).astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, color, lineType=cv2.LINE_AA, shift=3)

    def disc(self, center: Point, radius: float, color: Color, stretch: float = 1.0) -> None:
        """Fill an upright ellipse ``stretch`` times as high as wide."""
        axes = (round(radius * 8), round(radius * stretch * 8))
        middle = (round(center[0] * 8), round(center[1] * 8))
        cv2.ellipse(self.image, middle, axes, 0, 0, 360, color, -1, cv2.LINE_AA, 3)

    def limb(self, p: Point, q: Point, width_p: float, width_q: float, color: Color) -> None:
        """Draw a limb from ``p`` to ``q`` with its widths there."""
        length = max(float(np.hypot(q[0] - p[0], q[1] - p[1])), 1e-6)
        nx, ny = -(q[1] - p[1]) / length / 2, (q[0] - p[0]) / length / 2
        ends = ((p, width_p, 1), (q, width_q, 1), (q, width_q, -1), (p, width_p, -1))
        self.polygon([(e[0] + s * w * nx, e[1] + s * w * ny) for e, w, s in ends], color)
        self.disc(p, width_p / 2, color)
        self.disc(q, width_q / 2, color)

    def tube(
        self,
        top: Point,
        bottom: Point,
        widths: tuple[float, float],
        color: Color,
        across: tuple[float, float] = (0, 1),
        along: tuple[float, float] = (0, 1),
    ) -> None:
        """Fill a part of an upright tapered tube: a range of its width and of its length, from 0 to 1."""

        def corner(u: float, v: float) -> Point:
            width = widths[0] + v * (widths[1] - widths[0])
            return top[0] + v * (bottom[0] - top[0]) + (u - 0.5) * width, top[1] + v * (bottom[1] - top[1])

        (u0, u1), (v0, v1) = across, along
        self.polygon([corner(u0, v0), corner(u1, v0), corner(u1, v1), corner(u0, v1)], color)


def dim(color: Color, factor: float) -> Color:
    """Return the colour in a light ``factor`` times as strong."""
    r, g, b = (min(255, int(c * factor)) for c in color)
    return r, g, b


class Figure:
    """A person in a view, ready to be drawn frame by frame.

    Args:
        person: who.
        phase: phase of the walk (T,).
        angle: of the view: 0 from the front, pi/2 from the person's right, pi from the back.
        pitch: by how much the camera looks down.
    """

    def __init__(self, person: Person, phase: np.ndarray, angle: float, pitch: float) -> None:
        self.person, self.angle = person, angle
        joints = np.stack(list((points := pose(person, phase)).values()))  # (J, T, 3)
        x, y, z = np.moveaxis(joints, -1, 0)
        depth = x * np.cos(angle) - y * np.sin(angle)
        across = x * np.sin(angle) + y * np.cos(angle)
        up = z * np.cos(pitch) - depth * np.sin(pitch)
        self.flat = dict(zip(points, np.stack([across, -up], axis=-1), strict=True))  # name -> (T, 2)
        self.depth = dict(zip(points, depth, strict=True))  # name -> (T,)

    def draw(self, image: np.ndarray, t: int, feet: Point, scale: float) -> None:
        """Draw frame ``t`` on ``image`` (H, W, 3) uint8 with the feet at a point and the height in pixels."""
        canvas = Canvas(image)
        spot = {name: (feet[0] + p[t, 0] * scale, feet[1] + p[t, 1] * scale) for name, p in self.flat.items()}
        depth = {name: float(d[t]) for name, d in self.depth.items()}
        canvas.disc((feet[0], feet[1] + 0.02 * scale), 0.17 * scale, dim(_color_at(image, feet), 0.7), 0.22)
        near, far = ("r", "l") if np.sin(self.angle) > 0 else ("l", "r")
        shade = {near: 1.0, far: 0.84}
        carried = self._carried_depth()
        layers: list[tuple[float, Callable[[], None]]] = []
        for s in "lr":
            behind = 0.5 * (depth["hand" + s] + depth["elbow" + s])
            layers.append((behind, partial(self._arm, canvas, spot, s, scale, shade[s])))
            layers.append((depth["foot" + s] - 1.0, partial(self._leg, canvas, spot, s, scale, shade[s])))
        layers.append((0.0, partial(self._trunk, canvas, spot, scale)))
        layers.append((carried, partial(self._bag, canvas, spot, scale)))
        for _, layer in sorted(layers, key=lambda item: item[0]):
            layer()

    def _carried_depth(self) -> float:
        bag = self.person.bag
        if bag.kind == "backpack":
            return -0.13 * np.cos(self.angle)
        return -bag.side * 0.15 * np.sin(self.angle) + 0.02

    def _leg(self, canvas: Canvas, spot: dict[str, Point], s: str, scale: float, light: float) -> None:
        look, w = self.person.look, 0.095 * self.person.body.girth * scale
        cloth, skin = dim(look.lower_color, light), dim(look.skin, light)
        upper = skin if look.lower == "skirt" else cloth
        lower = cloth if look.lower == "trousers" else skin
        hip, knee, foot, toe = (spot[j + s] for j in ("hip", "knee", "foot", "toe"))
        canvas.limb(foot, toe, 0.042 * scale, 0.03 * scale, dim(look.shoes, light))
        slim = 0.55 if look.lower == "trousers" else 0.42
        canvas.limb(knee, foot, w * 0.72, w * slim, lower)
        canvas.limb(hip, knee, w * 1.05, w * 0.76, upper)

    def _arm(self, canvas: Canvas, spot: dict[str, Point], s: str, scale: float, light: float) -> None:
        look, w = self.person.look, 0.066 * self.person.body.girth * scale
        sleeve, skin = dim(look.upper_color, light * 0.92), dim(look.skin, light)
        shoulder, elbow, hand = (spot[j + s] for j in ("shoulder", "elbow", "hand"))
        bare = look.upper == "t-shirt"
        canvas.disc(hand, 0.024 * scale, skin)
        canvas.limb(elbow, hand, w * 0.75, w * 0.6, skin if bare else sleeve)
        canvas.limb(shoulder, elbow, w, w * 0.8, sleeve)

    def _trunk(self, canvas: Canvas, spot: dict[str, Point], scale: float) -> None:
        person, look, body = self.person, self.person.look, self.person.body
        cos, sin = np.cos(self.angle), np.sin(self.angle)

        def width(side: float, front: float) -> float:
            return float(np.hypot(side * cos, front * sin)) * scale

        thick = 0.15 * body.girth
        top = width(body.shoulder + 0.04 * body.girth, thick)
        waist = width(body.hip + 0.06 * body.girth, thick * 1.05)
        neck, hip = spot["neck"], spot["hip"]
        if look.lower == "skirt":
            knees = abs(spot["kneel"][0] - spot["kneer"][0])
            hem = (hip[0], hip[1] + 0.2 * scale)
            canvas.tube(hip, hem, (waist, max(waist * 1.25, knees + 0.12 * scale)), look.lower_color)
        elif look.lower in ("trousers", "shorts"):
            canvas.tube(hip, (hip[0], hip[1] + 0.05 * scale), (waist, waist * 0.95), look.lower_color)
        canvas.limb(spot["head"], neck, 0.055 * scale, 0.06 * scale, look.skin)
        hem = (hip[0], hip[1] + (0.17 if look.upper == "coat" else 0.02) * scale)
        ends = (top, waist * (1.15 if look.upper == "coat" else 1.0))
        canvas.disc((neck[0], neck[1] + 0.02 * scale), top / 2, look.upper_color, 0.042 * scale / (top / 2))
        neckline = (neck[0], neck[1] + 0.015 * scale)
        canvas.tube(neckline, hem, ends, look.upper_color)
        for across, along in _PATTERN_PARTS[look.pattern]:
            canvas.tube(neckline, hem, ends, look.pattern_color, across, along)
        if look.upper in ("jacket", "coat") and cos > -0.1:  # open in front: what is below shows
            middle = 0.5 + 0.42 * sin
            canvas.tube(neckline, hem, ends, dim(look.pattern_color, 1.1), (middle - 0.07, middle + 0.07))
        if person.bag.kind == "backpack" and cos > 0.2:
            for u in (0.2, 0.72):
                canvas.tube(neckline, hem, ends, person.bag.color, (u, u + 0.08), (0, 0.55))
        self._head(canvas, spot["head"], 0.066 * body.head * scale)

    def _head(self, canvas: Canvas, head: Point, r: float) -> None:
        look, cos, sin = self.person.look, np.cos(self.angle), np.sin(self.angle)
        hair = look.skin if look.hair == "bald" else look.hair_color
        if look.hair == "long":
            canvas.disc((head[0] - 0.3 * r * sin, head[1] + 0.5 * r), r * 1.05, hair, 1.45)
        if look.hair == "tail" and cos < 0.6:
            canvas.limb(head, (head[0] - 1.25 * r * sin, head[1] + 1.9 * r), r, 0.4 * r, hair)
        canvas.disc(head, r, hair, 1.2)
        if cos > -0.5:  # the face
            wide = 0.82 * r * (0.72 + 0.28 * max(cos, 0.0))
            canvas.disc((head[0] + 0.3 * r * sin, head[1] + 0.28 * r), wide, look.skin, 1.15)
        if look.hair == "cap":
            canvas.tube((head[0], head[1] - 1.3 * r), (head[0], head[1] - 0.35 * r), (1.5 * r, 2.15 * r), look.shoes)
            peak = head[0] + 1.0 * r * sin
            if cos > -0.5:
                canvas.disc((peak, head[1] - 0.35 * r), 0.75 * r, look.shoes, 0.3)

    def _bag(self, canvas: Canvas, spot: dict[str, Point], scale: float) -> None:
        bag, cos, sin = self.person.bag, np.cos(self.angle), np.sin(self.angle)
        dark = dim(bag.color, 0.7)
        neck, hip = spot["neck"], spot["hip"]
        if bag.kind == "backpack":
            x = (neck[0] + hip[0]) / 2 - 0.13 * sin * scale
            wide = float(np.hypot(0.19 * cos, 0.12 * sin)) * scale
            y = neck[1] + 0.05 * scale
            canvas.limb((x, y + 0.03 * scale), (x, y + 0.19 * scale), wide, wide * 1.1, bag.color)
            canvas.tube((x, y + 0.13 * scale), (x, y + 0.22 * scale), (wide * 0.8, wide * 0.8), dark)
        elif bag.kind == "shoulder bag":
            shift = bag.side * (self.person.body.hip * 0.5 + 0.06)
            x = hip[0] + shift * cos * scale
            opposite = spot["shoulder" + ("r" if bag.side > 0 else "l")]
            y = hip[1] - 0.02 * scale
            canvas.limb(opposite, (x, y), 0.018 * scale, 0.018 * scale, dark)
            wide = float(np.hypot(0.07 * cos, 0.19 * sin)) * scale
            canvas.tube((x, y - 0.03 * scale), (x, y + 0.11 * scale), (wide, wide * 1.1), bag.color)
            canvas.tube((x, y - 0.03 * scale), (x, y + 0.02 * scale), (wide, wide * 1.03), dark)
        elif bag.kind == "handbag":
            hand = spot["hand" + ("l" if bag.side > 0 else "r")]
            wide = float(np.hypot(0.06 * cos, 0.15 * sin)) * scale
            canvas.limb(hand, (hand[0], hand[1] + 0.05 * scale), 0.015 * scale, 0.015 * scale, dark)
            top = (hand[0], hand[1] + 0.05 * scale)
            canvas.tube(top, (top[0], top[1] + 0.12 * scale), (wide * 0.9, wide * 1.1), bag.color)


def _color_at(image: np.ndarray, feet: Point) -> Color:
    y = min(max(int(feet[1]), 0), image.shape[0] - 1)
    x = min(max(int(feet[0]), 0), image.shape[1] - 1)
    r, g, b = (int(c) for c in image[y, x])
    return r, g, b


_Parts = list[tuple[tuple[float, float], tuple[float, float]]]
_PATTERN_PARTS: dict[str, _Parts] = {
    "plain": [],
    "hoops": [((0, 1), (v, v + 0.1)) for v in (0.12, 0.34, 0.56, 0.78)],
    "stripes": [((u, u + 0.11), (0, 1)) for u in (0.1, 0.34, 0.58, 0.82)],
    "band": [((0, 1), (0.3, 0.55))],
}
