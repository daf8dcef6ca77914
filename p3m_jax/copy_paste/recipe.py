"""The settings of copy and paste: the faces, and how they are placed over others."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from p3m_jax.pictures.labels import read_face_mask, read_label_map
from p3m_jax.storage.file_part import FilePart
from p3m_jax.text import counted

VARIANTS = ("augment", "vanilla", "fill")


class FaceSource(NamedTuple):
    """A face to copy.

    Attributes:
      stem: its name.
      picture: JPEG or PNG, stored upright.
      mask: mask of the same size, from the jaw to the top of the brows as in
        `p3m_jax.faces.region`. It is a face mask; if `obfuscated`, a label map, in which each face
        has its own value. If it shows several faces, the one with the most pixels is copied.
      obfuscated: the picture is obfuscated inside its mask before the face is copied.
      published: the mask is P3M-10k's own; if it has several channels, only the first is used.
    """

    stem: str
    picture: Path | FilePart
    mask: Path | FilePart
    obfuscated: bool = False
    published: bool = False

    def read_mask(self) -> np.ndarray:
        """Reads the mask, uint8 (H, W); raises `LabelError` if its values are not valid."""
        if self.obfuscated:
            return read_label_map(self.mask)
        return read_face_mask(self.mask, several_channels=self.published)


class CopyPaste(NamedTuple):
    """The copy-and-paste settings of a training run.

    Attributes:
      sources: the faces, at least one.
      probability: probability that a face is pasted into a picture, in [0, 1].
      variant: "vanilla" scales a face uniformly, so that its box gets the same area as the box of
        the target's face. "augment" does the same, and then rotates, scales and flips the face at
        random. "fill" scales height and width separately, so that the boxes are equal ("resize to
        fill").
      rotation: "augment" draws angles between -rotation and +rotation degrees.
      scale: "augment" draws two factors from this range, for width and height.
      flip: "augment" mirrors a face left to right with this probability.
      level: "image" (P3M-ICP) or "feature" (P3M-FCP). The settings below apply only to "feature".
      first_step: the first step that pastes, counted from 0.
      source_batch: the number of sources per step. All samples of the step share them.
      source_size: side in pixels to which the square pictures of the sources are resized.
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
        faces = f"probability {self.probability:g}, {counted(len(self.sources), 'face')}"
        return f"{self.level}, {self.variant}, {faces}"
