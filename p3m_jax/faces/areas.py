"""Finds the face areas of a picture, for training, evaluation and anonymising."""

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import cv2
import numpy as np

from p3m_jax.faces.finding import LIKELY, Find, FoundFace
from p3m_jax.faces.region import label_map, labels_of_mask, without_transition

NO_FACE = "no face found"
MOSTLY_TRANSITION = "the matte's transition area leaves much of the face clear"
FEATURE_CLEAR = "an eye or the mouth would stay clear"
NOT_IN_MASK = "a face is found where the given mask shows none"
# Largest fraction of a face that may stay clear. The edge of a good matte covers a tenth of a face;
# hair over the face covers more.
_LARGEST_TRANSITION = 0.4
# A feature is a disc around one of the detector's points. Its radius is a fraction of the box's
# longer side, so it is about as large as an eye. It is hidden if at least half of its pixels inside
# the picture are in the face areas.
_FEATURE_RADIUS, _FEATURE_HIDDEN = 0.08, 0.5
_NOSE = 2  # not checked: it identifies least, and in half profile it lies at the face's edge


class PrivateAreas(NamedTuple):
    """The face areas of one picture.

    Attributes:
      labels: uint8 (H, W), the label map of the faces, see `p3m_jax.faces.region`.
      private: uint8 (H, W), the part of `labels` to obfuscate: all of it except for the matte's
        transition area.
      faces: the faces that were found; empty if no search was made.
      doubts: reasons for a person to review the picture before it is used.
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
    finder: Find | None = None,
    reviewed: bool = False,
) -> PrivateAreas:
    """Finds the face areas of a picture RGB uint8 (H, W, 3).

    A given mask marks the faces. Faces are still searched for, because the mask may belong to
    another picture or be empty by mistake. If the search clearly finds a face where the mask shows
    none, the area of this face is added.

    A matte's transition area is not obfuscated.

    The result's `doubts` are reasons for a person to review the picture. Examples are a face
    outside the mask, and an eye that stays visible because it lies in the transition area.

    Args:
      matte: uint8 (H, W), or None.
      mask: a face mask of 0 and 255, uint8 (H, W), or None.
      finder: finds the faces. None skips the search, for masks that are certain to be correct.
      reviewed: whether a person has reviewed the mask. If so, faces outside the mask are ignored.
    """
    faces = [] if finder is None else finder(picture)
    if mask is None:
        labels = label_map([face.polygon for face in faces], picture.shape[:2])
        doubts = [doubt for face in faces for doubt in face.doubts] if faces else [NO_FACE]
    else:
        labels, doubts = labels_of_mask(mask), []
        faces = [face for face in faces if face.agreed and face.face.score >= LIKELY]
        meant = [_features_within(face, labels) for face in faces]
        if reviewed:
            faces = list(compress(faces, meant))
        elif not all(meant):
            doubts.append(NOT_IN_MASK)
            labels = labels_of_mask(_with_faces(mask, faces))
    private = labels if matte is None else without_transition(labels, matte)
    if _left_clear(labels, private) > _LARGEST_TRANSITION:
        doubts.append(MOSTLY_TRANSITION)
    elif not all(_features_within(face, private) for face in faces):
        doubts.append(FEATURE_CLEAR)
    return PrivateAreas(labels, private, tuple(faces), tuple(dict.fromkeys(doubts)))


def _with_faces(mask: np.ndarray, faces: Sequence[FoundFace]) -> np.ndarray:
    filled = mask.copy()
    for face in faces:
        cv2.fillPoly(filled, [np.rint(face.polygon).astype(np.int32)], 255)
    return filled


def _features_within(found: FoundFace, labels: np.ndarray) -> bool:
    """Whether eyes and mouth lie where `labels` is not 0; parts outside the picture are ignored."""
    radius = max(1.0, _FEATURE_RADIUS * max(found.face.box[2:]))
    return all(
        _share_within(labels, point, radius) >= _FEATURE_HIDDEN
        for point in np.delete(found.face.points, _NOSE, axis=0)
    )


def _share_within(labels: np.ndarray, point: np.ndarray, radius: float) -> float:
    """Returns the fraction of a disc where `labels` is not 0; 1 if the disc is off the picture."""
    first = np.maximum(np.floor(point - radius), 0).astype(int)
    window = labels[first[1] : int(point[1] + radius) + 2, first[0] : int(point[0] + radius) + 2]
    rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
    left, top = point - first
    disc = (columns + 0.5 - left) ** 2 + (rows + 0.5 - top) ** 2 <= radius**2
    pixels = np.count_nonzero(disc)
    return np.count_nonzero(window[disc]) / pixels if pixels else 1.0


def _left_clear(labels: np.ndarray, private: np.ndarray) -> float:
    """Returns the clear fraction of the face that is hidden least."""
    shares = [
        1 - np.count_nonzero(private == label) / np.count_nonzero(labels == label)
        for label in np.unique(labels[labels > 0])
    ]
    return max(shares, default=0.0)
