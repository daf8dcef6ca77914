"""From a picture to its private areas, and to what is doubtful about them.

A detector says where faces may be, the mesh lays landmarks over them. Where both agree closely, the
private area follows the landmarks. Where they do not, it also holds all that the detector found at
any scale, which holds what is left to see of a face whose half is covered. A person should look
where it may be no face, or where there may be more of it than was found.
"""

from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.detector import Detector, Face
from p3m_jax.faces.mesh import FaceMesh, Landmarks
from p3m_jax.faces.region import (
    AREAS,
    face_hull,
    face_polygon,
    head_polygon,
    wide_polygon,
)
from p3m_jax.faces.yunet import YuNet

# Scores of YuNet. Of 79 uncovered faces in 79 portraits 95 % score 0.932 and more; with one half of
# the same faces covered by a flat colour 95 % score 0.925 and less. Small faces score less anyhow.
POSSIBLE, LIKELY, SURE, UNCOVERED = 0.3, 0.6, 0.8, 0.92
_LARGE = 96  # pixels
_UPRIGHT = 0.36  # tangent of 20 degrees
_PRESENT = 0.5  # of the mesh
# Between the two networks' points: 95 % of the uncovered faces stay below 0.042, half of those with
# a side covered exceed 0.08, and what is no face mostly 0.12.
_AGREEMENT, _CLOSE_AGREEMENT = 0.1, 0.06
_RIM = 0.05  # of the box's longer side; nearer to the hull's rim are features of half profiles
_SAME = 0.7  # share of a mesh that lies in another of the same face

LOW_SCORE = "found with a low score"
FAINT = "found only with its contrast raised"
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

    @property
    def upright(self) -> bool:
        """Whether it is turned so little that a search for upright faces finds it at any size."""
        right_eye, left_eye, _, right_corner, left_corner = self.face.points
        x, y = right_corner + left_corner - right_eye - left_eye
        return y > 0 and abs(x) <= _UPRIGHT * y


class FaceFinder:
    """Finds the faces of a picture; from any thread.

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
        own = YuNet(POSSIBLE, turned=POSSIBLE, faint=LIKELY) if detector is None else None
        self._detector: Detector = detector or own
        self._upright: Detector = detector or own.upright
        self._mesh = FaceMesh()

    def __call__(self, picture: np.ndarray, *, upright: bool = False) -> list[FoundFace]:
        """The faces of a picture RGB uint8 (H, W, 3), those with the highest score first.

        With `upright` it does not look for turned ones, which takes most of the time; a detector of
        the user's own is asked all the same.
        """
        found: list[FoundFace] = []
        for face in (self._upright if upright else self._detector)(picture):
            landmarks = self._mesh(picture, face)
            trusted = _agreed(landmarks)
            if face.score < LIKELY and (not trusted or _known(landmarks, found)):
                continue
            polygon = face_polygon(landmarks)
            edge = _reaches_edge(polygon if trusted else _corners(face), picture.shape[:2])
            if not _outlined(face, landmarks) or edge:
                present = landmarks.presence >= _PRESENT
                polygon = wide_polygon(face, landmarks if present else None)
            doubts = {
                LOW_SCORE: face.score < LIKELY,
                FAINT: face.faint,
                COVERED: not trusted,
                TURNED_AWAY: _least_margin(polygon, face) < _RIM,
                AT_EDGE: edge,
            }
            if self._area == "head":
                polygon = head_polygon(face, polygon, landmarks if trusted else None)
            reasons = tuple(reason for reason, holds in doubts.items() if holds)
            found.append(FoundFace(face, landmarks, polygon, reasons))
        if any(not one.doubts for one in found):
            found = [_beside_a_sure_one(one) for one in found]
        return found


def _agreed(landmarks: Landmarks) -> bool:
    return landmarks.presence >= _PRESENT and landmarks.disagreement <= _AGREEMENT


def _outlined(face: Face, landmarks: Landmarks) -> bool:
    """Whether the mesh's outline is that of the face, which nothing covers and faces the camera."""
    return (
        landmarks.presence >= _PRESENT
        and landmarks.disagreement <= _CLOSE_AGREEMENT
        and face.score >= (UNCOVERED if max(face.box[2:]) >= _LARGE else SURE)
        and not face.faint
        and _least_margin(face_hull(landmarks), face) >= _RIM
    )


def _beside_a_sure_one(found: FoundFace) -> FoundFace:
    """The finding, with no doubt that only the mesh has and that does not matter.

    The mesh seldom agrees on a passer-by of few pixels, or where half of a face is covered; both
    are hidden by the detector's boxes. Without a sure face in the picture, its own may have been
    missed, so the doubt stays.
    """
    if max(found.face.box[2:]) >= _LARGE and found.face.score < SURE:
        return found
    return found._replace(doubts=tuple(doubt for doubt in found.doubts if doubt != COVERED))


def _least_margin(polygon: np.ndarray, face: Face) -> float:
    """How far inside a polygon the detector's eyes, nose and mouth lie at least, in box sides."""
    inside = (cv2.pointPolygonTest(polygon, tuple(map(float, p)), True) for p in face.points)
    return min(inside) / max(face.box[2:])


def _known(landmarks: Landmarks, found: list[FoundFace]) -> bool:
    """Whether the mesh was laid over the same face before, where the detector was sure of it."""
    hull = face_hull(landmarks)
    for other in found:
        if other.agreed and other.face.score >= SURE:
            shared, _ = cv2.intersectConvexConvex(hull, face_hull(other.landmarks))
            if shared > _SAME * cv2.contourArea(hull):
                return True
    return False


def _corners(face: Face) -> np.ndarray:
    left, top, width, height = face.box
    return np.array([(left, top), (left + width, top + height)])


def _reaches_edge(points: np.ndarray, size: tuple[int, int]) -> bool:
    last = np.array(size[::-1]) - 1
    return bool((points <= 0).any() or (points >= last).any())
