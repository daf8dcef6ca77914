"""What copy and paste takes: faces, and how they are laid over others."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.pictures.labels import read_face_mask, read_label_map

VARIANTS = ("augment", "vanilla", "fill")


class FaceSource(NamedTuple):
    """A face to copy.

    Attributes:
      stem: its name.
      picture: JPEG or PNG, stored upright.
      mask: of the picture's size, from the jaw to the top of the brows, as `p3m_jax.faces.region`
        has it: a face mask, or for an `obfuscated` picture a label map, of whose faces the one with
        most pixels counts.
      obfuscated: the picture is one to be obfuscated where its mask is, before it is copied.
      published: the mask is P3M-10k's own, of which only the first of several channels counts.
    """

    stem: str
    picture: Path
    mask: Path
    obfuscated: bool = False
    published: bool = False

    def read_mask(self) -> np.ndarray:
        """The mask, uint8 (H, W); `LabelError` if the file holds something else."""
        if self.obfuscated:
            return read_label_map(self.mask)
        return read_face_mask(self.mask, several_channels=self.published)


class CopyPaste(NamedTuple):
    """Copy and paste of a training run.

    Attributes:
      sources: the faces, at least one.
      probability: that a picture gets one, in [0, 1].
      variant: "augment" scales a face uniformly to the area of the target's box, and then rotates,
        scales and flips it; "vanilla" only does the former; "fill" scales its height and its width
        each to the target's box ("resize to fill").
      rotation: the largest angle to either side, degrees.
      scale: the smallest and the largest factor, drawn for width and height by themselves.
      flip: the probability of mirroring left to right.
      level: "image" (P3M-ICP), or "feature" (P3M-FCP), for which alone the following counts.
      first_step: the number of steps before the first one that pastes.
      source_batch: how many sources the samples of a step share.
      source_size: side of the squares that these are, pixels.
    """

    sources: tuple[FaceSource, ...]
    probability: float = 0.5
    variant: str = "augment"
    rotation: float = 30.0
    scale: tuple[float, float] = (0.8, 1.2)
    flip: float = 0.5
    level: str = "image"
    first_step: int = 0
    source_batch: int = 1
    source_size: int = 256

    def __str__(self) -> str:
        faces = f"probability {self.probability:g}, {len(self.sources)} faces"
        return f"{self.level}, {self.variant}, {faces}"
