"""Draws the shapes, light and noise of the synthetic portraits, and stacks them as layers.

Shapes are drawn several times finer than the picture and then averaged. So a strand of hair that is
a fraction of a pixel wide becomes a fractional alpha. Points are (..., 2) arrays of (x, y).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

_SUBPIXEL = 4  # fractional bits of OpenCV's fixed-point coordinates


@dataclass(frozen=True)
class Frame:
    """A coordinate frame: maps points in head heights to picture pixels.

    Attributes:
      origin: the pixel (x, y) of the point (0, 0).
      scale: the height of the head in pixels.
      angle: rotation in radians, clockwise on the picture.
    """

    origin: tuple[float, float]
    scale: float
    angle: float = 0.0

    def __call__(self, points: ArrayLike) -> np.ndarray:
        """Returns the points (..., 2) in picture pixels."""
        points = np.asarray(points, np.float64)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        return turned * self.scale + np.asarray(self.origin)


class Sheet:
    """One layer: a colour and a coverage per pixel, drawn at `fine` times the picture's size.

    The coverage is the layer's alpha. Colour shows only where there is coverage.
    """

    def __init__(self, size: tuple[int, int], fine: int, color: ArrayLike) -> None:
        self.size, self.fine = size, fine
        shape = (size[0] * fine, size[1] * fine)
        self.color = np.empty((*shape, 3), np.uint8)
        self.color[:] = to_8_bit(color)
        self.cover = np.zeros(shape, np.uint8)

    def polygon(self, points: ArrayLike, color: ArrayLike | None = None) -> None:
        """Fills a polygon (N, 2), in picture pixels, with coverage and, if given, with colour."""
        points = [self._fixed(points)]
        if color is not None:
            cv2.fillPoly(self.color, points, _scalar(color), cv2.LINE_AA, _SUBPIXEL)
        cv2.fillPoly(self.cover, points, 255, cv2.LINE_AA, _SUBPIXEL)

    def detail(self, points: ArrayLike, color: ArrayLike) -> None:
        """Fills a polygon (N, 2), in picture pixels; changes the colours, not the coverage."""
        points = [self._fixed(points)]
        cv2.fillPoly(self.color, points, _scalar(color), cv2.LINE_AA, _SUBPIXEL)

    def stroke(self, curves: ArrayLike, color: ArrayLike, width: float) -> None:
        """Draws N curves (N, K, 2) with `width`, in picture pixels; changes only the colours."""
        self._lines(self.color, curves, _scalar(color), width)

    def stroke_cover(self, curves: ArrayLike, cover: int, width: float) -> None:
        """Draws N curves (N, K, 2) into the coverage only, with the value `cover` in 0..255."""
        self._lines(self.cover, curves, cover, width)

    def reduce(self) -> tuple[np.ndarray, np.ndarray]:
        """Reduces to the picture's size: colour (H, W, 3) in 0..255, coverage (H, W, 1) in 0..1."""
        height, width = self.size
        color = cv2.resize(self.color, (width, height), interpolation=cv2.INTER_AREA)
        cover = cv2.resize(self.cover, (width, height), interpolation=cv2.INTER_AREA)
        return color.astype(np.float32), cover[..., None].astype(np.float32) / 255

    def _lines(
        self, canvas: np.ndarray, curves: ArrayLike, value: int | tuple[int, ...], width: float
    ) -> None:
        curves = self._fixed(curves)
        thickness = max(1, round(width * self.fine))
        cv2.polylines(canvas, list(curves), False, value, thickness, cv2.LINE_AA, _SUBPIXEL)

    def _fixed(self, points: ArrayLike) -> np.ndarray:
        points = (np.asarray(points) * self.fine - 0.5) * (1 << _SUBPIXEL)
        return np.rint(np.clip(points, -1e6, 1e6)).astype(np.int32)


