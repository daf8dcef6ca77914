"""Obfuscating faces: blur, mosaic or flat fill, the same function for NumPy and TensorFlow.

Every mode first reduces the box of a face to few cells and then expands these to pixels again, so
that what is left of a face is a picture of so few pixels:

- blur: a Gaussian of sigma = strength x the longer side of the box, kept at two cells per sigma and
  interpolated linearly (at the default strength some 10 x 10 cells).
- mosaic: means over squares whose side is strength x the longer side (5 x 5 at most by default).
- fill: black.

Rows and columns are reduced one after the other by small matrices, which is what makes it cheap,
whatever the strength. Only pixels of the box itself are mixed, and only the pixels of the area are
replaced; the edge is hard.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from p3m_jax.errors import OptionError
from p3m_jax.pictures.labels import SMALLEST_LABEL

MODES = ("blur", "mosaic", "fill")
# Of the private area's longer side, which was 0.836 and more of a detector's box on 80 faces: so
# the blur's sigma is at least 0.2 of a face's box.
STRENGTH = 0.24
# The weakest that no attack of docs/privacy.md could tell from a black fill.
SAFE_STRENGTHS = {"blur": 0.16, "mosaic": 1 / 8, "fill": 0.0}
_CELLS_PER_SIGMA = 2


class ObfuscationError(OptionError):
    """A mode or strength that does not exist."""


class Obfuscation(NamedTuple):
    """How faces are obfuscated.

    Attributes:
      mode: "blur", "mosaic" or "fill".
      strength: of a blur, its sigma, of a mosaic, the side of a cell, as a share of the longer side
        of the area's box; a fill has none.
    """

    mode: str = "blur"
    strength: float = STRENGTH

    def __str__(self) -> str:
        return self.mode if self.mode == "fill" else f"{self.mode} {self.strength:g}"

    @property
    def below_safe_strength(self) -> bool:
        """Whether faces may be recognised by what it leaves of them."""
        return self.strength < SAFE_STRENGTHS[self.mode]

    @property
    def warning(self) -> str | None:
        """A sentence for the user where the strength is below the safe one, else None."""
        if not self.below_safe_strength:
            return None
        return (
            f"Warning: with {self} people may be recognised by their obfuscated faces "
            f"(docs/privacy.md); a strength of {SAFE_STRENGTHS[self.mode]:g} or more is safe, "
            f"{STRENGTH:g} is the default."
        )

    def check(self) -> "Obfuscation":
        """Itself; `ObfuscationError` where it cannot work."""
        if self.mode not in MODES:
            raise ObfuscationError(f"{self.mode!r}: obfuscation is one of {', '.join(MODES)}.")
        if not 0.02 <= self.strength <= 1:
            raise ObfuscationError(
                f"{self.strength}: the strength of an obfuscation is 0.02 to 1, a share of the "
                f"face's size ({STRENGTH} is recommended)."
            )
        return self


def obfuscate(picture: np.ndarray, labels: np.ndarray, obfuscation: Obfuscation) -> np.ndarray:
    """The picture with its private areas obfuscated; both uint8, (H, W, 3) and (H, W).

    `labels` are those of `region`: every face has a strength that follows from its own size. Where
    they are 0 the picture is unchanged, bit for bit.
    """
    obfuscated = picture.copy()
    for label in np.unique(labels[labels >= SMALLEST_LABEL]):
        area = labels == label
        rows, columns = (np.nonzero(area.any(axis))[0] for axis in (1, 0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        size = area[window].shape
        coarse = coarsened(np, picture[window].astype(np.float32), size, max(size), obfuscation)
        obfuscated[window] = np.where(
            area[window][..., None], coarse.astype(np.uint8), obfuscated[window]
        )
    return obfuscated


def coarsened(xp: ModuleType, window, size, face_side, obfuscation: Obfuscation):
    """A window (h, w, 3) of float32 in 0..255 at the few cells that its mode leaves, whole numbers.

    Args:
      xp: `numpy` or `tensorflow`, which the arrays are of.
      window: the pixels to mix.
      size: (h, w), numbers or scalar tensors.
      face_side: the longer side of the face in pixels; more than the window's where that is cut.
    """
    if obfuscation.mode == "fill":
        return xp.zeros_like(window)
    spacing = xp.maximum(_real(xp, face_side) * obfuscation.strength, 1.0)
    make = _blur_matrices if obfuscation.mode == "blur" else _mosaic_matrices
    (reduce_rows, expand_rows), (reduce_columns, expand_columns) = (
        make(xp, side, spacing) for side in size
    )
    cells = xp.einsum("gh,hwc->gwc", reduce_rows, window)
    cells = xp.einsum("kw,gwc->gkc", reduce_columns, cells)
    rows = xp.einsum("hg,gkc->hkc", expand_rows, cells)
    return xp.round(xp.einsum("wk,hkc->hwc", expand_columns, rows))


def _blur_matrices(xp, side, sigma):
    """(cells, side) that takes Gaussian means, and (side, cells) that interpolates between them."""
    step = sigma / _CELLS_PER_SIGMA
    pixels, centers = _pixels(xp, side), _cells(xp, side, step) * step
    weights = xp.exp(-0.5 * ((centers[:, None] - pixels[None]) / sigma) ** 2)
    distance = xp.abs(pixels[:, None] - centers[None]) / step
    return _normalized(xp, weights), _normalized(xp, xp.maximum(1 - distance, 0.0))


def _mosaic_matrices(xp, side, step):
    """(cells, side) that takes means over cells, and (side, cells) that spreads them out."""
    cell = xp.floor((_pixels(xp, side) + 0.5) / step)
    inside = xp.maximum(1 - xp.abs(_cells(xp, side, step)[:, None] - cell[None]), 0.0)
    return _normalized(xp, inside), xp.transpose(inside)


def _pixels(xp, side):
    """0, 1, ... side - 1."""
    return _real(xp, _range(xp, side))


def _cells(xp, side, step):
    """The numbers of the cells, such that `step` times them reach over the whole side."""
    return _real(xp, _range(xp, xp.floor(_real(xp, side) / step) + 2))


def _range(xp, end):
    return xp.range(end) if hasattr(xp, "range") else xp.arange(end)


def _real(xp, value):
    return xp.cast(value, xp.float32) if hasattr(xp, "cast") else xp.asarray(value, xp.float32)


def _normalized(xp, weights):
    """Rows that add up to 1; a row that is all 0, of a cell with no pixel, stays so."""
    return weights / xp.maximum(xp.einsum("ij->i", weights), 1e-20)[:, None]
