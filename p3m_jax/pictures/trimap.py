"""Makes trimaps from mattes: definite foreground, definite background, and transition."""

import cv2
import numpy as np

BACKGROUND, TRANSITION, FOREGROUND = 0, 128, 255

# The kernel, in pixels, of the trimaps that evaluation makes if a test set has none.
TRIMAP_KERNEL = 25


def transition_kernel(size: tuple[int, int]) -> int:
    """Returns the `kernel` of `trimap_from_matte`, in pixels, for a picture of `size` (H, W).

    The kernel is proportional to the short side: 25 for 1080 pixels, and at least 3. Use this
    function where the width of the transition band must follow the size of the picture, for
    instance around face areas.
    """
    return max(3, round(TRIMAP_KERNEL * min(size) / 1080))


def trimap_from_matte(matte: np.ndarray, kernel: int = TRIMAP_KERNEL) -> np.ndarray:
    """Makes the trimap (H, W), uint8 of 0, 128 and 255, of an 8-bit matte (H, W).

    The structuring element is an ellipse of `kernel` by `kernel` pixels; training draws `kernel`
    from 15 to 30, as published. Foreground is the part of `matte == 255` that remains after
    erosion. Background is everything outside the dilation of `matte != 0`. The band between them is
    transition. The area beyond the picture's border neither erodes nor dilates.

    Raises:
      ValueError: the matte is not 8-bit and two-dimensional, or the kernel is below 1.
    """
    if matte.dtype != np.uint8 or matte.ndim != 2:
        raise ValueError(f"a matte must be uint8 (H, W), not {matte.dtype} {matte.shape}.")
    if kernel < 1:
        raise ValueError(f"a trimap's kernel must be at least 1 pixel wide, not {kernel}.")
    if matte.size == 0:
        return np.zeros_like(matte)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    reached = cv2.dilate((matte != 0).view(np.uint8), element)
    kept = cv2.erode((matte == 255).view(np.uint8), element)
    trimap = np.where(reached, np.uint8(TRANSITION), np.uint8(BACKGROUND))
    trimap[kept != 0] = FOREGROUND
    return trimap
