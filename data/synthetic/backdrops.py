"""Backgrounds of the synthetic portraits: light, texture and objects, but no people."""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from p3m_jax.data.synthetic.drawing import ellipse, hsv, noise, to_8_bit

Size = tuple[int, int]


def draw_backdrop(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws a background (H, W, 3), float32 in 0..255, of one of six kinds, often out of focus."""
    short = min(size)
    kind = rng.integers(len(_KINDS))
    picture: np.ndarray = _KINDS[kind](rng, size).astype(np.float32)
    blur = rng.choice([0.0, 0.003, 0.008, 0.02]) * short
    if blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    return picture * (1 + 0.25 * noise(rng, size, short * 1.5, 1))[..., None]


def _color(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.05, 0.6),
    value: tuple[float, float] = (0.3, 0.95),
) -> np.ndarray:
    return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def _gradient(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws a studio wall: two colours blended along one direction, with a faint mottle."""
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size).reshape(2, 1, 1) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along = np.clip(0.5 + 0.8 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)[..., None]
    one, other = _color(rng), _color(rng)
    mottle = 1 + 0.06 * noise(rng, size, min(size) / 12, 4)[..., None]
    return (one * along + other * (1 - along)) * mottle


def _bokeh(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws lights far out of focus in front of a dark background."""
    short = min(size)
    picture = (_color(rng, (0.3, 0.7), (0.1, 0.35)) * np.ones((*size, 1))).astype(np.float32)
    tint = rng.random()
    for _ in range(rng.integers(30, 70)):
        disc = np.zeros(size, np.float32)
        center = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        radius = max(2, int(short * rng.uniform(0.02, 0.09)))
        cv2.circle(disc, center, radius, 1.0, -1, cv2.LINE_AA)
        cv2.circle(disc, center, radius, 1.3, max(1, radius // 8), cv2.LINE_AA)
        color = hsv(tint + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.8), 1.0)
        picture += disc[..., None] * color.astype(np.float32) * rng.uniform(0.1, 0.4)
    return picture


def _bricks(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws a brick wall, or panels if the bricks are tall."""
    height = max(4, int(min(size) * rng.uniform(0.04, 0.09)))
    width = max(6, int(height * rng.choice([0.6, 1.0, 2.2, 3.0])))
    gap = max(1, height // 10)
    base, mortar = _color(rng, (0.1, 0.6)), _color(rng, (0.0, 0.1), (0.5, 0.8))
    picture = np.empty((*size, 3), np.uint8)
    picture[:] = to_8_bit(mortar)
    for row, top in enumerate(range(0, size[0], height)):
        for left in range(-(row % 2) * width // 2, size[1], width):
            brick = to_8_bit(base * rng.uniform(0.75, 1.15)).tolist()
            far = (left + width - gap - 1, top + height - gap - 1)
            cv2.rectangle(picture, (left, top), far, brick, -1)
    rough = 1 + 0.12 * noise(rng, size, max(4, height), 3)[..., None]
    return picture * rough


def _stripes(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws wallpaper or a curtain: waves between two colours across the picture."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    period = min(size) * rng.uniform(0.04, 0.16)
    bend = 0.25 * period * noise(rng, size, min(size) * 0.8, 1)
    phase = (x + rng.choice([0.0, 0.0, 1.0]) * y + bend) / period
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    if rng.random() < 0.5:
        wave = np.clip((wave - 0.5) * 6 + 0.5, 0, 1)
    one, other = _color(rng), _color(rng)
    fold = 1 + 0.15 * np.sin(np.pi * phase)[..., None]
    return (one * wave[..., None] + other * (1 - wave[..., None])) * fold


def _room(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws a wall and a floor with blocks of furniture, books on shelves and a framed picture."""
    height, width = size
    picture = np.empty((*size, 3), np.uint8)
    picture[:] = to_8_bit(_color(rng, (0.02, 0.3), (0.6, 0.95)))
    floor = int(height * rng.uniform(0.65, 0.85))
    picture[floor:] = to_8_bit(_color(rng, (0.2, 0.5), (0.3, 0.6)))

    def block(left: float, top: float, right: float, bottom: float, color: ArrayLike) -> None:
        first, last = (int(left), int(top)), (int(right), int(bottom))
        cv2.rectangle(picture, first, last, to_8_bit(color).tolist(), -1)

    for _ in range(rng.integers(1, 3)):  # pictures on the wall
        left, top = rng.uniform(0, 0.85) * width, rng.uniform(0, 0.3) * height
        w, h = rng.uniform(0.12, 0.3) * width, rng.uniform(0.12, 0.25) * height
        rim = 0.012 * height
        block(left, top, left + w, top + h, _color(rng, (0.2, 0.6), (0.15, 0.5)))
        block(left + rim, top + rim, left + w - rim, top + h - rim, _color(rng))
    for _ in range(rng.integers(2, 4)):  # cupboards and shelves with books
        left, top = rng.uniform(-0.1, 0.85) * width, rng.uniform(0.3, 0.65) * height
        w, h = rng.uniform(0.15, 0.4) * width, rng.uniform(0.2, 0.4) * height
        wood = _color(rng, (0.3, 0.6), (0.2, 0.6))
        block(left, top, left + w, top + h, wood)
        for shelf in np.linspace(top, top + h, 4)[:-1]:
            block(left + 2, shelf + 2, left + w - 2, shelf + h / 3 - 2, wood * 0.6)
            book = left + 3
            while book < left + w - 6:
                thick = width * rng.uniform(0.008, 0.025)
                tall = h / 3 * rng.uniform(0.5, 0.85)
                end = min(book + thick, left + w - 3)
                block(book, shelf + h / 3 - 2 - tall, end, shelf + h / 3 - 2, _color(rng))
                book += thick + 1
    return picture * (1 + 0.05 * noise(rng, size, min(size) / 8, 4)[..., None])


def _outdoors(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Draws sky, hills and foliage of many leaves."""
    height, width = size
    y = np.linspace(0, 1, height)[:, None, None]
    sky = hsv(rng.uniform(0.5, 0.65), rng.uniform(0.1, 0.5), 0.95)
    picture = to_8_bit(np.broadcast_to(sky * (1 - 0.2 * y) + 40 * y, (height, width, 3)))
    clouds = np.clip(noise(rng, size, width * 0.5, 4) - 0.2, 0, 1)[..., None]
    picture = to_8_bit(picture * (1 - clouds) + 250 * clouds)
    hue = rng.choice([0.09, 0.22, 0.3, 0.36])
    for ridge in np.linspace(rng.uniform(0.3, 0.5), 0.85, 3):
        line = ridge * height + 0.12 * height * noise(rng, (1, width), width * 0.5, 4)[0]
        hill = np.concatenate(
            [np.stack([np.arange(width), line], -1), [[width, height], [0, height]]]
        )
        color = hsv(hue + rng.uniform(-0.04, 0.04), 0.5, 0.75 - 0.4 * ridge)
        cv2.fillPoly(picture, [np.rint(hill).astype(np.int32)], color.tolist(), cv2.LINE_AA)
        for _ in range(250):
            spot = (rng.uniform(0, width), rng.uniform(ridge * height, height))
            radii = min(size) * rng.uniform(0.004, 0.018, 2)
            leaf = ellipse(spot, radii, count=9)
            shade = to_8_bit(color * rng.uniform(0.7, 1.4)).tolist()
            cv2.fillPoly(picture, [np.rint(leaf).astype(np.int32)], shade, cv2.LINE_AA)
    return picture


_KINDS = (_gradient, _bokeh, _bricks, _stripes, _room, _outdoors)
