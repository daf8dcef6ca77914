"""A picture with hidden faces, before its outputs are written."""

from dataclasses import dataclass

import numpy as np

from p3m_jax.faces.areas import PrivateAreas
from p3m_jax.pictures.photos import Picture


@dataclass(frozen=True)
class Hidden:
    """A picture, its face areas, and its obfuscated copy.

    Attributes:
      picture: the clear picture.
      sha256: the hash of its file.
      areas: its face areas.
      obfuscated: the obfuscated copy, uint8 (H, W, 3).
      matte: uint8 (H, W), or None.
      given: which files the user gave for it: "matte", "mask".
      mask_is: the kind of the given mask, see `Proposals.state`; None if no mask is given.
    """

    picture: Picture
    sha256: str
    areas: PrivateAreas
    obfuscated: np.ndarray
    matte: np.ndarray | None
    given: tuple[str, ...]
    mask_is: str | None
