"""What copy and paste takes: faces, and how they are laid over others."""

from pathlib import Path
from typing import NamedTuple

VARIANTS = ("augment", "vanilla", "fill")


class FaceSource(NamedTuple):
    """A face to copy.

    Attributes:
      stem: its name.
      picture: JPEG or PNG, stored upright.
      mask: of the picture's size; what is above 100 in its first channel is face, from the jaw to
        the top of the brows, as `p3m_jax.faces.region` has it. Of several labels the one with most
        pixels counts.
      obfuscated: the picture is one to be obfuscated where its mask is, before it is copied.
    """

    stem: str
    picture: Path
    mask: Path
    obfuscated: bool = False


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
