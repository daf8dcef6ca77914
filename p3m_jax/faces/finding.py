"""From a picture to its private areas, and to what is doubtful about them.

A detector says where faces may be, the mesh lays landmarks over them. Where both agree a face is
sure; where they do not, it is obfuscated all the same, more broadly, and a person should look.
"""

from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.detector import Detector, Face, YuNet
from p3m_jax.faces.mesh import FaceMesh, Landmarks
from p3m_jax.faces.region import (
    AREAS,
    box_polygon,
    face_hull,
    face_polygon,
    head_box_polygon,
    head_polygon,
)

# Scores of YuNet. Of 79 uncovered faces in 79 portraits 95 % score 0.932 and more; with one half of
# the same faces covered by a flat colour 95 % score 0.925 and less. Small faces score less anyhow.
POSSIBLE, LIKELY, SURE, UNCOVERED = 0.3, 0.6, 0.8, 0.92
_LARGE = 96  # pixels
_TURNED = 0.6
_PRESENT = 0.5  # of the mesh
# Between the two networks' points: 95 % of the uncovered faces stay below 0.042, half of those with
# a side covered exceed 0.08, and what is no face mostly 0.12.
_AGREEMENT, _CLOSE_AGREEMENT = 0.1, 0.06
_RIM = 0.05  # of the box's longer side; nearer to the hull's rim are features of half profiles

LOW_SCORE = "found with a low score"
AT_EDGE = "touches the edge of the picture"
COVERED = "covered in part, or no face"
TURNED_AWAY = "turned away, the area may miss a part"


class FoundFace(NamedTuple):
    """A face with its private area.

    Attributes:
      face: as the detector sees it.
      landmarks: the mesh.
      polygon: the private area, float32 (N, 2), pixels; from the landmarks, or from the box where
        they cannot be trusted. All of the head where the finder was asked for that.
      doubts: why a person should look at it.
    """

    face: Face
    landmarks: Landmarks
    polygon: np.ndarray
    doubts: tuple[str, ...]

    @property
    def agreed(self) -> bool:
        """Whether both networks see a face here, sure or not."""
        return _agreed(self.landmarks)


class FaceFinder:
    """Finds the faces of a picture; from any thread.

    What covers a face in part, a hand or a mask, mostly shows in the detector's score; what covers
    little of it, such as sunglasses or a hand at the chin, shows in a half of the cases or less.

    Args:
      detector: a user's own in the place of YuNet. What it returns with a score below 0.6 is a face
        only where the mesh agrees.

      area: what is private of a face: "face", from the jaw to the brows, or "head", with hair and
        ears.

    Raises:
      FaceWeightsError: weights are not installed.
      ValueError: there is no such area.
    """

    def __init__(self, detector: Detector | None = None, *, area: str = "face"):
        if area not in AREAS:
            raise ValueError(f"{area!r}: the private area is one of {', '.join(AREAS)}.")
        self._area = area
        self._detector = detector or YuNet(POSSIBLE, turned=_TURNED)
        self._mesh = FaceMesh()

    def __call__(self, picture: np.ndarray) -> list[FoundFace]:
        """The faces of a picture RGB uint8 (H, W, 3), those with the highest score first."""
        found = []
        for face in self._detector(picture):
            landmarks = self._mesh(picture, face)
            trusted = _agreed(landmarks)
            if not trusted and face.score < LIKELY:
                continue
            polygon = face_polygon(landmarks) if trusted else box_polygon(face)
            private = polygon
            if self._area == "head":
                private = head_polygon(landmarks) if trusted else head_box_polygon(face)
            close = trusted and landmarks.disagreement <= _CLOSE_AGREEMENT
            doubts = {
                LOW_SCORE: face.score < SURE,
                COVERED: not close or (face.score < UNCOVERED and max(face.box[2:]) >= _LARGE),
                TURNED_AWAY: trusted and _features_at_rim(face, landmarks),
                AT_EDGE: _reaches_edge(polygon, picture.shape[:2]),
            }
            reasons = tuple(reason for reason, holds in doubts.items() if holds)
            found.append(FoundFace(face, landmarks, private, reasons))
        return found


def _agreed(landmarks: Landmarks) -> bool:
    return landmarks.presence >= _PRESENT and landmarks.disagreement <= _AGREEMENT


def _features_at_rim(face: Face, landmarks: Landmarks) -> bool:
    """Whether eyes, nose or mouth, as the detector sees them, lie at or beyond the mesh's hull."""
    hull, least = face_hull(landmarks), _RIM * max(face.box[2:])
    inside = (cv2.pointPolygonTest(hull, tuple(map(float, p)), True) for p in face.points)
    return min(inside) < least


def _reaches_edge(polygon: np.ndarray, size: tuple[int, int]) -> bool:
    last = np.array(size[::-1]) - 1
    return bool((polygon <= 0).any() or (polygon >= last).any())
