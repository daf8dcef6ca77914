"""Finding faces with YuNet: several scales, the union of what they show.

A `Detector` is any function that takes a picture and returns `Face`s; a user's own takes the place
of `YuNet` wherever one is asked for.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.weights import find_weights

SCALES = (320, 640, 1280, 2560)  # long sides in pixels; YuNet finds faces of some 10 to 300 there
_TURNED_SCALE = 640
_OVERLAP = 0.4


class Face(NamedTuple):
    """A face as a detector sees it; pixels from the picture's upper left corner.

    Attributes:
      box: left, top, width, height; may reach beyond the picture.
      score: the detector's, in [0, 1].
      points: float32 (5, 2), (x, y) of the person's right eye, left eye, nose, right and left
        corner of the mouth.
    """

    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray


Detector = Callable[[np.ndarray], list[Face]]


class YuNet:
    """A `Detector` on RGB uint8 (H, W, 3); from any thread.

    Args:
      threshold: lowest score of a face.
      turned: lowest score of a face in the picture turned by 45, 90, ... 315 degrees; None: look
        for upright ones only. The network finds none that is turned by more than some 45 degrees,
        and small ones by no more than 20.
      scales: long sides, in pixels, at which the picture is searched. It is never enlarged, but
        for one that is smaller than all of them.

    Raises:
      FaceWeightsError: the weights are not installed.
    """

    def __init__(
        self, threshold: float = 0.6, *, turned: float | None = 0.8, scales: Sequence[int] = SCALES
    ):
        self._file = str(find_weights("yunet"))
        self._threshold, self._turned, self._scales = threshold, turned, tuple(scales)
        self._networks = threading.local()  # they keep the size of their input

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """The faces of a picture, those with the highest score first."""
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        long_side = max(picture.shape[:2])
        sizes = sorted({min(scale, long_side) for scale in self._scales})
        found = []
        for size in sizes:
            found += self._search(picture, size, self._threshold)
        if self._turned is not None:
            small = _shrunk(picture, min(_TURNED_SCALE, long_side))
            scale = picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]
            for degrees in range(45, 360, 45):
                matrix, size = turn(small.shape[:2], degrees)
                turned = cv2.warpAffine(small, matrix, size)
                faces = self._search(turned, max(size), self._turned)
                found += [scaled(turned_back(face, matrix), scale) for face in faces]
        return union(found)

    def _search(self, picture, size: int, threshold: float) -> list[Face]:
        small = _shrunk(picture, size)
        network = self._network()
        network.setInputSize(small.shape[1::-1])
        network.setScoreThreshold(threshold)
        _, rows = network.detect(np.ascontiguousarray(small))
        scale = picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]
        faces = [] if rows is None else [_face(row) for row in rows]
        return [scaled(face, scale) for face in faces]

    def _network(self):
        if not hasattr(self._networks, "yunet"):
            with quiet_opencv():
                self._networks.yunet = cv2.FaceDetectorYN.create(
                    self._file, "", (320, 320), nms_threshold=_OVERLAP
                )
        return self._networks.yunet


_LOG_LEVEL = threading.Lock()


@contextlib.contextmanager
def quiet_opencv():
    """OpenCV's notes about its engines, which nobody can act on, are not printed within."""
    log = cv2.utils.logging
    with _LOG_LEVEL:  # which is one for all threads
        level = log.getLogLevel()
        log.setLogLevel(log.LOG_LEVEL_ERROR)
        try:
            yield
        finally:
            log.setLogLevel(level)


def _shrunk(picture: np.ndarray, size: int) -> np.ndarray:
    height, width = picture.shape[:2]
    if max(height, width) <= size:
        return picture
    scale = size / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, target, interpolation=cv2.INTER_AREA)


def _face(row: np.ndarray) -> Face:
    return Face(tuple(map(float, row[:4])), float(row[14]), row[4:14].reshape(5, 2))


def scaled(face: Face, scale: tuple[float, float]) -> Face:
    """The face in a picture that is `scale` (x, y) times as large."""
    x, y = scale
    left, top, width, height = face.box
    return face._replace(
        box=(left * x, top * y, width * x, height * y), points=face.points * np.float32(scale)
    )


def turn(size: tuple[int, int], degrees: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The affine map (2, 3) that turns a picture of `size` (H, W) counter-clockwise, whole.

    And the (width, height) that holds it.
    """
    height, width = size
    center = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(center, degrees, 1.0)
    cosine, sine = np.abs(matrix[0, :2])
    turned = round(width * cosine + height * sine), round(width * sine + height * cosine)
    matrix[:, 2] += (np.array(turned) - 1) / 2 - center
    return matrix, turned


def turned_back(face: Face, matrix: np.ndarray) -> Face:
    """The face in a picture that was turned by `matrix`.

    Its box keeps its sides: they are the face's, whichever way up it is, and what looks at it
    takes the longer one.
    """
    back = cv2.invertAffineTransform(matrix)

    def place(points):  # whose pixels lie between whole numbers, while the map's are at them
        return (np.asarray(points) - 0.5) @ back[:, :2].T + back[:, 2] + 0.5

    left, top, width, height = face.box
    x, y = place([left + width / 2, top + height / 2])
    box = tuple(map(float, (x - width / 2, y - height / 2, width, height)))
    return face._replace(box=box, points=place(face.points).astype(np.float32))


def union(faces: Iterable[Face]) -> list[Face]:
    """Every face once, as the finding with the highest score shows it.

    Two findings are of one face where they overlap by 0.4 of their union, or where one lies in the
    other but for a fourth: two faces do not.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _same(one, other) -> bool:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = one[2] * one[3], other[2] * other[3]
    return shared > _OVERLAP * (sum(areas) - shared) or shared > 0.75 * min(areas)
