"""A picture whose faces have been obfuscated, before its outputs are written."""

from dataclasses import dataclass

import numpy as np

from p3m_jax.faces.areas import PrivateAreas
from p3m_jax.pictures.photos import Picture


@dataclass(frozen=True)
class Hidden:
    """A picture, its face areas, and its obfuscated copy.

    Attributes:
      picture: the original picture.
      sha256: the SHA-256 of the original's file.
      areas: the face areas of the picture.
      obfuscated: the obfuscated copy, uint8 (H, W, 3).
      matte: the matte that the user gave, uint8 (H, W), or None.
      given: the kinds of files that the user gave for the picture: "matte", "mask".
      mask_is: "unchanged" if the given mask is still as this program proposed it for review,
        "edited" if the user has changed a proposed mask, "foreign" for any other mask; see
        `Proposals.state`. None if no mask was given.
    """

    picture: Picture
    sha256: str
    areas: PrivateAreas
    obfuscated: np.ndarray
    matte: np.ndarray | None
    given: tuple[str, ...]
    mask_is: str | None
