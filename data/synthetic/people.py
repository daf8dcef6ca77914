"""The people of the synthetic portraits: proportions, clothes, poses and faces.

All lengths are in head heights. The origin of the head's frame is the centre of the face, that of
the body's frame is the chin; y points down.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from p3m_jax.data.synthetic import hair as hairs
from p3m_jax.data.synthetic.drawing import (
    Figure,
    Frame,
    Sheet,
    ellipse,
    hsv,
    noise,
    relief,
    smooth_polygon,
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


def draw_person(
    rng: Generator,
    person: Person,
    head: Frame,
    body: Frame,
    light: np.ndarray,
    size: tuple[int, int],
    behind: bool,
) -> Figure:
    """Draws a person's layers from back to front, and returns them as a stack.

    Args:
      head, body: the coordinate frames of the head and of the body.
      light: unit vector (x, y) towards the light; it is the same for all layers.
      size: height and width of the picture.
      behind: shows the person from behind.
    """
    fine = int(np.clip(round(1400 / min(size)), 2, 4))
    figure = Figure(size)

    def layer(
        color: ArrayLike,
        draw: Callable[[Sheet], None],
        *,
        rounding: float = 0.12,
        strength: float = 0.35,
        texture: float = 0.03,
    ) -> None:
        sheet = Sheet(size, fine, color)
        draw(sheet)
        if not sheet.cover.any():
            return
        color, cover = sheet.reduce()
        lit = 1 + strength * np.clip(relief(cover, light, rounding * head.scale), -1.2, 1.2)
        grainy = 1 + texture * noise(rng, size, max(4.0, 0.1 * head.scale), 3)[..., None]
        figure.add(color * lit * grainy, cover)

    def shadow(
        cover: np.ndarray, offset: tuple[float, float], sigma: float, strength: float
    ) -> None:
        """Darkens the existing layers where the layer that is added next casts its shadow."""
        x, y = offset[0] * head.scale, offset[1] * head.scale
        shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
        cast = cv2.warpAffine(cover, shift, size[::-1])
        cast = cv2.GaussianBlur(cast, (0, 0), max(0.5, sigma * head.scale))
        figure.color *= 1 - strength * cast[..., None]

    def draw_hair(
        draw: Callable[[Generator, hairs.Hair, Frame, Sheet], None], strength: float = 0.3
    ) -> None:
        layer(person.hair.color, lambda s: draw(rng, person.hair, head, s), strength=strength)

    if not behind:
        draw_hair(hairs.draw_back_hair, 0.2)
    layer(person.skin * 0.9, lambda s: _neck(person, head, body, s), strength=0.3)
    layer(person.cloth, lambda s: _torso(rng, person, body, s, behind), rounding=0.18, texture=0.03)
    if person.pose != "down":
        layer(person.cloth, lambda s: _arms(rng, person, body, s), rounding=0.1, texture=0.03)
    chin = Sheet(size, 1, person.skin)
    chin.polygon(head(face_outline(person, 0, 2 * np.pi)))
    shadow(chin.reduce()[1][..., 0], (-0.08 * light[0], 0.12), 0.05, 0.45)
    layer(person.skin, lambda s: _head(rng, person, head, s, behind), strength=0.22, texture=0.015)
    if behind:
        draw_hair(hairs.draw_hair_from_behind)
        return figure
    if person.beard:
        draw_hair(hairs.draw_beard, 0.2)
    draw_hair(hairs.draw_front_hair)
    return figure


def _neck(person: Person, head: Frame, body: Frame, sheet: Sheet) -> None:
    wide = person.half_width * 0.55
    top = head([(-wide, 0.2), (wide, 0.2)])
    foot = body([(wide * 1.25, 0.45), (-wide * 1.25, 0.45)])
    sheet.polygon(np.concatenate([top, foot]))


def _torso(rng: Generator, person: Person, body: Frame, sheet: Sheet, behind: bool) -> None:
    """Draws shoulders and patterned chest; from the front also neckline, lapels or buttons."""
    w, slope = person.shoulders, rng.uniform(0.0, 0.1)
    right = [(0.15, 0.14), (0.3, 0.26), (w, 0.36 + slope), (w + 0.1, 0.9)]
    if person.pose == "down":
        right += [(w + 0.14, 1.6), (w + 0.1, 5)]
    else:  # posed arms are drawn separately and leave a gap at the waist
        right += [(w * 0.82, 1.1), (w * 0.72, 1.7), (w * 0.85, 2.5), (w * 0.85, 5)]
    left = [(-x, y) for x, y in reversed(right)]
    sheet.polygon(body(smooth_polygon([*right, *left])))
    _pattern(rng, person, body, sheet)
    for _ in range(rng.integers(4, 9)):  # folds
        x, y = rng.uniform(-w, w), rng.uniform(0.7, 2.5)
        lean, t = rng.uniform(-0.2, 0.2), np.linspace(0, 1, 8)
        fold = np.stack([x + lean * t**2, y + 0.5 * t], -1)[None]
        sheet.stroke(body(fold), person.cloth * rng.uniform(0.8, 0.95), 0.015 * body.scale)
    if person.pose == "down":
        for side in (-1, 1):  # the creases between arms and body
            crease = [(side * (w - 0.12), 0.95), (side * (w - 0.16), 1.6), (side * (w - 0.14), 5)]
            sheet.stroke(body([crease]), person.cloth * 0.6, 0.02 * body.scale)
    if behind:
        return
    wide, deep = rng.uniform(0.2, 0.3), rng.uniform(0.32, 0.7)
    dress = rng.choice(["round", "v", "shirt", "jacket"])
    if dress == "round":
        rim = ellipse((0, 0.1), (wide, deep * 0.75), np.pi / 2, 3 * np.pi / 2)
        sheet.detail(body(rim), person.skin)
        sheet.stroke(body(rim)[None], person.cloth * 0.7, 0.02 * body.scale)
    else:
        rim = np.array([(-wide, 0.0), (-wide, 0.2), (0, deep), (wide, 0.2), (wide, 0.0)])
        if dress == "jacket":
            chest = [(-wide, 0.1), (-wide - 0.05, 0.25), (0, 1.5), (wide + 0.05, 0.25), (wide, 0.1)]
            sheet.detail(body(chest), person.other)
            for side in (-1, 1):
                lapel = [(side * wide, 0.16), (side * (wide + 0.16), 0.75), (0, 1.5)]
                sheet.detail(body(lapel), person.cloth * 0.75)
        sheet.detail(body(rim * (1, 0.8)), person.skin)
        if dress != "v":
            for side in (-1, 1):  # a collar and buttons
                collar = [(side * wide * 0.8, 0.1), (side * (wide + 0.1), 0.3), (side * 0.1, 0.6),
                          (side * 0.02, 0.8 * deep)]  # fmt: skip
                tone = person.other if dress == "jacket" else person.cloth
                sheet.detail(body(collar), np.minimum(tone * 1.12 + 8, 255))
            for y in np.arange(deep + 0.15, 3, 0.28) if dress == "shirt" else ():
                sheet.detail(body(ellipse((0, y), (0.022, 0.022), count=12)), person.other * 0.9)


def _pattern(rng: Generator, person: Person, body: Frame, sheet: Sheet) -> None:
    kind = rng.choice(["plain", "plain", "stripes", "checks", "dots"])
    pitch = rng.uniform(0.09, 0.25)
    lines = np.arange(-2, 5, pitch)
    thick = pitch * rng.uniform(0.25, 0.5) * body.scale
    mixed = 0.5 * person.cloth + 0.5 * person.other
    if kind in ("stripes", "checks"):
        curves = [[(-3, y), (0, y + 0.12), (3, y)] for y in lines]
        sheet.stroke(body(curves), person.other if kind == "stripes" else mixed, thick)
    if kind == "checks":
        sheet.stroke(body([[(x, -1), (x, 5)] for x in lines]), mixed, 0.6 * thick)
    if kind == "dots":
        for row, y in enumerate(np.arange(0, 3, pitch)):
            for x in np.arange(-1.2, 1.2, pitch) + (row % 2) * pitch / 2:
                dot = ellipse((x, y), (pitch * 0.22, pitch * 0.22), count=10)
                sheet.detail(body(dot), person.other)


def _arms(rng: Generator, person: Person, body: Frame, sheet: Sheet) -> None:
    """Draws both hands on the hips, or one arm waving; the background shows beside the body."""
    w, bare = person.shoulders, rng.random() < 0.4
    waving = rng.choice([-1, 1]) if person.pose == "wave" else 0
    for side in (-1, 1):
        shoulder = np.array((side * (w - 0.04), 0.52))
        if side == waving:
            elbow, hand = (side * (w + 0.3), 1.15), (side * (w + 0.42), 0.12)
        elif waving:
            elbow, hand = (side * (w + 0.12), 1.5), (side * (w + 0.05), 2.4)
        else:
            elbow, hand = (side * (w + 0.5), 1.3), (side * w * 0.72, 1.85)
        sleeve = person.skin if bare else person.cloth
        palm = np.asarray(hand)
        if side == waving:
            for angle in np.linspace(-0.55, 0.55, 4):
                tip = palm + 0.27 * np.array((np.sin(angle), -np.cos(angle)))
                _limb(body, sheet, palm, tip, 0.045, 0.032, person.skin)
            thumb = palm + (-side * 0.2, -0.04)
            _limb(body, sheet, palm, thumb, 0.05, 0.035, person.skin)
        sheet.polygon(body(ellipse(palm, (0.12, 0.13))), person.skin)
        _limb(body, sheet, np.asarray(elbow), palm, 0.13, 0.08, sleeve)
        _limb(body, sheet, shoulder, np.asarray(elbow), 0.18, 0.14, person.cloth * 0.97)


def _limb(
    body: Frame,
    sheet: Sheet,
    start: ArrayLike,
    end: ArrayLike,
    thick: float,
    thin: float,
    color: ArrayLike,
) -> None:
    """Draws a tapering limb with round ends."""
    ends = [ellipse(start, (thick, thick), count=24), ellipse(end, (thin, thin), count=24)]
    hull = cv2.convexHull(body(np.concatenate(ends)).astype(np.float32))[:, 0]
    sheet.polygon(hull, color)


def _head(rng: Generator, person: Person, head: Frame, sheet: Sheet, behind: bool) -> None:
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
    hairs_ = np.stack([root, root + np.stack([side * 0.02 + 0 * t, 0 * t - 0.018], -1)], 1)
    tone = 0.75 * np.minimum(person.hair.color, 150)
    sheet.stroke(head(hairs_), tone, 0.008 * unit)
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
