"""Obfuscates faces by blur, mosaic or black fill, with the same function for NumPy and TensorFlow.

Every mode reduces the bounding box of a face area to a few cells, and then enlarges the cells to
pixels again. These cells are all that remains of the face:

- blur: the cells are Gaussian means with sigma = strength x the longer side of the box, spaced by
  half a sigma. They are interpolated linearly (about 10 x 10 cells at the default strength).
- mosaic: the cells are means over squares whose side is strength x the longer side of the box (at
  most 5 x 5 cells by default).
- fill: the cells are black.

The means are computed along one axis after the other, by multiplication with small matrices. This
is fast at any strength. Only pixels inside the box are mixed. Only pixels inside the face area are
replaced, with a hard edge.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from p3m_jax.errors import OptionError
from p3m_jax.pictures.labels import SMALLEST_LABEL

MODES = ("blur", "mosaic", "fill")
# Fraction of the face area's longer side. On 80 faces that side was at least 0.836 of the
# detector's box, so the blur's sigma is at least 0.2 of a face's box.
STRENGTH = 0.24
# The weakest strengths at which no attack of docs/privacy.md could do better than on a black fill.
SAFE_STRENGTHS = {"blur": 0.16, "mosaic": 1 / 8, "fill": 0.0}
_CELLS_PER_SIGMA = 2


class ObfuscationError(OptionError):
    """The mode does not exist, or the strength is outside its range."""


class Obfuscation(NamedTuple):
    """How faces are obfuscated.

    Attributes:
      mode: "blur", "mosaic" or "fill".
      strength: the sigma of a blur, or the side of a mosaic's squares. It is a fraction of the
        longer side of the face area's bounding box. A fill does not use it.
    """

    mode: str = "blur"
    strength: float = STRENGTH

    def __str__(self) -> str:
        return self.mode if self.mode == "fill" else f"{self.mode} {self.strength:g}"

    @property
    def below_safe_strength(self) -> bool:
        """Whether the strength is so low that people may still be recognised."""
        return self.strength < SAFE_STRENGTHS[self.mode]

    @property
    def warning(self) -> str | None:
        """A warning for the user if the strength is below the safe one, else None."""
        if not self.below_safe_strength:
            return None
        return (
            f"Warning: with {self} people may be recognised by their obfuscated faces "
            f"(docs/privacy.md). A strength of {SAFE_STRENGTHS[self.mode]:g} or more is safe; "
            f"the default is {STRENGTH:g}."
        )

    def check(self) -> "Obfuscation":
        """Returns itself, or raises `ObfuscationError` if the mode or the strength is invalid."""
        if self.mode not in MODES:
            raise ObfuscationError(f"{self.mode!r}: obfuscation must be one of {', '.join(MODES)}.")
        if not 0.02 <= self.strength <= 1:
            raise ObfuscationError(
                f"{self.strength}: the strength of an obfuscation must be 0.02 to 1, a fraction of "
                f"the face's size ({STRENGTH} is recommended)."
            )
        return self


def obfuscate(picture: np.ndarray, labels: np.ndarray, obfuscation: Obfuscation) -> np.ndarray:
    """Returns a copy of a picture uint8 (H, W, 3) with its face areas obfuscated.

    `labels` is a label map, uint8 (H, W), see `p3m_jax.faces.region`. Each face is obfuscated in
    proportion to its own size. Where `labels` is 0, the copy equals the picture bit for bit.
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


def coarsened(
    xp: ModuleType, window: Any, size: Sequence[Any], face_side: Any, obfuscation: Obfuscation
) -> Any:
    """Reduces a window of a picture to a few cells, and enlarges the cells to pixels again.

    Args:
      xp: `numpy` or `tensorflow`, the library of the arrays.
      window: the pixels to mix, float32 (h, w, 3) in 0..255.
      size: the window's (h, w), as ints or scalar tensors.
      face_side: the longer side of the face area's box, in pixels. If the window shows only a part
        of the face, this is larger than the window.
      obfuscation: the mode and the strength.

    Returns:
      Whole numbers as float32 (h, w, 3).
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


def _blur_matrices(xp: ModuleType, side: Any, sigma: Any) -> tuple[Any, Any]:
    """Returns two matrices: (cells, side) for Gaussian means, (side, cells) to interpolate them."""
    step = sigma / _CELLS_PER_SIGMA
    pixels, centers = _pixels(xp, side), _cells(xp, side, step) * step
    weights = xp.exp(-0.5 * ((centers[:, None] - pixels[None]) / sigma) ** 2)
    distance = xp.abs(pixels[:, None] - centers[None]) / step
    return _normalized(xp, weights), _normalized(xp, xp.maximum(1 - distance, 0.0))


def _mosaic_matrices(xp: ModuleType, side: Any, step: Any) -> tuple[Any, Any]:
    """Returns two matrices: (cells, side) for means of cells, (side, cells) to copy them back."""
    cell = xp.floor((_pixels(xp, side) + 0.5) / step)
    inside = xp.maximum(1 - xp.abs(_cells(xp, side, step)[:, None] - cell[None]), 0.0)
    return _normalized(xp, inside), xp.transpose(inside)


def _pixels(xp: ModuleType, side: Any) -> Any:
    """Returns the indices of the pixels: 0, 1, ..., side - 1."""
    return _real(xp, _range(xp, side))


def _cells(xp: ModuleType, side: Any, step: Any) -> Any:
    """Returns the indices of the cells; multiplied by `step`, they cover the whole side."""
    return _real(xp, _range(xp, xp.floor(_real(xp, side) / step) + 2))


def _range(xp: ModuleType, end: Any) -> Any:
    return xp.range(end) if hasattr(xp, "range") else xp.arange(end)


def _real(xp: ModuleType, value: Any) -> Any:
    return xp.cast(value, xp.float32) if hasattr(xp, "cast") else xp.asarray(value, xp.float32)


def _normalized(xp: ModuleType, weights: Any) -> Any:
    """Divides each row by its sum; the row of a cell without pixels stays 0."""
    return weights / xp.maximum(xp.einsum("ij->i", weights), 1e-20)[:, None]
