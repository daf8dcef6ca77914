"""The private area of a face: from the jaw line to the top of the eyebrows, without hair and ears.

Areas are kept as label maps, uint8 (H, W): 0 outside, 255 in the first face, 254 in the second and
so on. All labels lie above 100, which is what P3M-10k's face masks count as face, so a label map is
a face mask at the same time.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from p3m_jax.faces.detector import Face
from p3m_jax.faces.mesh import BROWS, JAW, Landmarks
from p3m_jax.trimap import TRANSITION, transition_kernel, trimap_from_matte

FACE_ABOVE = 100  # values of a face mask that are face
LARGEST_LABEL, SMALLEST_LABEL = 255, FACE_ABOVE + 1

# The mesh misses the outline of a face by some per cent of its size, most on cheeks that are turned
# away; so the polygon is widened by this share of its distance from the middle.
_MARGIN = 0.06


def face_polygon(landmarks: Landmarks, margin: float = _MARGIN) -> np.ndarray:
    """The private area as a convex polygon, float32 (N, 2), (x, y) in pixels of the picture.

    The hull of the jaw line and the upper edge of the brows (spec: P3M-10k's published pictures;
    the landmark model and the exact outline are not published), widened by `margin`, a share.
    """
    return _widened(cv2.convexHull(landmarks.points[list(JAW + BROWS)])[:, 0], margin)


def box_polygon(face: Face) -> np.ndarray:
    """The whole box of a face, as `face_polygon`: where the mesh cannot be trusted."""
    left, top, width, height = face.box
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return _widened(np.array(corners, np.float32) + np.float32((left, top)))


def _widened(polygon: np.ndarray, margin: float = _MARGIN) -> np.ndarray:
    middle = (polygon.min(0) + polygon.max(0)) / 2
    return ((polygon - middle) * (1 + margin) + middle).astype(np.float32)


def label_map(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The areas of polygons in a picture of `size` (H, W), a label each, uint8 (H, W).

    There are 155 labels; of more faces those after the 154th share the last one.
    """
    labels = np.zeros(size, np.uint8)
    for number, polygon in enumerate(polygons):
        label = max(LARGEST_LABEL - number, SMALLEST_LABEL)
        cv2.fillPoly(labels, [np.rint(polygon).astype(np.int32)], label)
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
