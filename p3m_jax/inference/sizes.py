"""Chooses the network's input sizes, so that pictures of many sizes need few compilations.

The network is compiled once for each input size. Evaluation runs every picture at its own size
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

    The shorter side is scaled to at most 1080. If the longer side would then be 1632 or more, as in
    a panorama, the longer side is scaled to 1600 instead, the limit of the network's input.
    Pictures are never enlarged.
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
    """Chooses the frame (height, width), the network's input size, for a picture of `size`.

    `ratio` is the factor by which the picture's sides are scaled, such as 0.5. The aspect
    ratio nearest to the picture's is chosen first, and then the scale. Inside the frame, the
    picture has about as many pixels as at its `network_size`. Both sides of the frame are multiples
    of 32, from 32 to 1600.
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
    """Scales the `size` of a picture to fit into a frame, at the same aspect ratio.

    Returns the scaled size and the frame; all sizes are (height, width).
    """
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return Placing((height, width), frame)


def smaller(size: tuple[int, int], factor: float) -> tuple[int, int] | None:
    """Reduces an input size until it has at most `factor` (below 1) times as many pixels.

    In each step, both sides are divided by the cube root of 2, as between neighbouring frames. The
    result is rounded to multiples of 32. Returns None if the longer side would be less than 128.
    """
    steps = max(1, math.ceil(-math.log(factor) / 2 / math.log(SCALE_STEP) - 1e-9))
    height, width = (_multiple(side / SCALE_STEP**steps) for side in size)
    return (height, width) if max(height, width) >= _SMALLEST_LONG_SIDE else None


def _multiple(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)
