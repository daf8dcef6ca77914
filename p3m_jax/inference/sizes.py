"""Chooses the network's input sizes, so that few programs are compiled for a mixed folder.

A program is compiled for one input size. Evaluation runs every picture at its own size
(`p3m_jax.inference.strategies.network_size`). Here, only a few input sizes are used, called frames.
A picture keeps its aspect ratio and is scaled to fit into the nearest frame.
"""

import math

import cv2
import numpy as np

from p3m_jax.inference.strategies import LARGEST_SIDE, STRIDE, Placing, network_size

# The authors' programs first scale pictures to this shorter side, except the benchmark's.
SHORTER_SIDE = 1080
# The aspect ratio of a frame is a power of 1.5: square, 3:2 (most photos), and so on. So at most a
# fifth of the frame is outside the picture. Its sides come in steps of the third root of 2.
ASPECT_STEP = 1.5
SCALE_STEP = 2 ** (1 / 3)
_SMALLEST_LONG_SIDE = 128  # of a frame that is reduced to fit into memory


def first_size(size: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) to which a picture is scaled first, at the same aspect ratio.

    A picture whose shorter side exceeds 1080 is reduced until this side is 1080. If the longer side
    is then still 1632 or more, as in a panorama, the picture is reduced further, until the longer
    side is 1600, the most that the network accepts. Sides from 1601 to 1631 need no reduction here,
    because the network's input size is rounded down to a multiple of 32. Pictures are never
    enlarged.
    """
    scale = min(1.0, SHORTER_SIDE / min(size))
    if max(size) * scale >= LARGEST_SIDE + STRIDE:
        scale = LARGEST_SIDE / max(size)
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def scaled_first(picture: np.ndarray) -> np.ndarray:
    """Scales a picture, uint8 (H, W, 3), to its `first_size`."""
    size = first_size(picture.shape[:2])
    if size == picture.shape[:2]:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def frame_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Returns the frame, an input size (height, width) of the network, for a picture.

    `size` is the picture's (height, width), and `ratio` is the factor by which to scale it. The
    frame has the nearest aspect ratio available. The frame's scale is chosen so that the picture
    has about as many pixels in the frame as in evaluation, see
    `p3m_jax.inference.strategies.network_size`. Both sides are multiples of 32, from 32 to 1600.
    """
    height, width = network_size(size, ratio)
    own = max(size) / min(size)
    aspect = ASPECT_STEP ** round(math.log(own) / math.log(ASPECT_STEP))
    share = min(own / aspect, aspect / own)  # of the frame that the picture fills
    wanted = math.sqrt(height * width * aspect / share)  # the frame's longer side
    steps = max(0, round(math.log(LARGEST_SIDE / wanted) / math.log(SCALE_STEP)))
    longest = LARGEST_SIDE / SCALE_STEP**steps
    long, short = _multiple(longest), _multiple(longest / aspect)
    return (long, short) if size[0] >= size[1] else (short, long)


def placed_in(frame: tuple[int, int], size: tuple[int, int]) -> Placing:
    """Scales `size`, a picture's (height, width), to fit into `frame` at the same aspect ratio.

    Returns both the scaled size and the frame, as a `p3m_jax.inference.strategies.Placing`.
    """
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return Placing((height, width), frame)


def smaller(size: tuple[int, int], factor: float) -> tuple[int, int] | None:
    """Returns the next smaller size with at most `factor` (below 1) times as many pixels.

    Both sides are divided by the cube root of 2 until the pixels are few enough, and then rounded
    to multiples of 32. Returns None if the longer side would be less than 128.
    """
    steps = max(1, math.ceil(-math.log(factor) / 2 / math.log(SCALE_STEP) - 1e-9))
    height, width = (_multiple(side / SCALE_STEP**steps) for side in size)
    return (height, width) if max(height, width) >= _SMALLEST_LONG_SIDE else None


def _multiple(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)