class Figure:
    """A stack of layers, merged into one premultiplied colour and one coverage."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.color = np.zeros((*size, 3), np.float32)
        self.cover = np.zeros((*size, 1), np.float32)

    def add(self, color: np.ndarray, cover: np.ndarray) -> None:
        """Puts a layer on top: colour (H, W, 3) in 0..255, coverage (H, W, 1) in 0..1."""
        self.color = color * cover + self.color * (1 - cover)
        self.cover = cover + self.cover * (1 - cover)

    def foreground(self) -> np.ndarray:
        """Returns the colour (H, W, 3), divided by the coverage.

        Where nothing is drawn, it is extended from the nearest drawn areas.
        """
        color = self.color / np.maximum(self.cover, 1e-4)
        spread = spread_colors(self.color, self.cover)
        trust = np.clip(self.cover * 20, 0, 1)  # dividing by a tiny coverage amplifies rounding
        return color * trust + spread * (1 - trust)


def spread_colors(color: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Fills the areas without coverage with the mean colours of their surroundings.

    `color` (H, W, 3) is premultiplied, `cover` is (H, W, 1) in 0..1. The further away the covered
    pixels are, the larger is the area over which the mean is taken.
    """
    height, width = cover.shape[:2]
    joined = np.concatenate([color, cover], axis=-1)
    levels = [joined]
    while min(levels[-1].shape[:2]) > 2:
        h, w = levels[-1].shape[:2]
        levels.append(
            cv2.resize(levels[-1], ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA)
        )
    filled = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-6)
    for level in reversed(levels[:-1]):
        h, w = level.shape[:2]
        filled = cv2.resize(filled, (w, h), interpolation=cv2.INTER_LINEAR)
        weight = level[..., 3:]
        filled = level[..., :3] + (1 - weight) * filled
    return filled.reshape(height, width, 3)


def smooth_polygon(points: ArrayLike, rounds: int = 3) -> np.ndarray:
    """Rounds a closed polygon (N, 2) by cutting its corners `rounds` times (Chaikin).

    Each round doubles the number of points. The limit is a quadratic B-spline.
    """
    points = np.asarray(points, np.float64)
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        cut = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1)
        points = cut.reshape(-1, 2)
    return points


def ellipse(
    center: ArrayLike, radii: ArrayLike, start: float = 0.0, end: float = 2 * np.pi, count: int = 48
) -> np.ndarray:
    """Returns `count` points (count, 2) of an elliptic arc.

    `start` and `end` are angles in radians, clockwise from the top.
    """
    angle = np.linspace(start, end, count)
    return np.asarray(center) + np.stack([np.sin(angle), -np.cos(angle)], -1) * np.asarray(radii)


def relief(cover: np.ndarray, light: np.ndarray, radius: float) -> np.ndarray:
    """Computes the shading of a layer as if it were a rounded body, (H, W, 1) in about -1..1.

    It is positive where the surface faces the light, and negative where it faces away from it.

    Args:
      cover: the layer's coverage, (H, W, 1).
      light: unit vector (x, y) towards the light.
      radius: radius of the rounded edges in pixels.
    """
    height, width = cover.shape[:2]
    step = max(1, int(radius / 4))
    small = (max(2, width // step), max(2, height // step))
    # The border is replicated, so a body cut off by the picture's edge does not look rounded there.
    bump = cv2.resize(cover[..., 0], small, interpolation=cv2.INTER_AREA)
    bump = cv2.GaussianBlur(bump, (0, 0), radius / step, borderType=cv2.BORDER_REPLICATE)
    down, right = np.gradient(bump)
    facing = -(right * light[0] + down * light[1]) * 2 * radius / step
    return cv2.resize(facing, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]


def noise(
    rng: np.random.Generator, size: tuple[int, int], cell: float, octaves: int = 3
) -> np.ndarray:
    """Makes smooth fractal noise (H, W), about -1..1; `cell` is its coarsest period in pixels."""
    height, width = size
    total, weight = np.zeros(size, np.float32), 1.0
    for _ in range(octaves):
        grid = (max(2, int(height / cell) + 2), max(2, int(width / cell) + 2))
        values = rng.uniform(-1, 1, grid).astype(np.float32)
        total += weight * cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
        weight, cell = weight / 2, cell / 2
    return total


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Converts hue, saturation and value in 0..1 to RGB in 0..255."""
    channel = np.abs(((hue + np.array([0, 2 / 3, 1 / 3])) % 1) * 6 - 3) - 1
    return 255 * value * (1 - saturation * (1 - np.clip(channel, 0, 1)))


def to_8_bit(values: ArrayLike) -> np.ndarray:
    """Rounds values and clips them to 0..255; returns uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scalar(color: ArrayLike) -> tuple[int, ...]:
    return tuple(int(value) for value in to_8_bit(color))
