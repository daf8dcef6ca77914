"""The reasons to hold back a picture after its faces were obfuscated."""

from collections.abc import Sequence

import cv2
import numpy as np

from p3m_jax.faces.areas import NO_FACE, PrivateAreas
from p3m_jax.faces.finding import LIKELY, FoundFace
from p3m_jax.faces.obfuscation import Obfuscation

STILL_FOUND = (
    "a face is still found after obfuscation: raise --strength, or correct the mask or the matte"
)
# Fractions of a found face inside a mask. Below _MEANT, the mask belongs to another face. Above
# _GONE, with a black fill, nothing of the face is visible, whatever the networks find around it.
_MEANT, _GONE = 0.1, 0.5


def doubts_about(
    areas: PrivateAreas,
    still: Sequence[FoundFace],
    obfuscation: Obfuscation,
    *,
    mask_given: bool,
    no_face_is_fine: bool,
) -> list[str]:
    """Returns the reasons to review an obfuscated picture, as phrases; empty if there are none.

    The first reasons are the doubts in `areas`. A further reason is that a face is still found in
    the obfuscated picture.

    If the user gave a mask, a face in `still` counts only if it overlaps the mask and does not have
    a low score. A face inside the mask may still be visible because of a weak strength or a matte's
    transition area. After a black fill, a face that is mostly black never counts.

    Args:
      areas: the face areas of the picture.
      still: the faces found in the obfuscated picture.
      obfuscation: the obfuscation that was applied.
      mask_given: whether the user gave a mask.
      no_face_is_fine: whether a picture without any face needs no review.
    """
    doubts = [doubt for doubt in areas.doubts if doubt != NO_FACE or not no_face_is_fine]
    for found in still:
        another = mask_given and (_share(found, areas.labels) < _MEANT or found.face.score < LIKELY)
        filled = obfuscation.mode == "fill" and _share(found, areas.private) > _GONE
        if found.agreed and not another and not filled:
            return [*doubts, STILL_FOUND]
    return doubts


def _share(found: FoundFace, labels: np.ndarray) -> float:
    """Returns the fraction of a face that lies where `labels` (H, W) is not 0."""
    inside = np.zeros(labels.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(found.polygon).astype(np.int32)], 1)
    return int(np.count_nonzero(labels[inside > 0])) / max(1, int(np.count_nonzero(inside)))
