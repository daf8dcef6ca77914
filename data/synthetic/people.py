"""The people of the synthetic portraits: their proportions and appearance, drawn by lot.

All lengths are in head heights. The origin of the head's frame is the centre of the face, that of
the body's frame is the chin; y points down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from p3m_jax.data.synthetic import hair as hairs
from p3m_jax.data.synthetic.drawing import (
    hsv,
)

BROW_LINE = -0.17  # the top of the brows and of the face mask
_SKINS = [[244, 212, 188], [234, 194, 164], [222, 172, 134], [190, 136, 98], [142, 94, 64],
          [98, 64, 46]]  # fmt: skip
_IRISES = [[70, 45, 25], [95, 65, 35], [70, 100, 130], [80, 110, 70]]


@dataclass(frozen=True)
class Person:
    """The proportions and the appearance of one person; colours are RGB in 0..255.

    Attributes:
      half_width: half the width of the face, in head heights.
      jaw: exponent of the lower face's outline: 2 is an ellipse, more is squarer.
      yaw: in -1..1, how far and to which side the face turns.
      cloth, other: the two colours of the clothes.
    """

    half_width: float
    jaw: float
    yaw: float
    shoulders: float
    pose: str
    skin: np.ndarray
    cloth: np.ndarray
    other: np.ndarray
    iris: np.ndarray
    beard: bool
    glasses: bool
    hair: hairs.Hair


def face_outline(person: Person, start: float, end: float, count: int = 60) -> np.ndarray:
    """Returns `count` points (count, 2) of the face's outline, in head heights.

    `start` and `end` are angles in radians, clockwise from the top.
    """
    angle = np.linspace(start, end, count)
    sin, cos = np.sin(angle), np.cos(angle)
    power = np.where(cos < 0, 2 / person.jaw, 1.0)  # an ellipse above the temples
    x = person.half_width * np.sign(sin) * np.abs(sin) ** power
    y = -0.5 * np.sign(cos) * np.abs(cos) ** power
    return np.stack([x * (1 - 0.22 * np.clip(y, 0, 1) / 0.5), y], -1)


def face_area(person: Person) -> np.ndarray:
    """Returns the outline (80, 2) of the face mask, a polygon in head heights.

    It follows the jaw, and ends in a straight line at the top of the brows.
    """
    angle = np.arccos(-BROW_LINE / 0.5)
    return face_outline(person, angle, 2 * np.pi - angle, 80) * (0.97, 1.0)


def sample_person(rng: Generator, scale: float) -> Person:
    """Samples a random person whose head is `scale` pixels high; larger heads get more strands."""
    half_width = rng.uniform(0.345, 0.4)
    hair = hairs.sample_hair(rng, half_width, strands=int(np.clip(6 * scale, 700, 2500)))
    return Person(
        half_width=half_width,
        jaw=rng.uniform(1.9, 2.5),
        yaw=float(np.clip(rng.normal(0, 0.45), -1, 1)),
        shoulders=rng.uniform(0.72, 0.98),
        pose=str(rng.choice(["down", "akimbo", "wave"], p=[0.6, 0.25, 0.15])),
        skin=np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.92, 1.04),
        cloth=hsv(rng.random(), rng.uniform(0.05, 0.8), rng.uniform(0.15, 0.95)),
        other=hsv(rng.random(), rng.uniform(0.0, 0.5), rng.uniform(0.5, 1.0)),
        iris=np.array(_IRISES[rng.integers(len(_IRISES))]),
        beard=hair.style in ("short", "combed", "bald") and rng.random() < 0.4,
        glasses=rng.random() < 0.2,
        hair=hair,
    )
