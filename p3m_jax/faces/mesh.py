"""Landmarks of a face: MediaPipe's mesh of 468 points, run with OpenCV only."""

import threading
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.detector import Face, quiet_opencv, warp
from p3m_jax.faces.weights import find_weights

POINTS = 468
_SIDE = 192  # of the network's input, in pixels
_REACH = 1.5  # side of the square that the network sees, in longer sides of the face's box
_PRESENCE, _LANDMARKS = "conv2d_30", "conv2d_20"

# Indices of mesh points. Right and left are the person's.
CHIN = 152
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)  # their upper edges
# The mesh points for a detector's five points: corners of the eyes, tip of the nose, mouth.
_FIVE = ((33, 133), (362, 263), (1,), (61,), (291,))


class Landmarks(NamedTuple):
    """The mesh placed on a face.

    Attributes:
      points: float32 (468, 2), (x, y) in pixels of the picture; may lie outside it.
      presence: the mesh network's confidence that a face is present, in [0, 1].
      disagreement: mean distance between a detector's five points and the mesh's, as a fraction of
        the longer side of the face's box. It is large if part of the face is covered.
    """

    points: np.ndarray
    presence: float
    disagreement: float


class FaceMesh:
    """Places MediaPipe's mesh of 468 points on detected faces. Threads may share this object.

    Call it with a picture, RGB uint8 (H, W, 3), and a `Face` in it; it returns `Landmarks`.

    Raises:
      FaceWeightsError: the weights are not installed.
    """

    def __init__(self) -> None:
        self._file = str(find_weights("mesh"))
        self._networks = threading.local()

    def __call__(self, picture: np.ndarray, face: Face) -> Landmarks:
        """Returns the landmarks of a face in a picture RGB uint8 (H, W, 3).

        The network sees a square around the face, turned so that the eyes are level.
        """
        to_square = _square(face)
        square = _warped(picture, face, to_square)
        network = self._network()
        network.setInput(cv2.dnn.blobFromImage(square, 1 / 255))
        presence, points = network.forward([_PRESENCE, _LANDMARKS])
        points = points.reshape(POINTS, 3)[:, :2]
        back = cv2.invertAffineTransform(to_square)
        points = (points @ back[:, :2].T + back[:, 2]).astype(np.float32)
        five = np.stack([points[list(group)].mean(0) for group in _FIVE])
        distances = np.linalg.norm(five - face.points, axis=-1)
        return Landmarks(
            points,
            float(1 / (1 + np.exp(-np.float64(presence.item())))),
            float(distances.mean() / max(face.box[2:])),
        )

    def _network(self) -> cv2.dnn.Net:
        if not hasattr(self._networks, "mesh"):
            with quiet_opencv():  # OpenCV's newer engine loses the output with the presence
                self._networks.mesh = cv2.dnn.readNetFromTFLite(self._file, cv2.dnn.ENGINE_CLASSIC)
        return self._networks.mesh


def _square(face: Face) -> np.ndarray:
    """Returns the affine map (2, 3) from the picture to the network's square."""
    left, top, width, height = face.box
    center = left + width / 2, top + height / 2
    right_eye, left_eye = face.points[:2].astype(np.float64)
    angle = np.degrees(np.arctan2(*(left_eye - right_eye)[::-1]))
    scale = _SIDE / (_REACH * max(width, height))
    matrix = np.asarray(cv2.getRotationMatrix2D(center, float(angle), scale), np.float64)
    matrix[:, 2] += _SIDE / 2 - np.array(center)
    return matrix


def _warped(picture: np.ndarray, face: Face, to_square: np.ndarray) -> np.ndarray:
    """Returns the square that the network sees; shrinks a large face by averaging, not sampling."""
    shrink = int(1 / np.hypot(*to_square[:, 0]))
    if shrink < 2:
        return warp(picture, to_square, (_SIDE, _SIDE))
    left, top, width, height = face.box
    reach = 0.5**0.5 * _REACH * max(width, height)  # half the square's diagonal
    center = np.array([left + width / 2, top + height / 2])
    first = np.maximum(center - reach, 0).astype(int)
    last = np.maximum(center + reach, first + shrink).astype(int)
    window = picture[first[1] : last[1], first[0] : last[0]]
    size = [max(1, side // shrink) for side in window.shape[1::-1]]
    small = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    scale = np.array(window.shape[1::-1]) / size
    # From pixels of the small window to pixels of the picture; pixel centres are whole numbers.
    to_picture = np.diag([*scale, 1.0])
    to_picture[:2, 2] = first + scale / 2 - 0.5
    return cv2.warpAffine(small, to_square @ to_picture, (_SIDE, _SIDE))
