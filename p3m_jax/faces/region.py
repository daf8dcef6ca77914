"""The face area of a face: from the jaw line to the top of the eyebrows, or the whole head.

Areas are stored as label maps, uint8 (H, W): 0 is outside, the first face is 255, the second 254,
and so on. All labels are above 100, the threshold for face pixels in P3M-10k's face masks. So a
label map is also a valid face mask.
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
FACE_ABOVE = SMALLEST_LABEL - 1  # larger values of a face mask are face

# The mesh misses the outline of a face by some per cent of its size, most on a cheek that is turned
# away. So each point of the polygon moves outward by this fraction of its distance from the middle.
_MARGIN = 0.1
# A head as an ellipse, in units of the distance from chin to brows: how far it extends below the
# chin, above the chin, and to each side. Much of this is hair: a skull ends at 1.5 and 0.75.
_BELOW, _ABOVE, _BESIDE = 0.15, 2.0, 1.0
_HEAD_STEPS = 64  # corners of the ellipse


def face_polygon(landmarks: Landmarks) -> np.ndarray:
    """Returns the face area as a convex polygon, float32 (N, 2), (x, y) in pixels of the picture.

    It is the hull of the mesh from the jaw line to the upper edge of the brows, slightly widened.
    In P3M-10k's published pictures, the same area of each face is blurred. The landmark model and
    the exact outline used for P3M-10k are not published. In half profile, cheek and nose extend
    beyond the jaw line, so the hull includes all points that are not above the brows.
    """
    return _widened(face_hull(landmarks))


def face_hull(landmarks: Landmarks) -> np.ndarray:
    """Returns the convex polygon of `face_polygon` before it is widened, float32 (N, 2)."""
    points, brows = landmarks.points, landmarks.points[list(BROWS)]
    up = brows.mean(0) - points[CHIN]
    height = points @ up
    return cv2.convexHull(points[height <= height[list(BROWS)].max()])[:, 0]


def wide_polygon(face: Face, landmarks: Landmarks | None = None) -> np.ndarray:
    """Returns a convex polygon around a face whose outline is uncertain, float32 (N, 2).

    The polygon encloses a square around `face.reach`, the box around all boxes found for this face.
    If `face.reach` is None, the square is around `face.box`. The square is large enough for any
    rotation of the face. If landmarks are given, the polygon also encloses `face_polygon`.
    """
    left, top, width, height = face.reach or face.box
    middle, half = np.array([left + width / 2, top + height / 2]), max(width, height) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    square = _widened(middle + half * corners)
    if landmarks is None:
        return square
    return cv2.convexHull(np.concatenate([square, face_polygon(landmarks)]))[:, 0]


def head_polygon(face: Face, polygon: np.ndarray, landmarks: Landmarks | None) -> np.ndarray:
    """Returns a convex polygon that encloses `polygon` and the head with hair and ears.

    The head is an ellipse, tilted like the face. Long hair and a hat's brim stay outside.

    Args:
      face: the face as the detector returns it.
      polygon: the face area of the face, float32 (N, 2).
      landmarks: the points of the face mesh. If they are None, because the mesh is unreliable, the
        tilt is computed from the eyes and mouth in `face`.
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
    """Returns the convex hull of the polygon `face` (N, 2) and the head's ellipse."""
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
    """Draws polygons as a label map of `size` (H, W), uint8, with one label per polygon.

    There are 155 labels. If there are more polygons, the 155th and all later ones share the last
    label. Where polygons overlap, the larger one wins, because it is obfuscated more strongly.
    """
    labels = np.zeros(size, np.uint8)
    areas = [cv2.contourArea(polygon) for polygon in polygons]
    for number in np.argsort(areas, kind="stable"):
        label = max(LARGEST_LABEL - int(number), SMALLEST_LABEL)
        cv2.fillPoly(labels, [np.rint(polygons[number]).astype(np.int32)], label)
    return labels


def labels_of_mask(mask: np.ndarray) -> np.ndarray:
    """Makes the label map of a face mask; both are uint8 (H, W).

    Each connected region of the mask becomes one face.
    """
    count, parts = cv2.connectedComponents((mask > FACE_ABOVE).astype(np.uint8))
    labels = np.maximum(LARGEST_LABEL + 1 - np.arange(count), SMALLEST_LABEL)
    labels[0] = 0
    return labels.astype(np.uint8)[parts]


def without_transition(labels: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Returns a label map set to 0 in a matte's transition area; both are uint8 (H, W).

    Obfuscation would blur the hair and edges in this area, and the matte would no longer be
    correct. The width of the transition area is proportional to the short side of the picture, see
    `p3m_jax.pictures.trimap.transition_kernel`.
    """
    kernel = transition_kernel(matte.shape)
    return np.where(trimap_from_matte(matte, kernel) == TRANSITION, np.uint8(0), labels)
