"""The views of a picture that a detector searches.

They show the picture at several scales and rotations, with a reflected border. A large picture is
split into windows.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.detector import Face, mirrored_in, moved, scaled, turn, turned_back, warp

# Long sides in pixels at which every picture is searched. A larger picture is also searched at its
# own size, at its size halved repeatedly, and enlarged. At each size, YuNet finds faces of about 20
# to 300 pixels.
SCALES = (320, 640, 1280)
ENLARGED = 1.5
# Long sides for turned faces. A picture turned by 45 degrees fills half of its bounding box, so it
# must be smaller for the same cost.
_QUARTER_TURNED, _EIGHTH_TURNED = 640, 450
# A face whose longer side has this many pixels is nearly always found in a picture of any size;
# smaller ones are found less often (docs/privacy.md).
SMALLEST_UPRIGHT, SMALLEST_TURNED = 24, 64
_BORDER = 80
# In pixels: the largest side of a window, and the overlap of two neighbours, which is enough for a
# whole face. A larger face is found at a smaller scale.
_WINDOW, _SHARED = 1440, 160


# The contrast is raised to about 50 of 255 levels around the mean of a square neighbourhood, whose
# side is a fraction of the picture's. Contrast far below one level stays low, because it is noise.
_NEIGHBOURHOOD, _CONTRAST, _NOISE = 0.15, 50, 0.3


class View(NamedTuple):
    """A version of a picture, or a window of one, that a detector searches.

    Attributes:
      pixels: RGB uint8 (h, w, 3).
      placed: a function that converts faces found in this view to coordinates of the picture.
    """

    pixels: np.ndarray
    placed: Callable[[list[Face]], list[Face]]


class _Window(NamedTuple):
    """A window in an area of `whole` (H, W) pixels."""

    top: int
    left: int
    height: int
    width: int
    whole: tuple[int, int]

    def placed(self, faces: list[Face]) -> list[Face]:
        """Converts faces to the area's coordinates; drops those cut by a window edge inside it."""
        return [moved(face, (self.left, self.top)) for face in faces if self._holds(face)]

    def _holds(self, face: Face) -> bool:
        left, top, width, height = face.box
        return (
            (self.left == 0 or left > 0)
            and (self.top == 0 or top > 0)
            and (self.left + self.width == self.whole[1] or left + width < self.width)
            and (self.top + self.height == self.whole[0] or top + height < self.height)
        )


