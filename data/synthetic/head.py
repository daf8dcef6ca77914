"""Draws heads: ears and skull, and the features of the face.

Lengths and frames are those of `p3m_jax.data.synthetic.people`.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from p3m_jax.data.synthetic.drawing import Frame, Sheet, ellipse
from p3m_jax.data.synthetic.people import Person, face_outline


def draw_head(rng: Generator, person: Person, head: Frame, sheet: Sheet, behind: bool) -> None:
    """Draws head and ears; from the front also the features, shifted to where the face turns."""
    a, unit = person.half_width, head.scale
    for side in (-1, 1):
        if person.yaw * side < 0.5:  # the ear on the far side is hidden
            ear = ellipse((side * (a - 0.005), 0.02), (0.08, 0.13), count=24)
            sheet.polygon(head(ear), person.skin * 0.94)
            sheet.stroke(head([ear[2:12]]), person.skin * 0.75, 0.008 * unit)
    sheet.polygon(head(face_outline(person, 0, 2 * np.pi)), person.skin)
    sheet.polygon(head(ellipse((0, -0.07), (a * 1.02, 0.44))), person.skin)  # the temples
    if behind:
        return
    shift = 0.09 * person.yaw
    for side in (-1, 1):
        cheek = person.skin * (1.02, 0.9, 0.88)
        spot = ellipse((side * 0.2 + shift, 0.17), (0.075, 0.05), count=20)
        sheet.detail(head(spot), 0.6 * person.skin + 0.4 * cheek)
        _eye(rng, person, head, sheet, side, side * 0.165 * (1 - 0.12 * person.yaw * side) + shift)
    bridge = shift * 1.5
    turned = np.sign(person.yaw) or 1.0
    nose = [(bridge - 0.045 * turned, 0.0), (bridge - 0.03 * turned, 0.08),
            (bridge - 0.075 * turned, 0.155), (bridge - 0.03 * turned, 0.175)]  # fmt: skip
    sheet.stroke(head([nose]), person.skin * 0.78, 0.012 * unit)
    tip = ellipse((bridge, 0.145), (0.055, 0.035), count=20)
    sheet.detail(head(tip), np.minimum(person.skin * 1.05, 255))
    for side in (-1, 1):
        nostril = ellipse((bridge + side * 0.033, 0.172), (0.017, 0.009), count=12)
        sheet.detail(head(nostril), person.skin * 0.45)
    _mouth(rng, person, head, sheet, shift * 1.2)
    if person.glasses:
        for side in (-1, 1):
            rim = ellipse((side * 0.165 + shift, 0.0), (0.115, 0.085), count=40)
            sheet.stroke(head([rim]), (30, 30, 34), 0.016 * unit)
            stem = [(side * 0.28 + shift, -0.02), (side * (a + 0.02), -0.04)]
            sheet.stroke(head([stem]), (30, 30, 34), 0.016 * unit)
        sheet.stroke(head([[(shift - 0.05, -0.01), (shift + 0.05, -0.01)]]), (30, 30, 34),
                     0.014 * unit)  # fmt: skip


def _eye(rng: Generator, person: Person, head: Frame, sheet: Sheet, side: int, x: float) -> None:
    """Draws lids around white, iris, pupil and a glint, and above them a brow of short hairs."""
    unit, wide, tall = head.scale, 0.078, rng.uniform(0.026, 0.038)
    across = np.linspace(-1, 1, 17)
    bow = 1 - across**2
    upper = np.stack([x + wide * across, -tall * bow], -1)
    lower = np.stack([x + wide * across, 0.7 * tall * bow], -1)
    sheet.detail(head(np.concatenate([upper, lower[::-1]])), (244, 240, 236))
    gaze = x + 0.025 * person.yaw
    for radius, color in ((0.036, person.iris), (0.016, (12, 10, 10))):
        disc = ellipse((gaze, -0.004), (radius, radius), count=32)
        open_ = 1 - np.clip((disc[:, 0] - x) / wide, -1, 1) ** 2
        disc[:, 1] = np.clip(disc[:, 1], -tall * open_, 0.7 * tall * open_)
        sheet.detail(head(disc), color)
    sheet.detail(head(ellipse((gaze + 0.011, -0.013), (0.006, 0.006), count=10)), (255, 255, 255))
    sheet.stroke(head([upper]), person.skin * 0.3, 0.014 * unit)
    sheet.stroke(head([upper * (1, 1.3) - (0, 0.016)]), person.skin * 0.75, 0.006 * unit)
    sheet.stroke(head([lower]), person.skin * 0.7, 0.006 * unit)
    t = np.linspace(-1, 1, 60)  # from the nose outwards on the right, inwards on the left
    root = np.stack([x + 0.1 * t, -0.115 - 0.03 * (1 - t**2) + 0.012 * side * t], -1)
    strands = np.stack([root, root + np.stack([side * 0.02 + 0 * t, 0 * t - 0.018], -1)], 1)
    tone = 0.75 * np.minimum(person.hair.color, 150)
    sheet.stroke(head(strands), tone, 0.008 * unit)
    sheet.stroke(head([root[4:-4] - (0, 0.006)]), tone, 0.018 * unit)


def _mouth(rng: Generator, person: Person, head: Frame, sheet: Sheet, x: float) -> None:
    """Draws two lips, closed or around teeth."""
    wide, smile = rng.uniform(0.1, 0.14), rng.uniform(-0.005, 0.04)
    gap = max(0.0, rng.uniform(-0.02, 0.03))
    across = np.linspace(-1, 1, 21)
    bow = 1 - across**2
    line = 0.285 - smile * across**2
    red = 0.55 * person.skin + 0.45 * np.array([170, 60, 70])
    edge = x + wide * across

    def between(top: np.ndarray, bottom: np.ndarray, color: ArrayLike) -> None:
        outline = [np.stack([edge, top], -1), np.stack([edge, bottom], -1)[::-1]]
        sheet.detail(head(np.concatenate(outline)), color)

    cupid = bow * (0.028 - 0.008 * np.exp(-((across / 0.15) ** 2)))
    between(line - cupid, line, red * 0.88)
    between(line + gap * bow, line + (gap + 0.036) * bow, red)
    between(line, line + gap * bow, (240, 236, 230))
    sheet.stroke(head([np.stack([edge, line], -1)]), red * 0.5, 0.008 * head.scale)
    under = np.stack([x + 0.07 * across, 0.36 + 0.006 * bow + gap], -1)
    sheet.stroke(head([under]), person.skin * 0.86, 0.014 * head.scale)
