"""Sizes at which pictures run: few, so that a folder of mixed ones compiles few programs.

A program is compiled for one size. In evaluation every picture runs at its own
(`p3m_jax.inference.strategies.network_size`); here it keeps its shape and runs in the frame nearest
to that, of a few.
"""

import math

import cv2
import numpy as np

from p3m_jax.inference.strategies import LARGEST_SIDE, STRIDE, Placing, network_size

# The authors' programs scale pictures that are not the benchmark's to this shorter side first.
SHORTER_SIDE = 1080
# A frame is a square, 3:2 (as most photos) or a further step of 1.5, so at most a fifth of it is
# around the picture. Its sides come in steps of the third root of 2.
ASPECT_STEP = 1.5
SCALE_STEP = 2 ** (1 / 3)
_SMALLEST_LONG_SIDE = 128  # of what is made smaller to fit into memory


def first_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) to which a picture is scaled first, in its own shape; never enlarged.

    Its shorter side is at most 1080. A panorama, whose longer side would pass 1600 by a stride of
    32 or more, is scaled to a longer side of 1600 instead: the network takes no more, and its
    shape counts for more than its pixels.
    """
    scale = min(1.0, SHORTER_SIDE / min(size))
    if max(size) * scale >= LARGEST_SIDE + STRIDE:
        scale = LARGEST_SIDE / max(size)
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def scaled_first(picture: np.ndarray) -> np.ndarray:
    """A picture uint8 (H, W, 3) at its `first_size`."""
    size = first_size(picture.shape[:2])
    if size == picture.shape[:2]:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def frame_size(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """The frame (height, width) for a picture of `size`: nearest in its shape, then in scale.

    In it the picture has about the area of its `network_size`; both sides are multiples of 32 from
    32 to 1600.
    """
    height, width = network_size(size, ratio)
    own = max(size) / min(size)
    aspect = ASPECT_STEP ** round(math.log(own) / math.log(ASPECT_STEP))
    share = min(own / aspect, aspect / own)  # of the frame that shows the picture
    wanted = math.sqrt(height * width * aspect / share)  # the frame's longer side
    steps = max(0, round(math.log(LARGEST_SIDE / wanted) / math.log(SCALE_STEP)))
    longest = LARGEST_SIDE / SCALE_STEP**steps
    long, short = _multiple(longest), _multiple(longest / aspect)
    return (long, short) if size[0] >= size[1] else (short, long)


def placed_in(frame: tuple[int, int], size: tuple[int, int]) -> Placing:
    """A picture of `size` as large as a frame holds it, in its own shape."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return Placing((height, width), frame)


def smaller(size: tuple[int, int], factor: float) -> tuple[int, int] | None:
    """`size` with at most `factor` (below 1) of its pixels, in steps of the frames' scale.

    None where its long side would fall below 128.
    """
    steps = max(1, math.ceil(-math.log(factor) / 2 / math.log(SCALE_STEP) - 1e-9))
    height, width = (_multiple(side / SCALE_STEP**steps) for side in size)
    return (height, width) if max(height, width) >= _SMALLEST_LONG_SIDE else None


def _multiple(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)
