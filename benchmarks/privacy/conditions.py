"""Makes pictures harder (smaller, turned, dark, grey), with the map from the original's points."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

CANVAS = 1080  # pixels
SIZES = (12, 16, 20, 24, 32, 48, 64, 96)


class Changed(NamedTuple):
    """A changed picture, RGB uint8 (H, W, 3), and the affine map (2, 3) from the original to it."""

    picture: np.ndarray
    to_changed: np.ndarray


Condition = Callable[[np.ndarray, float], Changed]  # of a picture and the side of its largest face


def native(picture: np.ndarray, face_side: float) -> Changed:
    """The unchanged picture."""
    return Changed(picture, np.eye(2, 3))


def long_side(size: int) -> Condition:
    """Shrinks a picture to a long side of `size` pixels; smaller pictures stay unchanged."""
    return lambda picture, face_side: _shrunk(picture, size / max(picture.shape[:2]))


def small_face(size: int) -> Condition:
    """Shrinks a picture until its largest face has `size` pixels, in a grey square of 1080 pixels.

    A detector that searches a picture at several scales then works as on a large photograph.
    """

    def condition(picture, face_side):
        small, to_changed = _shrunk(picture, min(size / face_side, CANVAS / max(picture.shape)))
        canvas = np.full((CANVAS, CANVAS, 3), 128, np.uint8)
        top, left = ((CANVAS - side) // 2 for side in small.shape[:2])
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        to_changed[:, 2] += left, top
        return Changed(canvas, to_changed)

    return condition


def turned(degrees: float) -> Condition:
    """Turns a picture with a long side of at most 1080 counter-clockwise; corners become grey."""

    def condition(picture, face_side):
        small, to_small = _shrunk(picture, CANVAS / max(picture.shape[:2]))
        height, width = small.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
        corners = corners @ turn[:, :2].T
        new_width, new_height = np.rint(np.ptp(corners, axis=0)).astype(int)
        turn[:, 2] += (new_width - width) / 2, (new_height - height) / 2
        picture = cv2.warpAffine(small, turn, (new_width, new_height), borderValue=(128,) * 3)
        return Changed(picture, turn @ np.vstack([to_small, [0, 0, 1]]))

    return condition


def dark(exposure: float, noise: float) -> Condition:
    """At a long side of at most 1080, multiplies linear light by `exposure` and adds noise.

    `noise` is the strength of the noise, of 255.
    """

    def condition(picture, face_side):
        small, to_changed = _shrunk(picture, CANVAS / max(picture.shape[:2]))
        light = (small / np.float32(255)) ** 2.2 * exposure
        values = light ** (1 / 2.2) * 255
        values += np.random.default_rng(0).normal(0, noise, small.shape)
        return Changed(np.clip(np.rint(values), 0, 255).astype(np.uint8), to_changed)

    return condition


def grey(picture: np.ndarray, face_side: float) -> Changed:
    """Removes the colours, at a long side of at most 1080."""
    small, to_changed = _shrunk(picture, CANVAS / max(picture.shape[:2]))
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return Changed(np.repeat(luma[..., None], 3, axis=2), to_changed)


def _shrunk(picture, scale: float) -> Changed:
    if scale >= 1:
        return Changed(picture, np.eye(2, 3))
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    scales = np.array(size) / (width, height)
    to_changed = np.diag(scales) @ np.eye(2, 3)
    to_changed[:, 2] = (scales - 1) / 2  # pixel centres are at whole numbers
    return Changed(small, to_changed)


CONDITIONS: dict[str, Condition] = {
    "native": native,
    "long side 1080": long_side(1080),
    "long side 512": long_side(512),
    **{f"turned {degrees}": turned(degrees) for degrees in (30, 45, 60, 90, 135, 180, 270)},
    "grey": grey,
    "light / 8, noise 4": dark(1 / 8, 4),
    "light / 32, noise 8": dark(1 / 32, 8),
    "light / 64, noise 12": dark(1 / 64, 12),
    **{f"largest face {size} px": small_face(size) for size in SIZES},
}
