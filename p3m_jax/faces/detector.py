"""The faces that detectors return, and functions that convert their coordinates between pictures.

A `Detector` is any function that accepts a picture and returns a list of `Face`s. The default is
`yunet.YuNet`; users can pass their own function instead.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

OVERLAP = 0.4

_Box = tuple[float, float, float, float]  # left, top, width, height


class Face(NamedTuple):
    """A face as a detector returns it; coordinates are pixels from the upper left corner.

    Attributes:
      box: left, top, width, height; may extend beyond the picture.
      score: the detector's score, in [0, 1].
      points: float32 (5, 2), (x, y) of the person's right eye, left eye, nose, right and left
        corner of the mouth.
      faint: whether the face was found only after raising the contrast.
      reach: left, top, width, height of a box around all boxes found for this face at several
        scales. Boxes that are much larger or smaller than `box` are left out. None if there is no
        other box.
    """

    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray
    faint: bool = False
    reach: tuple[float, float, float, float] | None = None


Detector = Callable[[np.ndarray], list[Face]]


_LOG_LEVEL = threading.Lock()


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silences OpenCV's log messages, except for errors, inside a `with` block.

    The silenced messages are about how OpenCV computes. Users can do nothing about them.
    """
    log = cv2.utils.logging
    with _LOG_LEVEL:  # all threads share one log level
        level = log.getLogLevel()
        log.setLogLevel(log.LOG_LEVEL_ERROR)
        try:
            yield
        finally:
            log.setLogLevel(level)


def scaled(face: Face, scale: tuple[float, float]) -> Face:
    """Converts the face's coordinates to a picture that is `scale` (x, y) times as large."""
    x, y = scale
    left, top, width, height = face.box
    return face._replace(
        box=(left * x, top * y, width * x, height * y),
        points=face.points * np.asarray(scale, np.float32),
    )


def turn(size: tuple[int, int], degrees: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns the affine map (2, 3) that rotates a picture by `degrees` counter-clockwise.

    Also returns the (width, height) of the rotated picture, which is large enough to show all of
    it. `size` is the (H, W) of the original picture.
    """
    height, width = size
    center = (width - 1) / 2, (height - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D(center, degrees, 1.0), np.float64)
    cosine, sine = np.abs(matrix[0, :2])
    turned = round(width * cosine + height * sine), round(width * sine + height * cosine)
    matrix[:, 2] += (np.array(turned) - 1) / 2 - center
    return matrix, turned


def warp(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Applies an affine map (2, 3) to a picture; the result has `size` (W, H).

    Pixels that lie outside the original picture are black. Does the same as `cv2.warpAffine`, which
    rejects pictures with sides above 32767.
    """
    back = cv2.invertAffineTransform(np.asarray(matrix, np.float64))
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) @ back[:, :2].T + back[:, 2]
    last = np.array(picture.shape[1::-1]) - 1  # keeps one pixel if the window shows no picture
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, last)
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 3, (left + 1, top + 1), last + 1)
    shifted = np.array(matrix, np.float64)
    shifted[:, 2] += shifted[:, :2] @ (left, top)
    return cv2.warpAffine(picture[top:bottom, left:right], shifted, size)


def turned_back(face: Face, matrix: np.ndarray) -> Face:
    """Converts a face found in a rotated picture to coordinates of the original picture.

    `matrix` (2, 3) is the affine map that rotated the picture. The centre of the face's box is
    converted; the width and height of the box stay those in the rotated picture.
    """
    back = cv2.invertAffineTransform(matrix)

    # A face's coordinates count pixel edges, the map's count pixel centres.
    def place(points: ArrayLike) -> np.ndarray:
        return (np.asarray(points) - 0.5) @ back[:, :2].T + back[:, 2] + 0.5

    left, top, width, height = face.box
    x, y = place([left + width / 2, top + height / 2])
    box = float(x - width / 2), float(y - height / 2), float(width), float(height)
    return face._replace(box=box, points=place(face.points).astype(np.float32))


def moved(face: Face, offset: tuple[float, float]) -> Face:
    """Shifts the face's coordinates by `offset` (x, y)."""
    left, top, width, height = face.box
    box = (left + offset[0], top + offset[1], width, height)
    return face._replace(box=box, points=face.points + np.asarray(offset, np.float32))


def mirrored_in(face: Face, size: tuple[int, int]) -> Face:
    """Converts a face found outside a picture's edge to its mirror image inside the picture.

    Before detection, pictures are padded with a border that reflects the pixels at the edge. A face
    in this border is only a reflection of a real face. If the centre of the face's box is inside
    the picture, the face is returned unchanged. `size` is the picture's (H, W) without the border.
    """
    left, top, width, height = face.box
    box, points = [left, top, width, height], face.points.copy()
    for axis, length in ((0, size[1]), (1, size[0])):
        middle = box[axis] + box[axis + 2] / 2
        if 0 <= middle <= length:
            continue
        edge = 0 if middle < 0 else length
        box[axis] = 2 * edge - box[axis] - box[axis + 2]
        points[:, axis] = 2 * edge - points[:, axis]
        points = points[[1, 0, 2, 4, 3]]  # mirroring swaps right and left
    return face._replace(box=(box[0], box[1], width, height), points=points)


def union(faces: Iterable[Face]) -> list[Face]:
    """Removes duplicate detections, so that each face is listed once.

    `faces` may hold several findings of one face. The finding that comes first in the sorted order
    is kept. Two findings belong to the same face in either of two cases:

    1. The intersection of their boxes is more than 0.4 of the union of their boxes.
    2. The intersection is more than three quarters of the smaller box.

    The boxes of different faces overlap less. The `reach` of the kept finding encloses only the
    boxes of case 1, which have a similar size.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (face.faint, -face.score)):
        for number, other in enumerate(kept):
            if _same(face.box, other.box):
                if _overlap(face.box, other.box) > OVERLAP:
                    kept[number] = other._replace(reach=_around(other.reach or other.box, face.box))
                break
        else:
            kept.append(face)
    return kept


def _around(one: _Box, other: _Box) -> tuple[float, float, float, float]:
    left, top = min(one[0], other[0]), min(one[1], other[1])
    right, bottom = (
        max(one[0] + one[2], other[0] + other[2]),
        max(one[1] + one[3], other[1] + other[3]),
    )
    return left, top, right - left, bottom - top


def _same(one: _Box, other: _Box) -> bool:
    smaller = min(one[2] * one[3], other[2] * other[3])
    return _overlap(one, other) > OVERLAP or _shared(one, other) > 0.75 * smaller


def _overlap(one: _Box, other: _Box) -> float:
    shared = _shared(one, other)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _shared(one: _Box, other: _Box) -> float:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)
