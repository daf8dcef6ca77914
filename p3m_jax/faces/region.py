"""The private area of a face: from the jaw line to the top of the eyebrows, or the whole head.

Areas are kept as label maps, uint8 (H, W): 0 outside, 255 in the first face, 254 in the second and
so on. All labels lie above 100, which is what P3M-10k's face masks count as face, so a label map is
a face mask at the same time.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from p3m_jax.faces.detector import Face
from p3m_jax.faces.mesh import BROWS, CHIN, Landmarks
from p3m_jax.pictures.labels import SMALLEST_LABEL
from p3m_jax.pictures.trimap import TRANSITION, transition_kernel, trimap_from_matte

AREAS = ("face", "head")
LARGEST_LABEL = 255
FACE_ABOVE = SMALLEST_LABEL - 1  # values of a face mask that are face

# The mesh misses the outline of a face by some per cent of its size, most on cheeks that are turned
# away; so the polygon is widened by this share of its distance from the middle.
_MARGIN = 0.1
# A head as an ellipse, in units of the distance from chin to brows: how far it reaches below
# the chin, above the chin, and to each side. Much of it is for hair: a skull ends at 1.5 and 0.75.
_BELOW, _ABOVE, _BESIDE = 0.15, 2.0, 1.0
_HEAD_STEPS = 64  # corners of the ellipse


def face_polygon(landmarks: Landmarks) -> np.ndarray:
    """The private area as a convex polygon, float32 (N, 2), (x, y) in pixels of the picture.

    The hull of the mesh from the jaw line up to the upper edge of the brows, a little widened
    (spec: P3M-10k's published pictures; the landmark model and the exact outline are not
    published). In half profile cheek and nose reach beyond the jaw line, so the hull is of all
    points that are not above the brows.
    """
    return _widened(face_hull(landmarks))


def face_hull(landmarks: Landmarks) -> np.ndarray:
    """`face_polygon` before it is widened."""
    points, brows = landmarks.points, landmarks.points[list(BROWS)]
    up = brows.mean(0) - points[CHIN]
    height = points @ up
    return cv2.convexHull(points[height <= height[list(BROWS)].max()])[:, 0]


def wide_polygon(face: Face, landmarks: Landmarks | None = None) -> np.ndarray:
    """What holds a face although its outline is not sure, a convex polygon like `face_polygon`.

    A square that holds the face whichever way up it is, by all that the detector found, and the
    mesh's polygon, if landmarks are given.
    """
    left, top, width, height = face.reach or face.box
    middle, half = np.array([left + width / 2, top + height / 2]), max(width, height) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    square = _widened(middle + half * corners)
    if landmarks is None:
        return square
    return cv2.convexHull(np.concatenate([square, face_polygon(landmarks)]))[:, 0]


def head_polygon(face: Face, polygon: np.ndarray, landmarks: Landmarks | None) -> np.ndarray:
    """The whole head, hair and ears included, as a convex polygon; holds `polygon`.

    An ellipse, upright as the face is. Long hair and a hat's rim stay outside.

    Args:
      face: as the detector sees it.
      polygon: what is private of the face, float32 (N, 2).
      landmarks: None: they cannot be trusted, and the detector's eyes and mouth tell which way up
        the face is.
    """
    if landmarks is not None:
        points = landmarks.points
        return _head(points[CHIN], points[list(BROWS)].mean(0), polygon)
    middle, half = polygon.mean(0), max(face.box[2:]) / 2
    up = face.points[:2].mean(0) - face.points[3:].mean(0)
    length = np.linalg.norm(up)
    up = up / length if length > 0 else np.array([0.0, -1.0])
    return _head(middle - half * up, middle + 0.4 * half * up, polygon)


def _head(chin: np.ndarray, brows: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The hull of a polygon around a face (N, 2) and of the head's ellipse."""
    up = brows - chin
    beside = np.array([-up[1], up[0]])
    middle = (face.min(0) + face.max(0)) / 2
    middle = chin + up * ((_ABOVE - _BELOW) / 2) + beside * ((middle - chin) @ beside / (up @ up))
    angles = np.linspace(0, 2 * np.pi, _HEAD_STEPS, endpoint=False)[:, None]
    ellipse = (
        middle + np.cos(angles) * beside * _BESIDE + np.sin(angles) * up * (_ABOVE + _BELOW) / 2
    )
    return cv2.convexHull(np.concatenate([face, ellipse]).astype(np.float32))[:, 0]


def _widened(polygon: np.ndarray) -> np.ndarray:
    middle = (polygon.min(0) + polygon.max(0)) / 2
    return ((polygon - middle) * (1 + _MARGIN) + middle).astype(np.float32)


def label_map(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The areas of polygons in a picture of `size` (H, W), a label each, uint8 (H, W).

    There are 155 labels; of more faces those after the 154th share the last one. Where areas
    overlap the larger one counts, whose obfuscation is the stronger.
    """
    labels = np.zeros(size, np.uint8)
    areas = [cv2.contourArea(polygon) for polygon in polygons]
    for number in np.argsort(areas, kind="stable"):
        label = max(LARGEST_LABEL - int(number), SMALLEST_LABEL)
        cv2.fillPoly(labels, [np.rint(polygons[number]).astype(np.int32)], label)
    return labels


def labels_of_mask(mask: np.ndarray) -> np.ndarray:
    """The label map of a face mask uint8 (H, W), whose connected parts are taken for faces."""
    count, parts = cv2.connectedComponents((mask > FACE_ABOVE).astype(np.uint8))
    labels = np.maximum(LARGEST_LABEL + 1 - np.arange(count), SMALLEST_LABEL)
    labels[0] = 0
    return labels.astype(np.uint8)[parts]


def without_transition(labels: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """A label map without the transition area of a matte, both uint8 (H, W).

    Hair and edges stay sharp there, or the matte would no longer be true. The area is that of a
    trimap whose kernel has 25 pixels in a picture of 1080 and follows its size.
    """
    kernel = transition_kernel(matte.shape)
    return np.where(trimap_from_matte(matte, kernel) == TRANSITION, np.uint8(0), labels)