def upright_sizes(long_side: int) -> list[int]:
    """Returns the long sides at which a picture is searched for upright faces, largest first.

    `long_side` is the long side of the picture itself, in pixels.
    """
    sizes = {min(scale, long_side) for scale in SCALES}
    while long_side > max(SCALES):
        sizes.add(long_side)
        long_side = -(-long_side // 2)
    return sorted(sizes, reverse=True)


def quarter_turned_sizes(long_side: int) -> list[int]:
    """Returns the long sides, in pixels, for finding faces turned by 90, 180 or 270 degrees.

    A picture is searched at each of these sizes. If `long_side` is at most 640, the only size is
    `long_side`; if it is at most 1280, the only size is 640. A larger picture is searched at
    half of `long_side`, at a quarter, and so on, until a size is at most 640. The full size is left
    out, because searching it takes four times as long as half of it.
    """
    return _halves(max(min(_QUARTER_TURNED, long_side), -(-long_side // 2)))


def eighth_turned_sizes(long_side: int) -> list[int]:
    """Returns the long sides, in pixels, for finding faces turned by 45, 135, 225 or 315 degrees.

    If `long_side` is at most 640, the only size is 45/64 of it; if it is at most 900, the only size
    is 450. A larger picture is searched at half of `long_side`, at a quarter, and so on, until a
    size is at most 640.

    Small pictures are shrunk more than in `quarter_turned_sizes`, because a picture turned by 45
    degrees fills only half of its bounding box.
    """
    scale = _EIGHTH_TURNED / _QUARTER_TURNED
    return _halves(max(round(scale * min(_QUARTER_TURNED, long_side)), -(-long_side // 2)))


def _halves(size: int) -> list[int]:
    sizes = [size]
    while sizes[-1] > _QUARTER_TURNED:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def shrunk(
    picture: np.ndarray, long_sides: list[int]
) -> Iterator[tuple[np.ndarray, tuple[float, float]]]:
    """Yields a picture shrunk to each of `long_sides`, which must be in decreasing order.

    Each comes with the factors (x, y) by which the original picture is larger.
    """
    height, width = picture.shape[:2]
    for long_side in long_sides:
        scale = long_side / max(height, width)
        target = max(1, round(width * scale)), max(1, round(height * scale))
        if target != picture.shape[1::-1]:
            picture = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
        yield picture, (width / target[0], height / target[1])


def upright_views(picture: np.ndarray, enlarged: float = 1.0) -> Iterator[View]:
    """Yields windows that together show a picture RGB uint8 (H, W, 3) with a reflected border.

    The border completes faces that the picture's edge cuts off. The windows overlap.
    Each window is enlarged by the factor `enlarged`.
    """
    height, width = picture.shape[:2]
    border = min(_BORDER, height, width)

    def placed(window: _Window, faces: list[Face]) -> list[Face]:
        faces = window.placed([scaled(face, (1 / enlarged, 1 / enlarged)) for face in faces])
        faces = [moved(face, (-border, -border)) for face in faces]
        return [mirrored_in(face, (height, width)) for face in faces]

    # In windows, because the enlarged picture would need several times the memory.
    for window in _windows((height + 2 * border, width + 2 * border), round(_WINDOW / enlarged)):
        pixels = _bordered(picture, window, border)
        if enlarged != 1:
            pixels = cv2.resize(
                pixels, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC
            )
        yield View(pixels, functools.partial(placed, window))


def turned_views(picture: np.ndarray, turns: Iterable[int]) -> Iterator[View]:
    """Yields windows that together show a picture RGB uint8 (H, W, 3), rotated by each of `turns`.

    `turns` are angles in degrees, counter-clockwise. The windows overlap.
    """
    for degrees in turns:
        matrix, size = turn(picture.shape[:2], degrees)

        def placed(window: _Window, faces: list[Face], matrix: np.ndarray = matrix) -> list[Face]:
            return [turned_back(face, matrix) for face in window.placed(faces)]

        for window in _windows(size[::-1], _WINDOW):
            shift = np.array([[0, 0, window.left], [0, 0, window.top]])
            pixels = warp(picture, matrix - shift, (window.width, window.height))
            if pixels.any():  # skips windows outside the turned picture
                yield View(pixels, functools.partial(placed, window))


def with_contrast(picture: np.ndarray) -> np.ndarray:
    """Converts RGB uint8 (H, W, 3) to grey with about the same contrast everywhere.

    The result has three equal channels, uint8 (H, W, 3).
    """
    grey: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 1)
    side = int(_NEIGHBOURHOOD * max(grey.shape)) | 1
    mean = cv2.blur(grey, (side, side))
    deviation = np.sqrt(np.maximum(cv2.blur(grey * grey, (side, side)) - mean * mean, 0))
    values = 128 + _CONTRAST * (grey - mean) / (deviation + _NOISE)
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def contrast_at(picture: np.ndarray, face: Face) -> float:
    """Returns the standard deviation of the grey levels (0 to 255) in a face's box.

    `picture` is RGB uint8 (H, W, 3).
    """
    left, top, width, height = face.box
    first = np.maximum(np.rint((left, top)).astype(int), 0)
    last = np.maximum(np.rint((left + width, top + height)).astype(int), first)
    box = picture[first[1] : last[1], first[0] : last[0]]
    return float(box.mean(2).std()) if box.size else 0.0


def _windows(size: tuple[int, int], largest: int) -> Iterator[_Window]:
    """Yields windows, with sides up to `largest`, that cover an area of `size` (H, W)."""
    for top, height in _parts(size[0], largest):
        for left, width in _parts(size[1], largest):
            yield _Window(top, left, height, width, size)


def _parts(length: int, largest: int) -> list[tuple[int, int]]:
    """Returns (start, length) of equal, overlapping parts of a side."""
    count = max(1, -(-(length - _SHARED) // (largest - _SHARED)))
    part = -(-(length + (count - 1) * _SHARED) // count)
    starts = (min(number * (part - _SHARED), length - part) for number in range(count))
    return [(start, part) for start in starts]


def _bordered(picture: np.ndarray, window: _Window, border: int) -> np.ndarray:
    """Returns a window of the bordered picture, without copying the whole picture."""
    height, width = picture.shape[:2]
    top, left = window.top - border, window.left - border
    bottom, right = top + window.height, left + window.width
    return cv2.copyMakeBorder(
        picture[max(0, top) : bottom, max(0, left) : right],
        max(0, -top),
        max(0, bottom - height),
        max(0, -left),
        max(0, right - width),
        cv2.BORDER_REFLECT,
    )
