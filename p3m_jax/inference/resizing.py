"""The evaluation protocols: how pictures are resized, and which values are scored.

The published tables come from two programs that score different values, so a table can only be
compared if it names its protocol. `ours` leaves out what is accidental in both programs.
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

    name: the name on the command line.
    antialias: smooth before shrinking (a Gaussian, sigma (factor - 1) / 2), as scikit-image does.
    double: resize in float64 with scikit-image, as published, instead of float32 with OpenCV.
        HYBRID then compares its enlarged classes exactly, as published. On 0.5 to 0.9 % of the
        pixels rounding gives 254.99999999999997 instead of 255, so they are not certainly
        foreground, and their alpha comes from `detail`.
    score: "float" scores alpha unchanged; "truncate" and "round" score it as an 8-bit file.
    smallest_swin_side: Swin-T enlarges pictures of RealWorldPortrait-636 whose side is smaller.
    says: a sentence for reports.

    Beyond the border, the published protocols mirror the picture, as scikit-image does today. Ours
    repeats the edge pixels; only these pixels differ. The scikit-image version that the published
    programs require would blend the edge pixels with black by default, but the published
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
        """Finds the pixels that are certainly background, and those that are certainly foreground.

        Returns two boolean arrays of `size`. The classes (h, w) in {0, 1, 2} are drawn as 0, 128
        and 255 and enlarged, which blends them; only pixels that stay exactly 0 or 255 are certain.
        """
        drawn = np.array([0, 128, 255], np.uint8)[classes]
        if self.double:
            enlarged = self.resize(drawn, size) * 255.0
            return enlarged == 0, enlarged == 255
        enlarged = self.resize(drawn, size)
        return enlarged < _TRACE, enlarged > 1 - _TRACE

    def scored(self, alpha: np.ndarray) -> np.ndarray:
        """Returns what is scored of an alpha in [0, 1]: the floats, or uint8 as in a file."""
        return alpha if self.score == "float" else self.saved(alpha)

    def saved(self, alpha: np.ndarray) -> np.ndarray:
        """Converts an alpha to the uint8 matte to write; the published programs truncate."""
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
    """Converts an alpha in [0, 1] to uint8, rounded or, as published, truncated."""
    scaled = np.clip(alpha, 0, 1) * 255
    return (scaled if truncate else np.rint(scaled)).astype(np.uint8)


def resize_in_single_precision(
    values: np.ndarray, size: tuple[int, int], *, antialias: bool
) -> np.ndarray:
    """Resizes bilinearly in float32, like scikit-image's mode="edge" up to rounding, but faster.

    First the rows are resized, strip by strip, then the columns. So a huge picture that is reduced
    is never completely in memory as floats.
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
