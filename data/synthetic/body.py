"""Draws whole people: neck, clothes and arms, and the order of all layers.

Lengths and frames are those of `p3m_jax.data.synthetic.people`.
"""

from collections.abc import Callable

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
    noise,
    relief,
    smooth_polygon,
)
from p3m_jax.data.synthetic.head import draw_head
from p3m_jax.data.synthetic.people import Person, face_outline


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
    layer(
        person.skin, lambda s: draw_head(rng, person, head, s, behind), strength=0.22, texture=0.015
    )
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
