"""Trimaps from mattes: where a picture is surely foreground, surely background, or neither."""

import cv2
import numpy as np

BACKGROUND, TRANSITION, FOREGROUND = 0, 128, 255

# Evaluation widens the transition band by this much where a test set ships no trimaps.
TRIMAP_KERNEL = 25


def transition_kernel(size: tuple[int, int]) -> int:
    """The kernel that stands to a picture of `size` (H, W) as 25 pixels to one of 1080; 3 at least.

    Where the band has to follow the picture, such as around what is private.
    """
    return max(3, round(TRIMAP_KERNEL * min(size) / 1080))


def trimap_from_matte(matte: np.ndarray, kernel: int = TRIMAP_KERNEL) -> np.ndarray:
    """The three-valued map (H, W) uint8 of an 8-bit matte (H, W): 0, 128 or 255.

    With an elliptic structuring element of side `kernel` pixels (training draws 15 to 30, as
    published), what is left of `matte == 255` after erosion is foreground, what dilation of
    `matte != 0` does not reach is background, and the band between them is transition. Beyond the
    border of the picture nothing erodes and nothing dilates.

    Raises ValueError for a matte that is not 8-bit and two-dimensional, or a kernel below 1.
    """
    if matte.dtype != np.uint8 or matte.ndim != 2:
        raise ValueError(f"a matte is uint8 (H, W), not {matte.dtype} {matte.shape}.")
    if kernel < 1:
        raise ValueError(f"a trimap's kernel is at least 1 pixel wide, not {kernel}.")
    if matte.size == 0:
        return np.zeros_like(matte)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    reached = cv2.dilate((matte != 0).view(np.uint8), element)
    kept = cv2.erode((matte == 255).view(np.uint8), element)
    trimap = np.where(reached, np.uint8(TRANSITION), np.uint8(BACKGROUND))
    trimap[kept != 0] = FOREGROUND
    return trimap
