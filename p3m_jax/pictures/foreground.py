"""Estimates the colours of the person (foreground F) and of the scene behind them (background B).

A pixel in a person's hair shows a mixture: the picture is I = a F + (1 - a) B, where a is the
matte. PyMatting estimates F and B by the multi-level method (Germer et al., "Fast Multi-Level
Foreground Estimation", 2020). Both are then changed as little as possible so that they mix to I.
"""

import threading
from collections.abc import Sequence

import cv2
import numpy as np

# Larger pictures are reduced to this many pixels for the estimation, and the estimates enlarged:
# PyMatting needs 60 bytes per pixel. Little is lost, because the colours change slowly across a
# picture and the mixture is corrected at full size.
ESTIMATION_PIXELS = 16_000_000
_ALONE = threading.Lock()
_STRIP = 1 << 20  # how many pixels are processed as floats at a time


def estimate_foreground(
    picture: np.ndarray, matte: np.ndarray, *, largest: int = ESTIMATION_PIXELS
) -> tuple[np.ndarray, np.ndarray]:
    """Returns foreground and background of a picture (H, W, 3) with a matte (H, W), all uint8.

    Where the matte is 255, the foreground equals the picture. Where it is 0, the background does.
    In between, the two mix to the picture, except for rounding and for one limit: no colour channel
    gets darker or brighter than it is anywhere in the picture.

    A picture of more than `largest` pixels is reduced to that many for the estimation.

    The first call in an environment compiles PyMatting, which takes half a minute or more. Several
    threads may call this function at once.
    """
    if matte.size == 1:  # PyMatting divides by the number of halvings, which is 0 here
        return picture, picture
    size = matte.shape[::-1]
    shrink = min(1.0, (largest / matte.size) ** 0.5)
    small: Sequence[np.ndarray] = (picture, matte)
    if shrink < 1:
        target = [max(1, round(side * shrink)) for side in size]
        small = [cv2.resize(values, target, interpolation=cv2.INTER_AREA) for values in small]
    # PyMatting computes in single precision.
    floats = (np.multiply(values, np.float32(1 / 255)) for values in small)
    estimates = list(_estimate(*floats))
    for i, estimate in enumerate(estimates):  # one at a time, so that the floats are freed early
        estimates[i] = np.rint(255 * np.clip(estimate, 0, 1)).astype(np.uint8)
        if shrink < 1:
            estimates[i] = cv2.resize(estimates[i], size, interpolation=cv2.INTER_LINEAR)
    foreground, background = estimates
    _mix_to_picture(picture, matte, foreground, background)
    return foreground, background


def _estimate(picture: np.ndarray, matte: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from pymatting import estimate_foreground_ml

    # PyMatting uses Numba's threads. Numba's simplest threading layer, "workqueue", aborts the
    # process if two threads use it at once. Numba reports its layer only after the first use.
    with _ALONE:
        if _numba_threads() in (None, "workqueue"):
            return estimate_foreground_ml(picture, matte, return_background=True)
    return estimate_foreground_ml(picture, matte, return_background=True)


def _numba_threads() -> str | None:
    import numba

    try:
        return numba.threading_layer()
    except ValueError:  # not used yet
        return None


def _mix_to_picture(
    picture: np.ndarray, matte: np.ndarray, foreground: np.ndarray, background: np.ndarray
) -> None:
    """Changes foreground and background in place so that they mix to the picture.

    Both change as little as possible and stay in the range of the picture's colours. Without the
    limit a fair person could get black hair: where nothing is definitely foreground, the estimation
    starts from black.
    """
    darkest, brightest = picture.min(axis=(0, 1)), picture.max(axis=(0, 1))
    rows = max(1, _STRIP // matte.shape[1])
    for top in range(0, len(matte), rows):
        strip = slice(top, top + rows)
        alpha = np.multiply(matte[strip, :, None], np.float32(1 / 255))
        front, back = (values[strip].astype(np.float32) for values in (foreground, background))
        for _ in range(2):  # the second pass moves what the limit cut off from one to the other
            rest = picture[strip] - alpha * front - (1 - alpha) * back
            rest /= alpha**2 + (1 - alpha) ** 2
            front = np.clip(front + alpha * rest, darkest, brightest)
            back = np.clip(back + (1 - alpha) * rest, darkest, brightest)
        foreground[strip], background[strip] = np.rint(front), np.rint(back)
