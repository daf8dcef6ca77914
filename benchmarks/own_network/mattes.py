"""Makes mattes from hand-made masks of people: mask, trimap, closed-form matting, rules.

The masks are those of Clothing Co-Parsing: a class for every pixel, of which 0 is the background.
All lengths are in pixels of these photos, which are 550 wide.
"""

from typing import NamedTuple

import cv2
import numpy as np

HAIR = 19  # class of hair in the masks
EDGE, HAIR_EDGE = 3, 8  # half widths of the transition along edges, and along edges of hair
_SPECK = 0.005  # smaller separate pieces and holes are removed, as a fraction of the person
_MARGIN = 20  # around the person: closed-form matting needs only a little background

# Rules: a mask or matte outside these limits is left out.
PERSON_SHARE = (0.05, 0.7)  # of the photo
LARGEST_SECOND_PIECE = 0.15  # of the person; a larger one is often a second person
LARGEST_DISAGREEMENT = 0.06  # sum of |matte - mask|, as a fraction of the person


class Matte(NamedTuple):
    """A matte and the reason for leaving it out.

    Attributes:
      alpha: uint8 (H, W); None if a rule stopped the work.
      reason: a phrase; "" if the matte is usable.
    """

    alpha: np.ndarray | None
    reason: str = ""


def person_of(classes: np.ndarray) -> np.ndarray:
    """The person's mask, uint8 (H, W) of 0 and 1, without specks and without tiny holes."""
    person = (classes != 0).astype(np.uint8)
    for value in (1, 0):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((person == value).view(np.uint8))
        small = stats[:, cv2.CC_STAT_AREA] < _SPECK * max(1, person.sum())
        small[0] = False
        person[small[labels]] = 1 - value
    return person


def trimap_of(classes: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The trimap (H, W), uint8 of 0, 128 and 255: a band along the edge, wider along hair."""
    edge = cv2.dilate(person, _disc(1)) - cv2.erode(person, _disc(1))
    hair = cv2.dilate((classes == HAIR).astype(np.uint8), _disc(2))
    band = cv2.dilate(edge, _disc(EDGE - 1)) | cv2.dilate(edge & hair, _disc(HAIR_EDGE))
    return np.where(band, np.uint8(128), 255 * person)


def matte_of(picture: np.ndarray, classes: np.ndarray) -> Matte:
    """The matte of a photo, uint8 (H, W, 3), whose classes are (H, W). Takes half a second."""
    if classes.shape != picture.shape[:2]:
        return Matte(None, f"the mask has another size ({classes.shape}) than the photo")
    person = person_of(classes)
    share, least = person.mean(), PERSON_SHARE[0]
    if not least <= share <= PERSON_SHARE[1]:
        return Matte(None, f"the person covers {share:.0%} of the photo")
    count, _, stats, _ = cv2.connectedComponentsWithStats(person)
    if count > 2:
        second = np.sort(stats[1:, cv2.CC_STAT_AREA])[-2] / person.sum()
        if second > LARGEST_SECOND_PIECE:
            return Matte(None, f"a second piece has {second:.0%} of the person")
    trimap = trimap_of(classes, person)
    alpha = _closed_form(picture, trimap)
    differs = np.abs(alpha / 255 - person).sum() / person.sum()
    if differs > LARGEST_DISAGREEMENT:
        return Matte(alpha, f"matte and mask differ by {differs:.1%} of the person")
    return Matte(alpha)


def _closed_form(picture: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    from pymatting import estimate_alpha_cf

    rows, columns = (np.flatnonzero(trimap.any(axis=axis)) for axis in (1, 0))
    part = tuple(
        slice(max(0, lines[0] - _MARGIN), lines[-1] + 1 + _MARGIN) for lines in (rows, columns)
    )
    alpha = np.zeros(trimap.shape, np.uint8)
    estimate = estimate_alpha_cf(picture[part] / 255, trimap[part] / 255)
    alpha[part] = np.rint(255 * np.clip(estimate, 0, 1))
    # Closed-form matting leaves a haze of a few levels, which would widen every trimap.
    alpha[alpha < 8] = 0
    alpha[alpha > 247] = 255
    return alpha


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
