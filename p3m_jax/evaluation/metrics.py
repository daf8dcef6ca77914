"""The ten error measures of portrait matting, and three more measures inside the face.

The definitions are those of the papers' evaluation; lower is always better. As in the published
evaluation, maps are compared in float32; errors are summed in float64.
"""

import cv2
import numpy as np

from p3m_jax.evaluation.connectivity import connectivity_error
from p3m_jax.pictures.trimap import BACKGROUND, FOREGROUND, TRANSITION

METRICS = ("SAD", "MSE", "MAD", "SAD-T", "MSE-T", "MAD-T", "SAD-FG", "SAD-BG", "GRAD", "CONN")
PRIVACY_METRICS = ("SAD-PRIVACY", "MSE-PRIVACY", "MAD-PRIVACY")

GRADIENT_SIGMA = 1.4
_RADIUS = int(4 * GRADIENT_SIGMA + 0.5)  # the Gaussian is cut off at this radius, in pixels
_FACE_ABOVE = 100  # pixels with a higher value in the face mask belong to the face


def all_metrics(
    prediction: np.ndarray,
    matte: np.ndarray,
    trimap: np.ndarray,
    facemask: np.ndarray | None = None,
) -> dict[str, float]:
    """Computes all measures of one picture; returns {name: value}.

    The names are those in `METRICS` and, if `facemask` is given, those in `PRIVACY_METRICS`: SAD,
    MSE and MAD over the pixels of the face. SAD and CONN are in thousands of pixels. MSE-T and
    MAD-T are NaN if the trimap has no transition, and all privacy measures are NaN if the face mask
    shows no face.

    Args:
      prediction, matte: (H, W), floats in [0, 1] or uint8 in 0..255.
      trimap: uint8 (H, W) of 0, 128 and 255.
      facemask: uint8 (H, W); above 100 means face.

    Raises:
      ValueError: sizes differ, values are outside their range, or the trimap has other values.
    """
    prediction, matte = _unit(prediction, "prediction"), _unit(matte, "matte")
    for name, other in (("matte", matte), ("trimap", trimap), ("face mask", facemask)):
        if other is not None and other.shape != prediction.shape:
            raise ValueError(
                f"the prediction is {prediction.shape}, but the {name} is {other.shape}."
            )
    regions = {value: (trimap == value).view(np.uint8) for value in (FOREGROUND, BACKGROUND)}
    known = prediction.copy()
    known[regions[FOREGROUND].view(bool)] = 1
    known[regions[BACKGROUND].view(bool)] = 0
    transition = int(np.count_nonzero(trimap == TRANSITION))
    if transition + sum(map(np.count_nonzero, regions.values())) != trimap.size:
        raise ValueError("the trimap has values other than 0, 128 and 255.")

    values = _sad_mse_mad(prediction, matte, prediction.size)
    values |= _sad_mse_mad(known, matte, transition, suffix="-T")
    values["SAD-FG"] = _sum_abs(prediction, matte, regions[FOREGROUND]) / 1000
    values["SAD-BG"] = _sum_abs(prediction, matte, regions[BACKGROUND]) / 1000
    values["GRAD"] = gradient_error(prediction, matte)
    values["CONN"] = connectivity_error(prediction, matte)
    if facemask is not None:
        face = (facemask > _FACE_ABOVE).view(np.uint8)
        pixels = int(np.count_nonzero(face))
        privacy = _sad_mse_mad(prediction, matte, pixels, suffix="-PRIVACY", mask=face)
        values |= privacy if pixels else dict.fromkeys(PRIVACY_METRICS, float("nan"))
    return values


def gradient_error(prediction: np.ndarray, matte: np.ndarray) -> float:
    """Computes GRAD of two maps, float32 (H, W).

    GRAD is a tenth of the sum of squared differences between the magnitudes of their gradients.
    """
    box = _reach_of_differences(prediction, matte)
    difference = _gradient_magnitude(prediction[box]) - _gradient_magnitude(matte[box])
    return float(cv2.norm(difference, cv2.NORM_L2SQR)) / 10 if difference.size else 0.0


def _reach_of_differences(prediction: np.ndarray, matte: np.ndarray) -> tuple[slice, slice]:
    """Finds the part of the maps that determines GRAD; outside it, both gradients are the same.

    A gradient depends on pixels up to `_RADIUS` away. So gradients can differ only within `_RADIUS`
    of a difference, and computing them needs the values within another `_RADIUS`. Beyond that both
    maps are equal, so the border of the cut-out part affects both in the same way.
    """
    differs = prediction != matte

    def span(hits: np.ndarray) -> slice:
        hits = np.flatnonzero(hits)
        if hits.size == 0:
            return slice(0, 0)
        return slice(max(0, hits[0] - 2 * _RADIUS), hits[-1] + 2 * _RADIUS + 1)

    return span(differs.any(axis=1)), span(differs.any(axis=0))


def _gradient_magnitude(values: np.ndarray) -> np.ndarray:
    """Computes the magnitude of the Gaussian first derivatives.

    Maps are mirrored at the edges, with the edge pixel repeated.
    """
    if values.size == 0:
        return values
    x = np.arange(-_RADIUS, _RADIUS + 1)
    smooth = np.exp(-0.5 * (x / GRADIENT_SIGMA) ** 2)
    smooth /= smooth.sum()
    slope = x / GRADIENT_SIGMA**2 * smooth
    across = cv2.sepFilter2D(values, -1, slope, smooth, borderType=cv2.BORDER_REFLECT)
    down = cv2.sepFilter2D(values, -1, smooth, slope, borderType=cv2.BORDER_REFLECT)
    return cv2.magnitude(across, down)


def _sad_mse_mad(
    prediction: np.ndarray,
    matte: np.ndarray,
    pixels: int,
    *,
    suffix: str = "",
    mask: np.ndarray | None = None,
) -> dict[str, float]:
    absolute = _sum_abs(prediction, matte, mask)
    squared = cv2.norm(prediction, matte, cv2.NORM_L2SQR, mask)
    mean = (lambda total: total / pixels) if pixels else (lambda total: float("nan"))
    return {
        f"SAD{suffix}": absolute / 1000,
        f"MSE{suffix}": mean(squared),
        f"MAD{suffix}": mean(absolute),
    }


def _sum_abs(prediction: np.ndarray, matte: np.ndarray, mask: np.ndarray | None = None) -> float:
    return cv2.norm(prediction, matte, cv2.NORM_L1, mask)


def _unit(values: np.ndarray, name: str) -> np.ndarray:
    """Converts `values` to float32 (H, W) in [0, 1]; small excess from rounding is clipped."""
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a {name} must be (H, W) with at least one pixel, not {values.shape}.")
    if values.dtype == np.uint8:
        return values / np.float32(255)
    if values.dtype.kind != "f":
        raise ValueError(f"a {name} must be uint8 or a float, not {values.dtype}.")
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= -1e-3 and highest <= 1 + 1e-3):  # also true if one of them is NaN
        raise ValueError(f"the {name} has values from {lowest:g} to {highest:g}, not in [0, 1].")
    if lowest < 0 or highest > 1:
        values = np.clip(values, 0, 1)
    return values.astype(np.float32, copy=False)
