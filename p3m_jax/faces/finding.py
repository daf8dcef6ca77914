"""Finds the faces in a picture and the area of each face; notes which faces need review.

A detector proposes faces, and the mesh network places landmarks on them. If the positions of eyes,
nose and mouth from both networks agree closely, the face area follows the landmarks. Otherwise the
area also includes every box that the detector found for the face at any scale. These boxes cover
the visible part of a half-covered face.

A doubt is a reason for a person to review a found face. The finder may have mistaken something else
for a face, or part of the face may lie outside its area.
"""

from collections.abc import Callable
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

# Scores of YuNet. Of 79 uncovered faces in 79 portraits, 95 % score 0.932 or more. With one half of
# the same faces covered by a flat colour, 95 % score 0.925 or less. Small faces score less anyway.
POSSIBLE, LIKELY, SURE, UNCOVERED = 0.3, 0.6, 0.8, 0.92
_LARGE = 96  # pixels
_UPRIGHT = 0.36  # tangent of 20 degrees
_PRESENT = 0.5  # lowest `Landmarks.presence` that counts as a face
# Disagreement between the points of the two networks: 95 % of the uncovered faces stay below 0.042,
# half of those with a covered side exceed 0.08, and most findings that are no face exceed 0.12.
_AGREEMENT, _CLOSE_AGREEMENT = 0.1, 0.06
_RIM = 0.05  # fraction of the box's longer side; in half profile, features are closer to the edge
_SAME = 0.7  # two meshes are on the same face if this fraction of one lies in the other

LOW_SCORE = "found with a low score"
FAINT = "found only with its contrast raised"
AT_EDGE = "touches the edge of the picture"
COVERED = "covered in part, or no face"
TURNED_AWAY = "turned away, the area may miss part of the face"


class FoundFace(NamedTuple):
    """A face with its face area.

    Attributes:
      face: the face as the detector returns it.
      landmarks: the mesh placed on the face.
      polygon: the face area, float32 (N, 2), (x, y) in pixels. The polygon follows the landmarks
        if they are reliable; otherwise it also encloses the detector's box. It covers the whole
        head if the `FaceFinder` was created with `area="head"`.
      doubts: reasons for a person to review the face.
    """

    face: Face
    landmarks: Landmarks
    polygon: np.ndarray
    doubts: tuple[str, ...]

    @property
    def agreed(self) -> bool:
        """Whether the mesh network agrees with the detector that this is a face.

        A face may have doubts even if the two agree.
        """
        return _agreed(self.landmarks)

    @property
    def upright(self) -> bool:
        """Whether the face is upright enough (within 20 degrees) to be found without rotation."""
        right_eye, left_eye, _, right_corner, left_corner = self.face.points
        x, y = right_corner + left_corner - right_eye - left_eye
        return y > 0 and abs(x) <= _UPRIGHT * y


# Finds the faces of a picture RGB uint8 (H, W, 3), like `FaceFinder`.
Find = Callable[[np.ndarray], list[FoundFace]]


class FaceFinder:
    """Finds the faces of a picture and their areas. Threads may share this object.

    Call it with a picture, RGB uint8 (H, W, 3); it returns a list of `FoundFace`.

    Args:
      detector: the user's own detector, which replaces YuNet. A face with a score below 0.6 is
        returned only if the mesh network agrees that it is a face, see `FoundFace.agreed`.
      area: "face" for a face area from the jaw to the brows, or "head" for one that includes hair
        and ears.

    Raises:
      FaceWeightsError: weights are not installed.
      ValueError: `area` is neither "face" nor "head".
    """

    def __init__(self, detector: Detector | None = None, *, area: str = "face") -> None:
        if area not in AREAS:
            raise ValueError(f"{area!r}: the face area must be one of {', '.join(AREAS)}.")
        self._area = area
        self._detector: Detector
        self._upright: Detector
        if detector is None:
            own = YuNet(POSSIBLE, turned=POSSIBLE, faint=LIKELY)
            self._detector, self._upright = own, own.upright
        else:
            self._detector = self._upright = detector
        self._mesh = FaceMesh()

    def __call__(self, picture: np.ndarray, *, upright: bool = False) -> list[FoundFace]:
        """Returns the faces of a picture RGB uint8 (H, W, 3), those with the highest score first.

        `upright` skips the search for turned faces, which takes most of the time. It does not
        change how the user's own detector is called.
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
    """Whether the mesh's outline is reliable: the face is uncovered and looks at the camera."""
    return (
        landmarks.presence >= _PRESENT
        and landmarks.disagreement <= _CLOSE_AGREEMENT
        and face.score >= (UNCOVERED if max(face.box[2:]) >= _LARGE else SURE)
        and not face.faint
        and _least_margin(face_hull(landmarks), face) >= _RIM
    )


def _beside_a_sure_one(found: FoundFace) -> FoundFace:
    """Removes the doubt `COVERED` from a finding, unless the face is large and its score low.

    The mesh seldom agrees on a passer-by of few pixels or on a half-covered face. The boxes of the
    detector hide both, so this doubt does not matter there. Call this only if another face of the
    picture has no doubts: otherwise the picture's main face may have been missed.
    """
    if max(found.face.box[2:]) >= _LARGE and found.face.score < SURE:
        return found
    return found._replace(doubts=tuple(doubt for doubt in found.doubts if doubt != COVERED))


def _least_margin(polygon: np.ndarray, face: Face) -> float:
    """Returns the smallest distance of the detector's points to a polygon's edge.

    It is a fraction of the box's longer side, and negative if a point lies outside the polygon.
    """
    inside = (cv2.pointPolygonTest(polygon, tuple(map(float, p)), True) for p in face.points)
    return min(inside) / max(face.box[2:])


def _known(landmarks: Landmarks, found: list[FoundFace]) -> bool:
    """Whether this is the face of an earlier finding with a high score, judged by their meshes."""
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
