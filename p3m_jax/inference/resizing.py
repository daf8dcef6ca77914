"""The evaluation protocols: how pictures are resized, and which values are scored.

The published tables come from two programs that score different values. So a table can be compared
only with tables of the same protocol. The protocol `ours` omits the accidental details of both
programs.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Bilinear weights below this count as 0: float32 can leave a trace of a weight that is 0.
_TRACE = 1e-5
_STRIP = 1 << 20  # pixels held in memory as floats at a time


@dataclass(frozen=True)
class Protocol:
    """How a picture is resized for the network, and how its alpha is scored.

    Attributes:
      name: the name on the command line.
      antialias: whether to smooth a picture before shrinking it, as scikit-image does: by a
        Gaussian with sigma (factor - 1) / 2.
      double: True resizes in float64 with scikit-image, as published; False resizes in float32 with
        OpenCV. The strategy HYBRID takes pixels of exactly 0 or 255 for certain, see `sure`. In
        float64, 0.5 to 0.9 % of the pixels are 254.99999999999997 instead of 255. They count as
        uncertain, as in the published program.
      score: "float" scores alpha as it is; "truncate" and "round" convert it to 8 bits first.
      smallest_swin_side: the shorter side, in pixels, to which smaller pictures of
        RealWorldPortrait-636 are enlarged for Swin-T. None enlarges no picture.
      says: a phrase for reports that describes the protocol.

    Resizing also needs values beyond a picture's border. The published protocols mirror the picture
    there, as scikit-image does today. The protocol `ours` repeats the edge pixels instead, which
    changes only the pixels near the border. The published programs require a version of
    scikit-image that by default would blend the edge pixels with black, but the published
    predictions show no sign of this.
    """

    name: str
    antialias: bool
    double: bool
    score: str
    smallest_swin_side: int | None
    says: str

    def resize(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Resizes (H, W) or (H, W, C), uint8 or floats in [0, 1], to floats of `size` (h, w)."""
        if self.double:
            from skimage.transform import resize

            return resize(values, size, mode="reflect", anti_aliasing=self.antialias)
        return resize_in_single_precision(values, size, antialias=self.antialias)

    def sure(self, classes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Finds the pixels that are certainly background or certainly foreground.

        The classes are drawn as grey levels 0, 128 and 255 and enlarged bilinearly, which blends
        neighbouring classes. A pixel is certain if its level is still 0 or 255.

        Args:
          classes: (h, w), 0 for background, 1 for transition, 2 for foreground.
          size: the (height, width) to which the classes are enlarged.

        Returns:
          Two boolean arrays of `size`: certain background, certain foreground.
        """
        drawn = np.array([0, 128, 255], np.uint8)[classes]
        if self.double:
            enlarged = self.resize(drawn, size) * 255.0
            return enlarged == 0, enlarged == 255
        enlarged = self.resize(drawn, size)
        return enlarged < _TRACE, enlarged > 1 - _TRACE

    def scored(self, alpha: np.ndarray) -> np.ndarray:
        """Converts an alpha in [0, 1] to the values that this protocol scores.

        Returns the floats unchanged, or the uint8 values of `saved`; see `score`.
        """
        return alpha if self.score == "float" else self.saved(alpha)

    def saved(self, alpha: np.ndarray) -> np.ndarray:
        """Converts an alpha in [0, 1] to the uint8 matte that is written to a file.

        The published protocols truncate the values; `ours` rounds them.
        """
        return to_8_bit(alpha, truncate=self.score != "round")


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="p3m-2021",
            antialias=False,
            double=True,
            score="float",
            smallest_swin_side=None,
            says="resized without anti-aliasing, alpha scored as floats (the program of 2021)",
        ),
        Protocol(
            name="p3m-2024",
            antialias=False,
            double=True,
            score="truncate",
            smallest_swin_side=512,
            says="resized without anti-aliasing, alpha cut down to 8 bits (the program of 2024)",
        ),
        Protocol(
            name="ours",
            antialias=True,
            double=False,
            score="round",
            smallest_swin_side=None,
            says="resized with anti-aliasing, alpha rounded to 8 bits, so that saved mattes score "
            "the same",
        ),
    )
}


def find_protocol(protocol: Protocol | str) -> Protocol:
    """Returns the protocol, which may be given by its name; raises ValueError for unknown names."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol}: is no protocol; choose {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[protocol]


def to_8_bit(alpha: np.ndarray, *, truncate: bool = False) -> np.ndarray:
    """Converts an alpha in [0, 1] to uint8 by rounding.

    With `truncate`, the values are truncated instead, as in the published programs.
    """
    scaled = np.clip(alpha, 0, 1) * 255
    return (scaled if truncate else np.rint(scaled)).astype(np.uint8)


def resize_in_single_precision(
    values: np.ndarray, size: tuple[int, int], *, antialias: bool
) -> np.ndarray:
    """Resizes (H, W) or (H, W, C) bilinearly to `size` (h, w), in float32.

    The result equals that of scikit-image with mode="edge", except for rounding, but takes less
    time. The width is resized first, in strips of rows, and then the height. So when a huge picture
    is reduced, it is never completely in memory as floats.
    """
    scale = np.float32(1 / 255 if values.dtype == np.uint8 else 1)
    (old_height, old_width), (height, width) = values.shape[:2], size
    rows = np.empty((old_height, width, *values.shape[2:]), np.float32)
    step = max(1, _STRIP // old_width)
    for top in range(0, old_height, step):
        strip = np.multiply(values[top : top + step], scale, dtype=np.float32)
        strip = _smooth(strip, 1, old_width / width if antialias else 1)
        resized = cv2.resize(strip, (width, len(strip)), interpolation=cv2.INTER_LINEAR)
        rows[top : top + step] = resized
    rows = _smooth(rows, 0, old_height / height if antialias else 1)
    return cv2.resize(rows, (width, height), interpolation=cv2.INTER_LINEAR)


def _smooth(values: np.ndarray, axis: int, factor: float) -> np.ndarray:
    """Smooths an axis that shrinks by `factor`, with a Gaussian of sigma (factor - 1) / 2."""
    weights = _gaussian(max(0.0, (factor - 1) / 2))
    if weights.size == 1:
        return values
    across, down = (weights, np.ones(1)) if axis == 1 else (np.ones(1), weights)
    return cv2.sepFilter2D(values, -1, across, down, borderType=cv2.BORDER_REPLICATE)


def _gaussian(sigma: float) -> np.ndarray:
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return weights / weights.sum()
