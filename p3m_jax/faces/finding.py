"""From a picture to its private areas, and to what is doubtful about them.

A detector says where faces may be, the mesh lays landmarks over them. Where both agree a face is
sure; where they do not, it is obfuscated all the same, more broadly, and a person should look.
"""

from typing import NamedTuple

import numpy as np

from p3m_jax.faces.detector import Detector, Face, YuNet
from p3m_jax.faces.mesh import FaceMesh, Landmarks
from p3m_jax.faces.region import box_polygon, face_polygon

POSSIBLE, LIKELY, SURE = 0.3, 0.6, 0.8  # scores of YuNet
_TURNED = 0.6
_PRESENT = 0.5  # of the mesh
# Between the two networks' points. On pictures of uncovered faces it stayed below 0.06, on what is
# no face it was mostly above 0.12.
_AGREEMENT = 0.1

NO_FACE = "no face found"
LOW_SCORE = "found with a low score"
AT_EDGE = "touches the edge of the picture"
COVERED = "covered in part, or no face"


class FoundFace(NamedTuple):
    """A face with its private area.

    Attributes:
      face: as the detector sees it.
      landmarks: the mesh.
      polygon: the private area, float32 (N, 2), pixels; from the landmarks, or the whole box where
        they cannot be trusted.
      doubts: why a person should look at it.
    """

    face: Face
    landmarks: Landmarks
    polygon: np.ndarray
    doubts: tuple[str, ...]


class FaceFinder:
    """Finds the faces of a picture; from any thread.

    Args:
      detector: a user's own in the place of YuNet. What it returns with a score below 0.6 is a face
        only where the mesh agrees.

    Raises:
      FaceWeightsError: weights are not installed.
    """

    def __init__(self, detector: Detector | None = None):
        self._detector = detector or YuNet(POSSIBLE, turned=_TURNED)
        self._mesh = FaceMesh()

    def __call__(self, picture: np.ndarray) -> list[FoundFace]:
        """The faces of a picture RGB uint8 (H, W, 3), those with the highest score first."""
        found = []
        for face in self._detector(picture):
            landmarks = self._mesh(picture, face)
            trusted = landmarks.presence >= _PRESENT and landmarks.disagreement <= _AGREEMENT
            if not trusted and face.score < LIKELY:
                continue
            polygon = face_polygon(landmarks) if trusted else box_polygon(face)
            doubts = {
                LOW_SCORE: face.score < SURE,
                COVERED: not trusted,
                AT_EDGE: _reaches_edge(polygon, picture.shape[:2]),
            }
            reasons = tuple(reason for reason, holds in doubts.items() if holds)
            found.append(FoundFace(face, landmarks, polygon, reasons))
        return found


def _reaches_edge(polygon: np.ndarray, size: tuple[int, int]) -> bool:
    last = np.array(size[::-1]) - 1
    return bool((polygon <= 0).any() or (polygon >= last).any())
