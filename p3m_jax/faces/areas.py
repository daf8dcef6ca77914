"""What is private in a picture, for whoever obfuscates it: training, evaluation, anonymising."""

from typing import NamedTuple

import numpy as np

from p3m_jax.faces.finding import FaceFinder, FoundFace
from p3m_jax.faces.region import label_map, labels_of_mask, without_transition

NO_FACE = "no face found"
MOSTLY_TRANSITION = "the matte's transition area leaves much of the face clear"
# Share of a face. The edge of a good matte takes a tenth; hair that falls into a face more.
_LARGEST_TRANSITION = 0.4


class PrivateAreas(NamedTuple):
    """The private areas of one picture.

    Attributes:
      labels: uint8 (H, W), the label map of the faces, see `p3m_jax.faces.region`.
      private: uint8 (H, W), `labels` without the matte's transition area: what is obfuscated.
      faces: as they were found; none where a mask was given.
      doubts: why a person should look before the picture is used; none where a mask was given.
    """

    labels: np.ndarray
    private: np.ndarray
    faces: tuple[FoundFace, ...] = ()
    doubts: tuple[str, ...] = ()


def find_private_areas(
    picture: np.ndarray,
    *,
    matte: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    finder: FaceFinder | None = None,
) -> PrivateAreas:
    """The private areas of a picture RGB uint8 (H, W, 3).

    Args:
      matte: uint8 (H, W); its transition area stays clear.
      mask: uint8 (H, W), a face mask. It says where faces are, and that there are no others; a
        black one that there is none.
      finder: finds the faces where there is no mask.
    """
    if mask is not None:
        labels, faces, doubts = labels_of_mask(mask), [], []
    else:
        faces = finder(picture)
        labels = label_map([face.polygon for face in faces], picture.shape[:2])
        doubts = [doubt for face in faces for doubt in face.doubts] if faces else [NO_FACE]
    private = labels if matte is None else without_transition(labels, matte)
    if mask is None and _left_clear(labels, private) > _LARGEST_TRANSITION:
        doubts.append(MOSTLY_TRANSITION)
    return PrivateAreas(labels, private, tuple(faces), tuple(dict.fromkeys(doubts)))


def _left_clear(labels: np.ndarray, private: np.ndarray) -> float:
    """The largest share of a face that is not private."""
    shares = [
        1 - np.count_nonzero(private == label) / np.count_nonzero(labels == label)
        for label in np.unique(labels[labels > 0])
    ]
    return max(shares, default=0.0)
