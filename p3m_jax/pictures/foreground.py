"""What colour the person has, and what is behind: foreground F and background B of a picture I.

A pixel in a person's hair shows a mixture, I = a F + (1 - a) B. F and B are estimated by the
multi-level method (Germer et al., "Fast Multi-Level Foreground Estimation", 2020) of PyMatting and
then moved, as little as possible, to where they mix to the picture.
"""

import threading

import cv2
import numpy as np

# Larger pictures are estimated at this many pixels and enlarged: PyMatting takes 60 bytes a pixel,
# and colours change slowly; the mixture is made right at full size.
ESTIMATION_PIXELS = 16_000_000
_ALONE = threading.Lock()
_STRIP = 1 << 20  # pixels that are worked on in floats at a time


def estimate_foreground(
    picture: np.ndarray, matte: np.ndarray, *, largest: int = ESTIMATION_PIXELS
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and background (H, W, 3) of a picture (H, W, 3) and its matte (H, W), all uint8.

    Where the matte is 255 the foreground is the picture, where it is 0 the background is; in
    between both mix to it, but for rounding and colours that would leave the picture's range. No
    channel is darker or brighter than it is anywhere in the picture. Of more than `largest` pixels
    the estimate is made at that many. The first call in an environment compiles PyMatting, which
    takes half a minute or more. Threads may call this at a time.
    """
    if matte.size == 1:  # the method halves the longer side and cannot divide by no halvings
        return picture, picture
    size = matte.shape[::-1]
    shrink = min(1.0, (largest / matte.size) ** 0.5)
    small = picture, matte
    if shrink < 1:
        target = [max(1, round(side * shrink)) for side in size]
        small = [cv2.resize(values, target, interpolation=cv2.INTER_AREA) for values in small]
    # Single precision is what the method computes in.
    floats = (np.multiply(values, np.float32(1 / 255)) for values in small)
    estimates = list(_estimate(*floats))
    for i, estimate in enumerate(estimates):  # one after the other, so that floats go at once
        estimates[i] = np.rint(255 * np.clip(estimate, 0, 1)).astype(np.uint8)
        if shrink < 1:
            estimates[i] = cv2.resize(estimates[i], size, interpolation=cv2.INTER_LINEAR)
    foreground, background = estimates
    _mix_to_picture(picture, matte, foreground, background)
    return foreground, background


def _estimate(picture: np.ndarray, matte: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from pymatting import estimate_foreground_ml

    # PyMatting uses Numba's threads, whose plainest kind aborts the process when it is started by
    # two threads at a time. Which kind it is shows only after the first use.
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


def _mix_to_picture(picture, matte, foreground, background) -> None:
    """Moves foreground and background, in place, by the least that makes them mix to the picture.

    The range of the picture's colours bounds them: where nothing is surely foreground the method
    starts from black, and black hair would be invented for a fair person.
    """
    darkest, brightest = picture.min(axis=(0, 1)), picture.max(axis=(0, 1))
    rows = max(1, _STRIP // matte.shape[1])
    for top in range(0, len(matte), rows):
        strip = slice(top, top + rows)
        alpha = np.multiply(matte[strip, :, None], np.float32(1 / 255))
        front, back = (values[strip].astype(np.float32) for values in (foreground, background))
        for _ in range(2):  # what one of them may not take, the other does the second time
            rest = picture[strip] - alpha * front - (1 - alpha) * back
            rest /= alpha**2 + (1 - alpha) ** 2
            front = np.clip(front + alpha * rest, darkest, brightest)
            back = np.clip(back + (1 - alpha) * rest, darkest, brightest)
        foreground[strip], background[strip] = np.rint(front), np.rint(back)
