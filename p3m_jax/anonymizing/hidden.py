"""A picture whose faces are hidden, before its outputs are written."""

from dataclasses import dataclass

import numpy as np

from p3m_jax.faces.areas import PrivateAreas
from p3m_jax.pictures.photos import Picture


@dataclass(frozen=True)
class Hidden:
    """A picture and what is private in it.

    Attributes:
      picture: the clear one.
      sha256: of its file.
      areas: what is private in it.
      obfuscated: uint8 (H, W, 3).
      matte: uint8 (H, W), or None.
      given: the names of what was given.
      mask_is: whether a given mask is a proposal, and was edited; None where no mask is given.
    """

    picture: Picture
    sha256: str
    areas: PrivateAreas
    obfuscated: np.ndarray
    matte: np.ndarray | None
    given: tuple[str, ...]
    mask_is: str | None
