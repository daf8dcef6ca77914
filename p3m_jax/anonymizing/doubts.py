"""Why a picture is not passed on, after it was obfuscated."""

from collections.abc import Sequence

import cv2
import numpy as np

from p3m_jax.faces.areas import NO_FACE, PrivateAreas
from p3m_jax.faces.finding import LIKELY, FoundFace
from p3m_jax.faces.obfuscation import Obfuscation

STILL_FOUND = "a face is still found after obfuscation: raise --strength, or mend mask or matte"
# Shares of a face that a mask covers: below, it does not mean this face; above, and filled with
# black, there is nothing to be seen of it, whatever the networks make of its surroundings.
_MEANT, _GONE = 0.1, 0.5


def doubts_about(
    areas: PrivateAreas,
    still: Sequence[FoundFace],
    obfuscation: Obfuscation,
    *,
    mask_given: bool,
    no_face_is_fine: bool,
) -> list[str]:
    """Reasons why somebody should look at an obfuscated picture.

    A mask that somebody has given answers which faces there are, and whether what is found with a
    low score is one. It does not answer whether the faces it covers are hidden: a weak strength or
    a matte's transition area may leave them.

    Args:
      areas: what is private in the picture.
      still: the faces that are found in the obfuscated one.
      obfuscation: what was done.
      mask_given: the areas come from a mask.
      no_face_is_fine: that no face was found is no reason.
    """
    doubts = [doubt for doubt in areas.doubts if doubt != NO_FACE or not no_face_is_fine]
    for found in still:
        another = mask_given and (_share(found, areas.labels) < _MEANT or found.face.score < LIKELY)
        filled = obfuscation.mode == "fill" and _share(found, areas.private) > _GONE
        if found.agreed and not another and not filled:
            return [*doubts, STILL_FOUND]
    return doubts


def _share(found: FoundFace, labels: np.ndarray) -> float:
    """The share of a face that lies where labels (H, W) are not 0."""
    inside = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(found.polygon).astype(np.int32)], 1)
    return np.count_nonzero(labels[inside > 0]) / max(1, np.count_nonzero(inside))
