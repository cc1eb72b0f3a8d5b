"""Who walks: clothes, bodies, gaits and bags, and the look-alikes among the persons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from st_reid.data.datasets._walkers import random

Color = tuple[int, int, int]

GARMENTS: dict[str, Color] = {
    "black": (32, 32, 36),
    "grey": (120, 122, 126),
    "white": (222, 220, 214),
    "navy": (34, 44, 92),
    "blue": (58, 104, 186),
    "red": (176, 42, 46),
    "green": (52, 112, 66),
    "beige": (188, 164, 126),
    "brown": (104, 70, 46),
    "yellow": (210, 176, 56),
    "purple": (110, 60, 124),
}
UPPER_COLORS = tuple(GARMENTS)
LOWER_COLORS = ("black", "grey", "navy", "blue", "beige", "brown")
HAIR_COLORS: tuple[Color, ...] = ((26, 22, 20), (62, 42, 28), (112, 76, 42), (196, 164, 102), (150, 148, 144))
SKIN_COLORS: tuple[Color, ...] = ((236, 196, 168), (212, 164, 130), (160, 112, 80), (100, 68, 48))
UPPERS = ("t-shirt", "shirt", "jacket", "coat")
PATTERNS = ("plain", "plain", "hoops", "stripes", "band")
LOWERS = ("trousers", "trousers", "shorts", "skirt")
HAIRS = ("short", "long", "tail", "bald", "cap")
BAGS = ("none", "backpack", "shoulder bag", "handbag")
TWINS = ("body", "gait")


@dataclass(frozen=True)
class Look:
    """Clothes and hair: what look-alikes share."""

    upper: str
    upper_color: Color
    pattern: str
    pattern_color: Color
    lower: str
    lower_color: Color
    shoes: Color
    hair: str
    hair_color: Color
    skin: Color


@dataclass(frozen=True)
class Body:
    """Proportions, relative to the height of 1."""

    leg: float
    shoulder: float
    hip: float
    girth: float
    head: float


@dataclass(frozen=True)
class Gait:
    """How a person walks.

    Attributes:
        period: frames from one step of the left foot to its next.
        stride: largest angle of the thigh.
        knee: bend of the knee in the swing.
        arm_swing: largest angle of the upper arm.
        elbow: bend of the elbow.
        arm_lag: by how much the arms are behind the opposite legs, as a phase.
        bounce: rise of the body at mid-stance, over what the legs do to it.
        sway: sideways movement of the shoulders.
        lean: angle of the trunk, forwards.
    """

    period: float
    stride: float
    knee: float
    arm_swing: float
    elbow: float
    arm_lag: float
    bounce: float
    sway: float
    lean: float


@dataclass(frozen=True)
class Bag:
    """A bag, and the side (-1 right, 1 left) on which it hangs."""

    kind: str
    side: int
    color: Color


@dataclass(frozen=True)
class Person:
    """A person.

    Attributes:
        index: number among all persons of the dataset.
        split: ``train``, ``test`` or ``distractor``.
        look: clothes and hair.
        body: proportions.
        gait: way of walking.
        bag: what is carried.
        twin: index of the look-alike, or ``None``.
        twin_kind: how the two can be told apart: ``body`` by body, bag and gait, ``gait`` by gait alone; else empty.
    """

    index: int
    split: str
    look: Look
    body: Body
    gait: Gait
    bag: Bag
    twin: int | None = None
    twin_kind: str = ""

    @property
    def name(self) -> str:
        """The label in the manifest."""
        return f"{self.index + 1:04d}"


BODY_RANGES = ((0.45, 0.53), (0.19, 0.27), (0.13, 0.19), (0.8, 1.35), (0.9, 1.15))
GAIT_RANGES = (
    (9.0, 20.0),
    (0.3, 0.6),
    (0.5, 1.1),
    (0.1, 0.8),
    (0.05, 1.1),
    (-0.7, 0.7),
    (0.0, 0.025),
    (0.0, 0.025),
    (-0.03, 0.2),
)


def _scale(unit: np.ndarray, ranges: Sequence[tuple[float, float]]) -> list[float]:
    return [low + float(u) * (high - low) for u, (low, high) in zip(unit, ranges, strict=True)]


def make_look(rng: np.random.Generator) -> Look:
    """Draw clothes and hair. The colours are few, so that strangers often share some."""

    def pick(options: Sequence) -> int:
        return int(rng.integers(len(options)))

    def shade(color: Color) -> Color:
        r, g, b = (int(c) for c in np.clip(np.asarray(color) + rng.integers(-10, 11, 3), 0, 255))
        return r, g, b

    upper = pick(UPPER_COLORS)
    other = (upper + 1 + pick(UPPER_COLORS[1:])) % len(UPPER_COLORS)
    return Look(
        upper=UPPERS[pick(UPPERS)],
        upper_color=shade(GARMENTS[UPPER_COLORS[upper]]),
        pattern=PATTERNS[pick(PATTERNS)],
        pattern_color=shade(GARMENTS[UPPER_COLORS[other]]),
        lower=LOWERS[pick(LOWERS)],
        lower_color=shade(GARMENTS[LOWER_COLORS[pick(LOWER_COLORS)]]),
        shoes=shade(GARMENTS[("black", "white", "brown", "red")[pick(range(4))]]),
        hair=HAIRS[pick(HAIRS)],
        hair_color=HAIR_COLORS[pick(HAIR_COLORS)],
        skin=SKIN_COLORS[pick(SKIN_COLORS)],
    )


def make_person(seed: int, index: int, split: str, twin: int | None = None, twin_kind: str = "") -> Person:
    """Draw the ``index``-th person; of two look-alikes the second is drawn from the first.

    What tells two look-alikes apart is put half a range apart in every parameter, so that they do differ.
    """
    first = index if twin is None else min(index, twin)
    second = index != first
    rng = random(seed, "person", first)
    body, gait = rng.random(len(BODY_RANGES)), rng.random(len(GAIT_RANGES))
    kind, side, color = rng.integers(len(BAGS)), rng.integers(2), rng.integers(len(UPPER_COLORS))
    if second:
        gait = (gait + 0.5) % 1
    if second and twin_kind == "body":
        body, kind, color = (body + 0.5) % 1, (kind + 2) % len(BAGS), (color + 4) % len(UPPER_COLORS)
    return Person(
        index,
        split,
        make_look(random(seed, "look", first)),
        Body(*_scale(body, BODY_RANGES)),
        Gait(*_scale(gait, GAIT_RANGES)),
        Bag(BAGS[kind], 2 * int(side) - 1, GARMENTS[UPPER_COLORS[color]]),
        twin,
        twin_kind,
    )


def in_other_clothes(person: Person, seed: int, index: int) -> Person:
    """Return a person in the clothes of the ``index``-th tracklet: all that has a colour is drawn anew.

    These are clothes, shoes, bag, hair, which a cap covers, and skin. Body and gait stay.
    """
    rng = random(seed, "outfit", index)
    kind, side, color = rng.integers(len(BAGS)), rng.integers(2), rng.integers(len(UPPER_COLORS))
    bag = Bag(BAGS[kind], 2 * int(side) - 1, GARMENTS[UPPER_COLORS[color]])
    return replace(person, look=replace(make_look(rng), hair="cap"), bag=bag)


def make_people(seed: int, train: int, test: int, distractors: int) -> list[Person]:
    """Draw all persons: in training and test every third pair of neighbours is a pair of look-alikes.

    Half of these pairs differ in body, bag and gait, half in gait alone.
    """
    people: list[Person] = []
    for split, count in (("train", train), ("test", test), ("distractor", distractors)):
        start = len(people)
        for i in range(count):
            index, pair = start + i, i // 2
            if split != "distractor" and pair % 3 == 0 and 2 * pair + 1 < count:
                twin = index + 1 if i % 2 == 0 else index - 1
                people.append(make_person(seed, index, split, twin, TWINS[pair // 3 % 2]))
            else:
                people.append(make_person(seed, index, split))
    return people
